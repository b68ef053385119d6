"""The accepted answers, `APP/smoke/golden.jsonl`; written only by `accept`, reviewed in git."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smoke import jsonl

DIGITS = 6
"""Decimal places of a score that are kept, and compared."""
MADE_WITH = "made_with"
"""The first line of the file says, under this name, what served the answers."""


@dataclass(frozen=True, slots=True)
class Golden:
    """The answer that somebody accepted for the sample of the same id."""

    id: str
    label: str
    score: float


def path(app: Path) -> Path:
    """Where the goldens of an app lie."""
    return app / "smoke" / "golden.jsonl"


def stream(app: Path) -> Iterator[Golden]:
    """Read an app's goldens, in the file's order; none if there is no file yet.

    Raises:
        Fault: a line is not a golden; the line is named.
    """
    if path(app).exists():
        rows = jsonl.read(
            path(app),
            required={"id": jsonl.ID, "label": jsonl.TEXT, "score": jsonl.NUMBER},
            optional={},
            cure="take it back from git, or write it anew with `make accept`",
            head=MADE_WITH,
        )
        for row in rows:
            yield Golden(**row)


def read(app: Path) -> dict[str, Golden]:
    """All of an app's goldens by id; see `stream`."""
    return {each.id: each for each in stream(app)}


def made_with(app: Path) -> dict[str, Any]:
    """What served the answers when they were accepted, as far as it is known."""
    found = jsonl.read_head(path(app), MADE_WITH)
    return found if isinstance(found, dict) else {}


def differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """By name, with what else the goldens were made than is serving, where both are known."""
    return {
        name: f"{name} {then[name]}, now {now[name]}"
        for name in then
        if name in now and then[name] != now[name]
    }


def write(app: Path, goldens: Iterable[Golden], made_with: Mapping[str, Any]) -> None:
    """Replace an app's goldens, all or nothing.

    Raises:
        Fault: the file cannot be written.
    """
    head = [{MADE_WITH: dict(made_with)}] if made_with else []
    jsonl.write(path(app), itertools.chain(head, (asdict(golden) for golden in goldens)))
