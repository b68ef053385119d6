"""The app's server: is it up, is it ours, does it answer, is it gone.

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from threading import Thread

import psutil

from loop import cause, gpu, package, settings
from loop.settings import Settings
from smoke import atomic, endpoint, samples
from smoke.client import Client, Failure, Reply
from smoke.fault import Fault, Unanswered, run
from smoke.samples import Sample

# The JVM closes its ports and ends its workers first, within about 0.1 s of SIGTERM; then netty
# waits 2 s and more for connections that can no longer come.
GRACE_SECONDS = 0.5
KILL_SECONDS = 5.0
START_SECONDS = 300.0


@dataclass(frozen=True)
class Record:
    """What a start leaves in the run folder.

    Attributes:
        pid: of the JVM.
        created: when that process started, in seconds since the epoch.
        version: of the archive that it serves.
        config: hash of config.properties at the start, to tell when it has changed since.
        gpu: what GPU= asked for.
    """

    pid: int
    created: float
    version: str
    config: str
    gpu: str


def recorded(app: Settings) -> Record | None:
    """What the last start left; None if there was none or `stop` has ended it."""
    try:
        return Record(**json.loads((app.run / "server.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


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
            and _is_alive(process)
        )
    except psutil.Error:
        return False


def family(app: Settings) -> list[psutil.Process]:
    """The JVM, its workers, and whatever they started: all that inherited this app's TEMP."""
    return [process for process in psutil.process_iter() if _is_family(process, app)]


def _is_family(process: psutil.Process, app: Settings) -> bool:
    try:
        return (
            process.uids().real == os.getuid()
            and process.environ().get("TEMP") == str(app.tmp)
            and process.pid != os.getpid()
            and _is_alive(process)
        )
    except (psutil.Error, OSError):
        return False


def end(app: Settings) -> int:
    """Wait until the app's server is gone, kill what stays, and clear away what it left.

    Returns:
        the number of processes that had to be killed.

    Raises:
        Fault: a process outlives its kill.
    """
    killed = 0
    staying = _outlast(family(app), GRACE_SECONDS)
    deadline = time.monotonic() + KILL_SECONDS
    while staying:
        if time.monotonic() > deadline:
            pid = staying[0].pid
            raise Fault(f"pid {pid} of the server does not end", f"see `ps {pid}`, then again")
        for process in staying:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        killed += len(staying)
        _outlast(staying, KILL_SECONDS)
        # A JVM starts a worker again that died, and may have done so in its last moment.
        staying = family(app)
    _sweep(app)
    return killed


def _outlast(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended; those that have not, after so many seconds.

    A zombie has ended: it is only waiting for a parent that may be slow to look.
    """
    deadline = time.monotonic() + seconds
    while (alive := [each for each in processes if _is_alive(each)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _sweep(app: Settings) -> None:
    """Remove the pid file, sockets, unpacked models and keys of a server that is gone."""
    for folder in (app.run / "tmp", app.run / "cwd"):
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


def note_start(app: Settings) -> psutil.Process:
    """Record the JVM that was just launched, and where it can be asked.

    Raises:
        Unanswered: it is gone already.
    """
    process = find(app)
    if process is None:
        raise Unanswered("TorchServe ended at once", cause.of_console(app))
    record = Record(
        process.pid,
        process.create_time(),
        package.built_version(app.archive) or "unknown",
        config_hash(app),
        gpu.requested(),
    )
    _write_json(app, "server.json", asdict(record))
    key_file = str(app.key_file) if app.tokens else None
    _write_json(app, "endpoint.json", {"url": app.inference_url, "key_file": key_file})
    return process


def _write_json(app: Settings, name: str, content: dict[str, object]) -> None:
    atomic.write(app.run / name, (json.dumps(content) + "\n").encode())


def config_hash(app: Settings) -> str:
    """The hash of the app's config.properties as it is now."""
    return package.digest(app.config.read_bytes())


def wait_until_answered(app: Settings, process: psutil.Process) -> float:
    """Wait for a real prediction, or for the news that there will be none.

    TorchServe retries a failing load for five minutes, calls itself healthy meanwhile and lets
    predictions hang, so the logs are read for the failure while one request waits for its answer.

    Returns:
        seconds from the process's start to the answer.

    Raises:
        Unanswered: with the root cause as the handler's worker told it.
    """
    replies: SimpleQueue[Reply] = SimpleQueue()
    Thread(target=_ask, args=(app, replies), daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    for _ in _ticks(deadline):
        try:
            reply = replies.get(timeout=0.02)
        except Empty:
            reply = None
        if isinstance(reply, Failure):
            raise Unanswered(f"the model does not answer: {reply}", cause.of_model(app))
        if reply is not None:
            return time.time() - process.create_time()
        if not process.is_running():
            raise Unanswered("TorchServe ended before it answered", cause.of_console(app))
        if cause.load_failed(app):
            raise Unanswered("the model does not load", cause.of_model(app))
    raise Unanswered(f"no answer within {START_SECONDS:.0f} s", cause.of_model(app))


def _ticks(deadline: float) -> Iterator[None]:
    """Tick until the deadline, with a sign of life on a terminal."""
    started = time.monotonic()
    live = sys.stderr.isatty()
    while (now := time.monotonic()) < deadline:
        if live:
            print(f"\rstart: loading the model ({now - started:.0f} s)", end="", file=sys.stderr)
        try:
            yield
        finally:
            if live:
                print("\r\033[K", end="", file=sys.stderr)


def _ask(app: Settings, replies: SimpleQueue[Reply]) -> None:
    """Ask one question as soon as the port is open, and put the reply."""
    sample = _question(app)
    while True:
        try:
            found = endpoint.find(app.app, None, None, None)
            replies.put(Client(found.url, found.token, read_seconds=START_SECONDS).ask(sample))
            return
        except Fault:
            # No key file yet, or no port yet.
            time.sleep(0.02)


def _question(app: Settings) -> Sample:
    """The app's first sample, which its handler is known to understand; else any text."""
    try:
        return samples.read(app.app)[0]
    except Fault:
        return Sample("ready", "Are you ready?")


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


def _running(app: Settings) -> int:
    """Print the server's pid, or nothing."""
    process = find(app)
    if process is not None:
        print(process.pid)
    return 0


def _gone(app: Settings) -> int:
    started = time.monotonic()
    end(app)
    print(f"stopped, and gone after {time.monotonic() - started:.1f} s")
    return 0


def _ready(app: Settings) -> int:
    seconds = wait_until_answered(app, note_start(app))
    print(f"{app.inference_url} answers after {seconds:.1f} s")
    return 0


def _unchanged(app: Settings) -> int:
    """Exit 0 if what is served is what a redeploy would serve, and it answers."""
    record = recorded(app)
    if (
        find(app) is None
        or record is None
        or (record.config, record.gpu) != (config_hash(app), gpu.requested())
        or record.version != package.contents(app).version
    ):
        return 1
    try:
        found = endpoint.find(app.app, None, None, None)
        if isinstance(Client(found.url, found.token).ask(_question(app)), Failure):
            return 1
    except Fault:
        return 1
    print(f"nothing has changed: {app.inference_url} serves {record.version} already")
    return 0


COMMANDS = {
    "owned": _owned,
    "gone": _gone,
    "ready": _ready,
    "running": _running,
    "unchanged": _unchanged,
}


def main() -> int:
    """`python -m loop.server COMMAND`, for the scripts in bin/."""
    return COMMANDS[sys.argv[1]](settings.read(os.environ["APP"]))


if __name__ == "__main__":
    run(os.environ.get("VERB", "server"), main)
