"""Word of what was not answered, for a caller who knows more than a URL and can say why.

The commands in bin/ name a file in UNANSWERED, and give it to `loop.explain`.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smoke.client import Failure

# The name of what has no sample: what `predict` asks.
ALONE = ""


@dataclass(frozen=True)
class Unanswered:
    """What was asked in vain.

    Attributes:
        url: the model that was asked.
        since: when the first of it was asked, in seconds since the epoch.
        failed: what came in place of an answer, by the samples' ids.
        times: how often each was asked in vain, where that is more than once.
    """

    url: str
    since: float
    failed: dict[str, Failure]
    times: dict[str, int] = field(default_factory=dict)


def leave(
    url: str,
    since: float,
    failed: Mapping[str, Failure],
    times: Mapping[str, int] | None = None,
) -> None:
    """Leave word, if somebody wants it; the arguments are those of `Unanswered`."""
    if name := os.environ.get("UNANSWERED"):
        word = Unanswered(url, since, dict(failed), dict(times or {}))
        # Where there is no room for it, the command still has its own verdict to tell.
        with contextlib.suppress(OSError):
            Path(name).write_text(json.dumps(asdict(word)), encoding="utf-8")


def read(path: Path) -> Unanswered | None:
    """What was left; None if nothing was, or not all of it."""
    try:
        word = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    failed = {sample: Failure(**failure) for sample, failure in word["failed"].items()}
    return Unanswered(word["url"], word["since"], failed, word["times"])
