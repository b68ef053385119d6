"""TCP ports of this machine: is one free, who holds it, which are to be had."""

import shlex
import socket
from collections.abc import Collection

import psutil


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As Java does: a connection of an earlier server that lingers in TIME_WAIT is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free(number: int, but: Collection[int] = ()) -> list[int]:
    """So many loopback ports that are free now. Held open together, so that they differ.

    Args:
        but: ports that somebody is about to take.
    """
    probes = [socket.socket() for _ in range(number + len(but))]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        found = [probe.getsockname()[1] for probe in probes]
        return [port for port in found if port not in but][:number]
    finally:
        for probe in probes:
            probe.close()


def holder(port: int) -> str:
    """Who listens on a port, as `pid 123 (python -m http.server)`, as far as we may know."""
    for process in psutil.process_iter():
        try:
            if any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
                for connection in process.net_connections("tcp")
            ):
                return f"pid {process.pid} ({shlex.join(process.cmdline())[:100]})"
        except psutil.Error:
            continue
    return "a program of another user"
