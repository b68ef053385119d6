"""The failures alone, each whole and once: what `logs --errors` prints.

In TorchServe's logs, a failure of a worker's stands in lines between those of others, and the JVM
says in words of its own that something was wrong; here it is one block, its cause first. One that
has the cause of an earlier one is a line.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loop import cause, failures, recorder, server_log
from loop.settings import Settings
from smoke.terminal import escape

POLL_SECONDS = 0.5
# The JVM speaks of a worker's failure within this time.
ECHO_SECONDS = 5.0


@dataclass(frozen=True)
class Error:
    """Something that went wrong.

    Attributes:
        time: when, in seconds since the epoch.
        who: a worker, or the server.
        cause: in a line or a few.
        messages: all that was said.
    """

    time: float
    who: str
    cause: str
    messages: list[str]


def tell(app: Settings, shown: int, follow: bool) -> None:
    """Print the last errors; with `follow`, also those that come, until Ctrl-C.

    Args:
        shown: how many to begin with.
    """
    told: set[str] = set()
    sizes, found = _sizes(app), find(app)
    new = found[max(0, len(found) - shown) :]
    while True:
        for error in new:
            print("\n".join(_lines(error, error.cause in told)), flush=True)
            told.add(error.cause)
        if not follow:
            return
        while sizes == (sizes := _sizes(app)):
            time.sleep(POLL_SECONDS)
        before, found = found, find(app)
        new = [each for each in found if each not in before]


def find(app: Settings) -> list[Error]:
    """All errors that the logs tell of, the last one last."""
    known = failures.everything(app)
    found = [
        Error(
            each.time + each.seconds,
            f"{app.name}:{each.worker} {each.version}",
            str(each.cause),
            list(each.messages),
        )
        for each in known
    ]
    for record in server_log.records(app):
        # It says "Backend worker error" and the like of each worker that has failed.
        echoes = any(
            record.thread.startswith(f"W-{each.worker}-")
            and abs(record.time - each.time - each.seconds) < ECHO_SECONDS
            for each in known
        )
        if record.is_error and not echoes:
            words = str(cause.named(record.messages[0]))
            found.append(Error(record.time, "server", words, record.messages[1:]))
    return sorted(found, key=lambda each: each.time)


def _lines(error: Error, again: bool) -> Iterator[str]:
    clock = time.strftime("%H:%M:%S", time.localtime(error.time))
    first, *rest = error.cause.split("\n")
    yield f"{clock} {error.who:24} {first}" + (", once more" if again else "")
    if not again:
        yield from rest
        yield from (f"    {escape(each)}" for each in error.messages)
        yield ""


def _sizes(app: Settings) -> list[int]:
    """Of the files that errors are read from: where they are the same, there is nothing new."""
    files = (app.run / recorder.FAILURES, app.logs / "model_log.log", app.logs / "ts_log.log")
    return [_size(each) for each in files]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
