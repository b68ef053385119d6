"""What a run was, `APP/.run/smoke/run.json`: what its results alone do not tell."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smoke import atomic, results
from smoke.fault import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How the last run asked and judged, and of which files.

    Attributes:
        url: the model that was asked, without a user's name or password.
        command: what does the same again.
        began: when the first sample was asked, in seconds since the epoch.
        seconds: what asking took, without that of a run with which this one went on.
        threads: how many samples were asked at a time.
        tolerance: how far a score might lie from its golden, absolute.
        samples: the digest of the samples' file, see `results.digest`,
        goldens: that of the goldens'; None if there was none,
        results: and that of the results', which names the run that they are of.
        resumed: how many samples an earlier run had asked, with which this one went on.
        made_with: see `golden.made_with`.
        served_with: what served the answers, as far as it is known and was the same for all.
        ties: by a sample's id, the scores of two labels that lie too close to tell apart.
    """

    url: str
    command: str
    began: float
    seconds: float
    threads: int
    tolerance: float
    samples: str | None
    goldens: str | None
    results: str | None
    resumed: int = 0
    made_with: dict[str, Any] = field(default_factory=dict)
    served_with: dict[str, Any] = field(default_factory=dict)
    ties: dict[str, list[float]] = field(default_factory=dict)


def folder(app: Path) -> Path:
    """Where a run leaves what it found."""
    return app / ".run" / "smoke"


def write(app: Path, record: Record) -> None:
    """Leave word of a run. Raises Fault if it cannot be written."""
    content = json.dumps(asdict(record), indent=1)
    atomic.write(folder(app) / "run.json", f"{content}\n".encode())


def read(app: Path) -> Record:
    """The last run.

    Raises:
        Fault: there was none, or the results are not of it.
    """
    path = folder(app) / "run.json"
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise Fault(f"{path}: no run yet", "ask the samples with `make smoke`") from None
    except (OSError, ValueError, TypeError) as error:
        raise Fault(f"{path}: cannot be read ({error})", "run `make smoke` again") from None
    if record.results is None or results.digest(results.path(app)) != record.results:
        raise Fault(
            f"{results.path(app)}: not of the run that run.json tells of",
            "wait for the run that is at work, or run `make smoke` again",
        )
    return record


def without_user(url: str) -> str:
    """A URL without the user's name and password that may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
