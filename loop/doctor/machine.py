"""What the machine has for a server: ports, GPUs, room on the disk, a path short enough."""

import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loop import gpu, launch, ports, settings
from loop.checks.finding import Finding, failure, ok, warning
from loop.doctor.subject import Subject
from smoke.fault import Fault

MIB = 1 << 20
# A redeploy copies what is packed, zips the copy and unpacks the archive.
COPIES = 3
# `make setup` records TorchServe's classes there.
TEMPORARY = 256 * MIB
LOGS = 1024 * MIB
# A Unix socket's path: 108 bytes, the last of them zero.
PATH_BYTES = 107
LONGEST = (Path("tmp", ".ts.sock.65535"), Path("warm", f"socket.{2**22}"))


def each_port(subject: Subject) -> Iterator[Finding]:
    """Each port: free, our own server's, or whose it is."""
    app = subject.app
    listeners = launch.listeners(app)
    # None is probed so: what it refuses is two addresses on one port.
    launch.refuse_taken_ports(app, ours={port for _, port, _ in listeners})
    ours = launch.ports_of_running(app)
    for host, port, key in listeners:
        if port in ours:
            yield ok(f"{port} {key}: held by this app's own server")
        elif ports.is_free(host, port):
            yield ok(f"{port} {key}: free")
        elif ports.is_free("::" if ":" in host else "", port):
            yield failure(
                f"{app.where(key)}: {host} is no address of this machine", "write 127.0.0.1 for it"
            )
        else:
            yield failure(
                f"port {port} is taken by {ports.holder(port)}",
                f"stop that, or change {key} in {app.where(key)}",
            )


def gpus(_: Subject) -> Iterator[Finding]:
    """What GPU= asks for, against what is there."""
    request = gpu.requested()
    gpu.resolve(request)
    if request == "cpu":
        yield ok("GPU=cpu")
        return
    present = gpu.count()
    yield ok(f"GPU={request}, and this machine has {present}")
    if not present and shutil.which("nvidia-smi"):
        yield warning(
            "nvidia-smi lists no GPU: models run on the CPU",
            "see what `nvidia-smi` says, or say GPU=cpu",
        )
    if present and _torch_version().endswith("+cpu"):
        yield warning(
            "this torch is a CPU build and uses no GPU", "install torch with CUDA, or say GPU=cpu"
        )


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""  # Another check says so.


def socket_path(subject: Subject) -> Iterator[Finding]:
    """Whether the server's sockets have paths that the system takes."""
    longest = max(len(os.fsencode(subject.app.link / each)) for each in LONGEST)
    found = f"up to {longest} of {PATH_BYTES} bytes, in {settings.LINKS}"
    if longest > PATH_BYTES:
        yield failure(found, "use a shorter folder")
    else:
        yield ok(found)


def room(subject: Subject) -> Iterator[Finding]:
    """Room for a redeploy where it writes, and for temporary files."""
    app = subject.app
    try:
        needed = COPIES * subject.weight
    except Fault:
        needed = 0  # Another check says that there is nothing to deploy.
    places = {each.stat().st_dev: each for each in map(_there, (app.model_store, app.run))}
    for place in places.values():
        yield _room(place, needed, f"for a redeploy, which takes {COPIES} times the model")
    yield _room(Path(tempfile.gettempdir()), TEMPORARY, "for temporary files")


def _there(path: Path) -> Path:
    """The folder, or the first above it that exists."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _room(place: Path, needed: int, why: str) -> Finding:
    if not os.access(place, os.W_OK | os.X_OK):
        return failure(f"{place} may not be written", "permit it")
    free = shutil.disk_usage(place).free
    found = f"{_size(free)} free in {place}"
    if free >= needed:
        return ok(f"{found}, {_size(needed)} needed {why}")
    # With two thirds of it, a redeploy may still just work.
    told = failure if free < needed * 2 / COPIES else warning
    return told(f"{found}, and {_size(needed)} needed {why}", "free some")


def logs(subject: Subject) -> Iterator[Finding]:
    """How large the logs have become."""
    folder = subject.app.run / "logs"
    size = sum(each.lstat().st_size for each in folder.rglob("*") if not each.is_dir())
    found = f"{_size(size)} in {folder}"
    if size > LOGS:
        yield warning(
            found, f"remove {folder / 'previous'}; `make stop start` begins the others anew"
        )
    else:
        yield ok(found)


def _size(size: float) -> str:
    return f"{size / MIB:.0f} MiB" if size < 10 * 1024 * MIB else f"{size / MIB / 1024:.0f} GiB"
