"""Warm workers: one process per app that has imported torch, transformers and ts.

TorchServe is told to call a stand-in (loop/standin.py) in place of python, and the warm process
(loop/zygote.py) forks the worker. Here it is started, found, replaced and ended.

    .run/warm/python         the stand-in, made executable
    .run/warm/interpreter    runs the stand-in: the interpreter under the virtual environment
    .run/warm/real-python    what the stand-in stands in for
    .run/warm/socket         where the warm process listens
    .run/warm/process.json   which process that is, and what it depends on
    .run/warm/imported       the files that it has imported; there once it is ready
    .run/warm/log
"""

import contextlib
import fcntl
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from loop import settings
from loop.fingerprint import MARK, changed, fingerprint
from loop.preload import MODULES
from loop.process import is_alive, outlast
from loop.settings import TOOLKIT, Settings
from loop.worker import LIMITS
from loop.zygote import BOOT, SPARE
from smoke import atomic
from smoke.fault import Fault, run

RIGHTS = "the rights of processes"
IDLE_SECONDS = 30 * 60.0
SPARE_AFTER_SECONDS = 1.0
END_SECONDS = 5.0
STANDIN = Path(__file__).with_name("standin.py")


@dataclass(frozen=True)
class Record:
    """Which process listens on the socket, and what it depends on.

    Attributes:
        pid: its process.
        created: when that process started, in seconds since the epoch.
        depends_on: see `loop.fingerprint` and `start`.
    """

    pid: int
    created: float
    depends_on: dict[str, str]


def start(
    app: Settings,
    environment: Mapping[str, str],
    modules: Sequence[str] = MODULES,
    idle_seconds: float = IDLE_SECONDS,
    spare_after: float = SPARE_AFTER_SECONDS,
) -> Path | None:
    """Have a warm process that fits, perhaps still importing, and return at once.

    One that does not fit any more is replaced. It ends if it has no workers; else it goes on with
    them, and ends at a later `start`, at `stop`, or when it has been idle.

    Args:
        app: whose workers it is to fork.
        environment: the server's, which its workers will have.
        modules: what to import.
        idle_seconds: how long it stays without a worker.
        spare_after: for how many seconds no worker must have come or gone before it forks a spare.

    Returns:
        what TorchServe is to call in place of python; None where there are no warm workers.

    Raises:
        Fault: a warm process that is not needed any more does not end.
    """
    if not sys.platform.startswith("linux"):
        return None
    standin = _folder(app) / "python"
    depends_on = _depends_on(app, environment, modules) | {RIGHTS: _rights()}
    with _lock(app):
        current = _current(app, depends_on)
        _end_idle(app, but=current)
        if current is None:
            _write_standin(app)
            process = _launch(app, environment, modules, idle_seconds, spare_after)
            record = Record(process.pid, process.create_time(), depends_on)
            atomic.write(_folder(app) / "process.json", json.dumps(asdict(record)).encode())
    # It is not executable where the file system is mounted noexec.
    return standin if os.access(standin, os.X_OK) else None


def keep(app: Settings, server: psutil.Process) -> bool:
    """Have a warm process that fits a running server, if that starts its workers from one.

    The one that it was started with may have died since, or have imported a file that has been
    edited since.

    Args:
        server: the JVM; its environment, not that of this terminal, is what its workers will have.

    Returns:
        whether it had to be replaced.

    Raises:
        Fault: see `start`.
        psutil.Error: the server has just ended.
    """
    if str(_folder(app) / "python") not in server.cmdline():
        return False
    environment = server.environ()
    with _lock(app):
        # Its rights are the server's, whatever those of this terminal are.
        current = _current(app, _depends_on(app, environment, MODULES), but=RIGHTS)
    if current is None:
        start(app, environment)
    return current is None


def standin(app: Settings, environment: Mapping[str, str]) -> Path | None:
    """What to call in place of python for a fork with such an environment.

    Returns:
        None where there is no warm process that fits.
    """
    found = _folder(app) / "python"
    if not os.access(found, os.X_OK):
        return None
    fits = _current(app, _depends_on(app, environment, MODULES), but=RIGHTS)
    return found if fits else None


def stop(app: Settings) -> int:
    """End the app's warm processes with their workers, and wait until they are gone.

    Returns:
        the number of warm processes that there were.

    Raises:
        Fault: one does not end.
    """
    with _lock(app):
        found = _families(app)
        _end(found)
        (_folder(app) / "process.json").unlink(missing_ok=True)
    return len(found)


def end_idle(app: Settings) -> None:
    """End the app's warm processes that have no workers: those that have are still needed."""
    with _lock(app):
        _end_idle(app, but=None)


def find(app: Settings) -> dict[psutil.Process, list[psutil.Process]]:
    """The app's warm processes, each with the workers that it has forked, less the spare one.

    There is one; there are more while replaced ones still have workers.
    """
    return {
        process: [each for each in forks if not _is_spare(each)]
        for process, forks in _families(app).items()
    }


def _families(app: Settings) -> dict[psutil.Process, list[psutil.Process]]:
    """The app's warm processes, each with all that it has forked.

    A fork has the command line and, for the kernel, the environment of the process that forked it:
    the mark is in both.
    """
    marked = {each.pid: each for each in psutil.process_iter() if _has_mark(each, app)}
    found: dict[psutil.Process, list[psutil.Process]] = {}
    for process in marked.values():
        first = process
        while (parent := _parent(first)) in marked:
            first = marked[parent]
        forks = found.setdefault(first, [])
        if first != process:
            forks.append(process)
    return found


def workers(app: Settings) -> list[psutil.Process]:
    """The workers of the app that were forked, and that end with TorchServe."""
    return [fork for forks in find(app).values() for fork in forks]


def architecture(app: Settings) -> str | None:
    """The `model_type` of the app's checkpoint, where it has one that transformers reads."""
    try:
        config = json.loads((app.app / "torch_model" / "config.json").read_text(encoding="utf-8"))
        return str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe(app: Settings) -> str:
    """The warm process in one line, for `status`."""
    record = _recorded(app)
    families = _families(app)
    process = next((each for each in families if record and each.pid == record.pid), None)
    if process is None:
        return "none: the next worker imports everything anew"
    state = "ready" if (_folder(app) / "imported").is_file() else "importing"
    memory = _memory(process)
    if not memory:
        return "ended just now"
    spare = sum(_memory(each) for each in families[process] if _is_spare(each))
    with_it = " with its spare" if spare else ""
    return f"{state} (pid {process.pid}, {(memory + spare) / 2**20:.0f} MiB{with_it})"


def _memory(process: psutil.Process) -> int:
    """Its share of the memory, in bytes; 0 if it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _depends_on(
    app: Settings, environment: Mapping[str, str], modules: Sequence[str]
) -> dict[str, str]:
    return fingerprint(environment) | {
        "the model's architecture": architecture(app) or "",
        "the list of what is imported": " ".join(modules),
    }


def _rights() -> str:
    """What this process may do, and its forks may not exceed: priority and hard limits."""
    limits = [resource.getrlimit(limit)[1] for limit in LIMITS]
    return f"{os.getpriority(os.PRIO_PROCESS, 0)} {limits}"


def _folder(app: Settings) -> Path:
    return app.link / "warm"


@contextlib.contextmanager
def _lock(app: Settings) -> Iterator[None]:
    """One start or stop at a time, in a folder that nobody else can look into."""
    folder = _folder(app)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    with (folder / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recorded(app: Settings) -> Record | None:
    try:
        return Record(**json.loads((_folder(app) / "process.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _current(
    app: Settings, depends_on: Mapping[str, str], but: str | None = None
) -> psutil.Process | None:
    """The warm process, if it is alive and is what would be started now, `but` for one thing."""
    record = _recorded(app)
    if record is None or set(changed(record.depends_on, depends_on)) - {but}:
        return None
    try:
        process = psutil.Process(record.pid)
        fits = process.create_time() == record.created and _has_mark(process, app)
    except psutil.Error:
        return None
    return process if fits and not _edited_since(app, record.created) else None


def _edited_since(app: Settings, moment: float) -> bool:
    """Whether a file that the warm process has imported was edited, a print in transformers say."""
    try:
        files = (_folder(app) / "imported").read_text(encoding="utf-8").split("\0")
    except FileNotFoundError:
        return False
    try:
        # 2,400 files; with Path it would take three times as long.
        return any(os.stat(file).st_mtime > moment for file in files)  # noqa: PTH116
    except FileNotFoundError:
        return True


def _has_mark(process: psutil.Process, app: Settings) -> bool:
    try:
        return (
            process.uids().real == os.getuid()
            and process.environ().get(MARK) == str(app.link)
            and is_alive(process)
        )
    except (psutil.Error, OSError):
        return False


def _is_spare(process: psutil.Process) -> bool:
    try:
        # psutil would remember the name, but a spare worker loses it when it is used.
        return Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8").strip() == SPARE
    except (OSError, UnicodeDecodeError):
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _write_standin(app: Settings) -> None:
    folder = _folder(app)
    # A virtual environment's own python looks for its pyvenv.cfg beside the link, in vain.
    base = getattr(sys, "_base_executable", sys.executable)
    _link(folder / "interpreter", base)
    _link(folder / "real-python", sys.executable)
    aside = folder / f"python.{os.getpid()}"
    # The first line of a script takes one option and no spaces, and here it needs no more.
    aside.write_bytes(f"#!{folder}/interpreter -IS\n".encode() + STANDIN.read_bytes())
    aside.chmod(0o700)
    aside.replace(folder / "python")


def _link(path: Path, target: str) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.symlink_to(target)
    aside.replace(path)


def _launch(
    app: Settings,
    environment: Mapping[str, str],
    modules: Sequence[str],
    idle_seconds: float,
    spare_after: float,
) -> psutil.Process:
    """Start a warm process on a socket that is listening already: a stand-in may ask right away."""
    folder = _folder(app)
    (folder / "imported").unlink(missing_ok=True)
    (folder / "log").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        aside = folder / f"socket.{os.getpid()}"
        listener.bind(str(aside))
        listener.listen()
        aside.replace(folder / "socket")
        job = {
            "folder": str(folder),
            "listener": listener.fileno(),
            "modules": list(modules),
            "checkpoint": str(app.app / "torch_model") if architecture(app) else None,
            "idle_seconds": idle_seconds,
            "spare_after": spare_after,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", BOOT, str(TOOLKIT), json.dumps(job)],
            env=_without_server_marks(environment) | {MARK: str(app.link)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return psutil.Process(process.pid)


def _without_server_marks(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment less TEMP, by which the server's family is told, and less the import path."""
    return {
        name: value for name, value in environment.items() if name not in ("PYTHONPATH", "TEMP")
    }


def _end_idle(app: Settings, but: psutil.Process | None) -> None:
    families = _families(app).items()
    _end({each: forks for each, forks in families if each != but and all(map(_is_spare, forks))})


def _end(found: Mapping[psutil.Process, list[psutil.Process]]) -> None:
    """Kill warm processes and what they have forked, and wait until all are gone."""
    going = [each for process, forks in found.items() for each in (process, *forks)]
    for each in going:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    if staying := outlast(going, END_SECONDS):
        raise Fault(
            f"pid {staying[0].pid} of the warm process does not end",
            "look at it with `ps`, then again",
        )


def main() -> int:
    """`python -m loop.warm stop` or `status`, with APP in the environment."""
    app = settings.read(os.environ["APP"])
    if sys.argv[1] == "stop":
        stop(app)
    else:
        print(describe(app))
    return 0


if __name__ == "__main__":
    run(os.environ.get("VERB", "warm"), main)
