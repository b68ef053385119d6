"""What TorchServe's frontend logs of a version's workers, which its API does not tell."""

import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from loop.settings import Settings

# Some thousand requests.
RECENT_BYTES = 4 << 20
LAST_WORDS_SECONDS = 1.0
POLL_SECONDS = 0.005

# Both end in figures: how long a request waited, and how long the handler had its batch.
WAITED = r"{thread} \S+RestJob - Waiting time ns: (\d+), Backend"
HANDLED = r"{thread}-stdout \S+LifeCycle - result=\[METRICS\]PredictionTime\.\w+:([\d.]+)"


@dataclass(frozen=True)
class Times:
    """What the log has of a version's last requests, in milliseconds and in order.

    Attributes:
        queue: how long each answered request waited for a worker.
        handler: how long the handler took for each batch.
    """

    queue: list[float] = field(default_factory=list)
    handler: list[float] = field(default_factory=list)


def times(app: Settings) -> dict[str, Times]:
    """How long the last requests took, by version.

    TorchServe's metrics only add up the waiting, for all who named no version together.
    """
    log = app.logs / "ts_log.log"
    text = _bytes(log, _size(log) - RECENT_BYTES).decode(errors="replace")
    thread = rf" W-\d+-{re.escape(app.name)}_(\S+)"
    found: dict[str, Times] = {}
    for version, waited in re.findall(WAITED.format(thread=thread), text):
        found.setdefault(version, Times()).queue.append(int(waited) / 1e6)
    for version, took in re.findall(HANDLED.format(thread=thread), text):
        found.setdefault(version, Times()).handler.append(float(took))
    return found


class Frontend:
    """The frontend's log on the workers of one version, from now on.

    Args:
        app: whose server it is.
        version: whose workers.
    """

    def __init__(self, app: Settings, version: str) -> None:
        self._log = app.logs / "ts_log.log"
        # Each worker has a thread of the frontend, which bears its name.
        self._thread = rf"(W-\d+-{re.escape(f'{app.name}_{version}')})"
        self._began = self._read = _size(self._log)
        self._states: dict[str, str] = {}

    def states(self) -> list[str]:
        """The state that each new worker has come to: WORKER_MODEL_LOADED, WORKER_STOPPED, ..."""
        change = rf"{self._thread} \S+ - \S+ State change (\w+) -> (\w+)"
        if _size(self._log) < self._read:
            # The log has begun anew.
            self._read = 0
        lines = _bytes(self._log, self._read).rpartition(b"\n")[0]
        self._read += len(lines)
        for thread, before, after in re.findall(change, lines.decode(errors="replace")):
            # One of an earlier registration of the same version may be ending only now.
            if before == "null" or thread in self._states:
                self._states[thread] = after
        return list(self._states.values())

    def says_busy(self) -> bool | None:
        """Whether a worker has a request that it has not answered yet, of those lately sent.

        Returns:
            None if the log has nothing on that.
        """
        if _size(self._log) < self._began:
            return None
        event = rf"{self._thread} \S+ - (Flushing req\.cmd PREDICT|Backend response)"
        last = dict(re.findall(event, self._text(_size(self._log) - RECENT_BYTES)))
        return any(each.startswith("Flushing") for each in last.values()) if last else None

    def wait_for_last_words(self) -> None:
        """Wait, but not long, until all that an ended worker has printed is in the log."""
        read = rf"Stopped Scanner - {self._thread}-stdout"
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while not re.search(read, self._text(self._began)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _text(self, since: int) -> str:
        return _bytes(self._log, since).decode(errors="replace")


def _bytes(path: Path, since: int) -> bytes:
    # The user may have turned the log off, and now and then it is replaced.
    with contextlib.suppress(FileNotFoundError), path.open("rb") as log:
        log.seek(max(0, since))
        return log.read()
    return b""


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
