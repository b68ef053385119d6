"""What the JVM says of itself: why it did not start, why it ended, which errors it met."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from loop import cause
from loop.settings import Settings

RECORD = re.compile(
    r"^(?P<time>\d\S+T\S+) \[(?P<level>\w+) *\] (?P<thread>\S+) (?P<logger>\S+) - (?P<message>.*)$"
)
LOAD_FAILED = "Load model failed"
# On the console of each start.
HARMLESS = re.compile(r"(?i)warning|^nvidia-smi not available|^Model server started|^at \S+\(")
ERRORS = ("ERROR", "FATAL")
SHOWN_LINES = 2
# Of the log's end.
RECENT_BYTES = 8 << 20


@dataclass(frozen=True)
class Record:
    """A record of the JVM's.

    Attributes:
        time: in seconds since the epoch.
        thread: each worker has one, which bears its name.
        messages: the record's line, and those of a stack trace that belongs to it.
    """

    time: float
    level: str
    thread: str
    messages: list[str] = field(default_factory=list)

    @property
    def is_error(self) -> bool:
        return self.level in ERRORS


def has_given_up(app: Settings) -> bool:
    """Whether a load has failed; TorchServe would try again for five minutes."""
    return any(LOAD_FAILED in line for line in tail(app.logs / "ts_log.log"))


def last_words(app: Settings) -> str:
    """What the JVM said when it did not start: its first error, else what is on its console."""
    said = [record.messages[0] for record in records(app) if record.is_error]
    console = (line.strip() for line in tail(app.logs / "console.log"))
    said += [line for line in console if line and not HARMLESS.search(line)]
    return str(cause.named("\n".join(said[:SHOWN_LINES]) or "it said nothing"))


def last_error(app: Settings) -> str | None:
    """The error with which the JVM ended, if it ended with one."""
    *_, last = [None, *records(app)]
    return str(cause.named(last.messages[0])) if last and last.is_error else None


def how_it_ended(app: Settings) -> str:
    """What is known of the end of a JVM that was not stopped."""
    return last_error(app) or "it was killed: it says nothing of its end"


def records(app: Settings) -> Iterator[Record]:
    """What the JVM has logged, but for what it passes on from workers."""
    record = None
    for line in tail(app.logs / "ts_log.log"):
        match = RECORD.match(line)
        if match is None:
            if record is not None and line:
                record.messages.append(line)
            continue
        if record is not None:
            yield record
        record = None
        if match["logger"] not in ("MODEL_LOG", "ACCESS_LOG"):
            moment = datetime.fromisoformat(match["time"]).timestamp()
            record = Record(moment, match["level"], match["thread"], [match["message"]])
    if record is not None:
        yield record


def tail(path: Path) -> list[str]:
    """The last lines of a file, which need not be there."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - RECENT_BYTES))
        return file.read().decode(errors="replace").split("\n")
    return []
