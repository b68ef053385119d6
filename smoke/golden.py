"""The accepted answers, `APP/smoke/golden.jsonl`; written only by `accept`, reviewed in git."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from smoke import jsonl

DIGITS = 6
"""Decimal places of a score that are kept, and compared."""


@dataclass(frozen=True, slots=True)
class Golden:
    """The answer that somebody accepted for the sample of the same id."""

    id: str
    label: str
    score: float


def path(app: Path) -> Path:
    """Where the goldens of an app lie."""
    return app / "smoke" / "golden.jsonl"


def read(app: Path) -> dict[str, Golden]:
    """Read an app's goldens by id, in the file's order; none if there is no file yet.

    Raises:
        Fault: a line is not a golden; the line is named.
    """
    if not path(app).exists():
        return {}
    rows = jsonl.read(
        path(app),
        required={"id": jsonl.ID, "label": jsonl.TEXT, "score": jsonl.NUMBER},
        optional={},
        cure="take it back from git, or write it anew with `make accept`",
    )
    return {row["id"]: Golden(**row) for row in rows}


def write(app: Path, goldens: Iterable[Golden]) -> None:
    """Replace an app's goldens, all or nothing.

    Raises:
        Fault: the file cannot be written.
    """
    jsonl.write(path(app), (asdict(golden) for golden in goldens))
