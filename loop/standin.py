"""What TorchServe calls in place of python: it gives a new worker to the warm process.

`loop.warm` copies this file into the run folder as `python`, beside `socket`, where the warm
process listens, and `real-python`, a link to the interpreter that this one stands in for. The warm
process forks the worker; this process stays as the one that TorchServe knows: it ends when the
worker ends, and the worker ends when it does. Where there is no worker to be had, and for all that
is no worker (pip, the metrics collector), it becomes the real python. `loop.solo` calls it as
TorchServe does, for a worker without a server.

It runs at each start of a worker, so it imports next to nothing: it is up after 9 ms, with the
module `socket` it would be after 17.
"""

import os
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket

FOLDER = os.path.dirname(sys.argv[0])  # noqa: PTH120 - pathlib takes longer than all the rest
# TorchServe's, and ours for one batch without a server.
WORKER = "/ts/model_service_worker.py"
WORKERS = (WORKER, "/loop/solo_worker.py")

# A warm process that is still importing answers when it is done, never later than an import that
# begins now would be. This is for one that hangs.
PATIENCE_SECONDS = 60.0


def main() -> None:
    """Become a worker of the warm process, or the real python."""
    if len(sys.argv) > 1 and sys.argv[1].endswith(WORKERS):
        warm = socket(AF_UNIX, SOCK_SEQPACKET)
        reply = ask(warm)
        if reply == "forked":
            end_like(wait(warm))
        # The stdout of one without a server is for its answer.
        stream = sys.stdout if sys.argv[1].endswith(WORKER) else sys.stderr
        print(f"This worker imports everything anew: {reply}.", file=stream, flush=True)
    python = os.readlink(f"{FOLDER}/real-python")  # noqa: PTH115 - as above
    os.execv(python, [python, *sys.argv[1:]])  # noqa: S606 - no shell wanted


def ask(warm: socket) -> str:
    """Ask for a worker and lend it our streams.

    Returns:
        "forked", or why there is no worker.
    """
    streams = b"".join(stream.to_bytes(4, sys.byteorder) for stream in (0, 1, 2))
    warm.settimeout(PATIENCE_SECONDS)
    try:
        warm.connect(f"{FOLDER}/socket")
        warm.sendmsg([str(os.getppid()).encode()], [(SOL_SOCKET, SCM_RIGHTS, streams)])
        return warm.recv(1000).decode() or "the warm process ended"
    except OSError as error:
        return f"the warm process does not answer ({error.strerror or error})"


def wait(warm: socket) -> int:
    """Wait for the worker's end. Returns its exit code, or less than 0, the signal it died by."""
    # The streams are the worker's alone: TorchServe is to see the end of them when it ends.
    os.closerange(0, 3)
    warm.settimeout(None)
    try:
        status = warm.recv(100)
    except OSError:
        status = b""
    # A warm process that was killed has taken its worker along.
    return int(status or -9)


def end_like(status: int) -> None:
    """End with an exit code, or, if it is negative, by that signal."""
    if status < 0:
        import resource
        import signal

        # One core dump, the worker's, is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(130)
