"""The app's server: is it up, is it ours, is it gone.

Ours is a process that belongs to this user and whose command line or environment names this app's
own run link, a path that no other app has. A pid alone is never trusted; pid and start time are
kept in the run folder, so that a server that vanished can be told from one that was stopped.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from loop import settings, warm
from loop.process import is_alive, outlast
from loop.settings import Settings
from smoke import atomic
from smoke.fault import Fault, Unanswered, run

# What requests in flight get to be answered. The JVM closes its ports within 20 ms of SIGTERM, and
# then waits 2 s and more, with its workers, for connections that can no longer come.
GRACE_SECONDS = 0.5
KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Record:
    """What a start leaves in the run folder.

    Attributes:
        pid: of the JVM.
        created: when that process started, in seconds since the epoch.
        version: of the archive that it was started on.
        previous: the version that was live before the one that is, if a reload replaced it.
        kept: versions that the user has registered, and that stay until the user takes them away.
        candidate: the workflow that a swap has registered beside the one that serves.
    """

    pid: int
    created: float
    version: str
    previous: str | None = None
    kept: tuple[str, ...] = ()
    candidate: str | None = None


def recorded(app: Settings) -> Record | None:
    """What the last start left; None if there was none or `stop` has ended it."""
    try:
        kept = json.loads((app.run / "server.json").read_text(encoding="utf-8"))
        return Record(**{**kept, "kept": tuple(kept.get("kept", ()))})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def record(app: Settings, started: Record) -> None:
    """Keep what a start leaves."""
    atomic.write(app.run / "server.json", (json.dumps(asdict(started)) + "\n").encode())


def find(app: Settings) -> psutil.Process | None:
    """The app's running JVM."""
    record = recorded(app)
    if record is not None:
        try:
            process = psutil.Process(record.pid)
            if process.create_time() == record.created and _is_server(process, app):
                return process
        except psutil.Error:
            pass
    return next((each for each in psutil.process_iter() if _is_server(each, app)), None)


def _is_server(process: psutil.Process, app: Settings) -> bool:
    try:
        command = process.cmdline()
        return (
            "org.pytorch.serve.ModelServer" in command
            and str(app.effective_config) in command
            and process.uids().real == os.getuid()
            and is_alive(process)
        )
    except psutil.Error:
        return False


def family(app: Settings) -> list[psutil.Process]:
    """The JVM, its workers, and whatever they started: all that inherited this app's TEMP."""
    return heirs(app.tmp)


def heirs(temp: Path) -> list[psutil.Process]:
    """All that inherited this folder as their TEMP."""
    return [process for process in psutil.process_iter() if _is_heir(process, temp)]


def _is_heir(process: psutil.Process, temp: Path) -> bool:
    try:
        return (
            process.uids().real == os.getuid()
            and process.environ().get("TEMP") == str(temp)
            and process.pid != os.getpid()
            and is_alive(process)
        )
    except (psutil.Error, OSError):
        return False


def end(app: Settings) -> int:
    """Give requests in flight a moment, kill the app's server, and clear away what it left.

    Returns:
        the number of processes that had to be killed.

    Raises:
        Fault: a process outlives its kill.
    """
    killed = 0
    _wait_for_answers(find(app))
    staying = [*family(app), *warm.workers(app)]
    deadline = time.monotonic() + KILL_SECONDS
    while staying:
        if time.monotonic() > deadline:
            pid = staying[0].pid
            raise Fault(f"pid {pid} of the server does not end", f"see `ps {pid}`, then again")
        for process in staying:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        killed += len(staying)
        outlast(staying, KILL_SECONDS)
        # A JVM starts a worker again that died, and may have done so in its last moment.
        staying = [*family(app), *warm.workers(app)]
    _sweep(app)
    return killed


def _wait_for_answers(server: psutil.Process | None) -> None:
    """Wait until a server that is ending has no connection left, but no longer than the grace."""
    deadline = time.monotonic() + GRACE_SECONDS
    with contextlib.suppress(psutil.Error):
        while server and time.monotonic() < deadline and server.net_connections("tcp"):
            time.sleep(0.01)


def _sweep(app: Settings) -> None:
    """Remove the pid file, sockets, unpacked models and keys of a server that is gone."""
    for folder in (app.run / "tmp", app.run / "cwd", app.run / "served"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    for name in ("server.json", "endpoint.json"):
        (app.run / name).unlink(missing_ok=True)


def clear(app: Settings) -> None:
    """Clear away what a server left that was killed: its orphans and files.

    Raises:
        Fault: the app's server is running.
    """
    server = find(app)
    if server is not None:
        raise Fault(f"already running (pid {server.pid})", "`make redeploy` restarts it")
    killed = end(app)
    if killed:
        print(f"start: ended {killed} process(es) of a server that is gone", file=sys.stderr)


def _owned(app: Settings) -> int:
    """Exit 0 and put the pid file right if the app's server runs; else say so and exit 3."""
    process = find(app)
    if process is None:
        killed = end(app)
        detail = f"; ended {killed} process(es) that it left" if killed else ""
        print(f"not running{detail}")
        return Unanswered.exit_code
    # `torchserve --stop` believes this file, and fails on an empty one.
    (app.run / "tmp" / ".model_server.pid").write_text(str(process.pid), encoding="ascii")
    return 0


def _gone(app: Settings) -> int:
    started = time.monotonic()
    end(app)
    print(f"stopped, and gone after {time.monotonic() - started:.1f} s")
    return 0


def _state(app: Settings) -> int:
    process = find(app)
    running = f"the server still runs (pid {process.pid})" if process else "no server runs"
    print(running)
    return 0


COMMANDS = {"owned": _owned, "gone": _gone, "state": _state}


def main() -> int:
    """`python -m loop.server COMMAND`, for the scripts in bin/."""
    return COMMANDS[sys.argv[1]](settings.read(os.environ["APP"]))


if __name__ == "__main__":
    run(os.environ.get("VERB", "server"), main)
