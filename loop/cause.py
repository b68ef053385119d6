"""From TorchServe's logs to the root cause.

TorchServe says `Prediction failed`, `Load model failed` or nothing; the reason is a traceback that
the worker printed, each of its lines a record of its own. The first traceback counts: when a
handler's import fails, TorchServe goes on to try a handler of its own, and the last traceback is
about that one; and of a chain of exceptions, Python prints the first cause first.
"""

import os
import re
import signal
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from loop.settings import Settings
from loop.worker import FAILED

RECORD = re.compile(r"^\S+ \[\w+ *\] (?P<thread>\S+) \S+ - (?P<message>.*)$")
LOAD_FAILED = "Load model failed"
FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
TRACEBACK = "Traceback "
COMPLAINT = re.compile(r"model: .*(Invalid return type|number of batch response mismatched)")
SHOWN_LINES = 20


def load_failed(app: Settings) -> bool:
    """Whether the frontend has given a load up (it would retry for five minutes)."""
    return LOAD_FAILED in _text(app.logs / "ts_log.log")


def mark(app: Settings) -> int:
    """Where the workers' log ends now, in bytes: see `of_model`."""
    try:
        return (app.logs / "model_log.log").stat().st_size
    except OSError:
        return 0


def of_model(app: Settings, version: str | None = None, since: int = 0) -> str:
    """What a worker said last before it failed: the first traceback of its own log, or its end.

    Args:
        version: counts only this version's workers.
        since: counts only what was written after this `mark`.
    """
    messages = [
        match["message"]
        for line in _text(app.logs / "model_log.log", since).splitlines()
        if (match := RECORD.match(line))
        and (version is None or f"-{app.name}_{version}-" in match["thread"])
    ]
    if not any(each.startswith(TRACEBACK) for each in messages) and (end := _end(app, messages)):
        return end
    return brief(messages) if messages else "no worker said why; see `make logs`"


def _end(app: Settings, messages: list[str]) -> str | None:
    """How the last worker among these messages ended, as the warm process saw it."""
    pids = [each.removeprefix("[PID]") for each in messages if each.startswith("[PID]")]
    ends = dict(re.findall(r"worker (\d+) ended with (-?\d+)", _text(app.link / "warm" / "log")))
    if not pids or pids[-1] not in ends:
        return None
    status = int(ends[pids[-1]])
    if status == -signal.SIGKILL:
        # TorchServe kills what has closed its socket, on its way out of sys.exit too.
        return "its process ended without an exception: by sys.exit, or killed for want of memory"
    if status < 0:
        return f"its process was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"its process ended with exit code {status}, and no exception was printed"


@dataclass(frozen=True)
class Failure:
    """A batch that failed, as its worker told it.

    Attributes:
        requests: the ids of its requests; none where the worker does not tell them.
        worker: the frontend's name of it, W-PORT-NAME_VERSION.
        messages: what it said, from the first line on.
    """

    requests: tuple[str, ...]
    worker: str
    messages: list[str]

    def __str__(self) -> str:
        return brief(self.messages)


def failures(app: Settings) -> list[Failure]:
    """The batches that have failed, as far as the log goes back; the last one last."""
    found: list[Failure] = []
    telling: dict[str, Failure] = {}
    for line in _text(app.logs / "model_log.log").splitlines():
        match = RECORD.match(line)
        worker, _, stream = match["thread"].rpartition("-") if match else ("", "", "")
        if match is None or stream != "stdout":
            continue
        message = match["message"]
        if message.startswith(FAILED):
            telling[worker] = Failure(tuple(message.removeprefix(FAILED).split()), worker, [])
            found.append(telling[worker])
        elif message.startswith("Backend received inference"):
            # The worker is at its next batch.
            telling.pop(worker, None)
        elif worker in telling:
            telling[worker].messages.append(message)
    return found


def inputs(app: Settings, requests: Collection[str]) -> list[str]:
    """What the handler has logged as the inputs of requests; nothing, if it does not."""
    heads = tuple(f"request {each}: " for each in requests)
    return [
        match["message"].split(": ", 1)[1]
        for line in _text(app.logs / "model_log.log").splitlines()
        if (match := RECORD.match(line)) and match["message"].startswith(heads)
    ]


def of_frontend(app: Settings) -> str:
    """What the JVM said on its way out: its first error, else the first line that is no warning."""
    errors = [
        match["message"]
        for line in _text(app.logs / "ts_log.log").splitlines()
        if "[ERROR]" in line and (match := RECORD.match(line))
    ]
    console = _text(app.logs / "console.log").splitlines()
    said = [line for line in console if line.strip() and "warning" not in line.lower()]
    return (errors or said or ["it said nothing; see `make logs`"])[0]


def brief(messages: list[str]) -> str:
    """The first exception among a worker's messages, with the user's own line where it has one."""
    start = next((i for i, each in enumerate(messages) if each.startswith(TRACEBACK)), None)
    if start is None:
        # TorchServe's own complaint about what the handler has returned, if there is one.
        return next(filter(COMPLAINT.match, messages), "\n".join(messages[-3:]))
    place, source = "", ""
    for index in range(start + 1, len(messages)):
        message = messages[index]
        frame = FRAME.match(message)
        if frame and "site-packages" not in frame["file"] and "/ts/" not in frame["file"]:
            function = f" in {frame['function']}" if frame["function"] else ""
            place = f"{Path(frame['file']).name}:{frame['line']}{function}"
            source = messages[index + 1].strip() if index + 1 < len(messages) else ""
        elif message and not message.startswith(" "):
            where = f"\n  {place}: {source}" if place else ""
            return f"{message}{where}"
    return "\n".join(messages[start : start + SHOWN_LINES])


def _text(path: Path, since: int = 0) -> str:
    try:
        with path.open("rb") as log:
            # A log that is shorter than it was has begun anew.
            log.seek(since if since <= log.seek(0, os.SEEK_END) else 0)
            return log.read().decode(errors="replace")
    except OSError:
        return ""
