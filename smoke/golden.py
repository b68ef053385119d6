"""The accepted answers, `APP/smoke/golden.jsonl`; written only by `accept`, reviewed in git."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smoke import atomic, jsonl
from smoke.index import Index

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
    for line in lines(path(app)):
        if line.row is not None:
            yield Golden(**line.row)


def lines(file: Path) -> Iterator[jsonl.Line]:
    """The lines of a file of goldens, blank ones and the first included; see `stream`."""
    if file.exists():
        yield from jsonl.lines(
            file,
            required={"id": jsonl.ID, "label": jsonl.TEXT, "score": jsonl.NUMBER},
            optional={},
            cure="take it back from git, or write it anew with `make accept`",
            head=MADE_WITH,
        )


def find(app: Path, sample: str) -> Golden | None:
    """The golden of one sample, as the file has it now; see `stream`."""
    return next((each for each in stream(app) if each.id == sample), None)


def read(app: Path) -> dict[str, Golden]:
    """All of an app's goldens by id; see `stream`."""
    return {each.id: each for each in stream(app)}


def made_with(app: Path) -> dict[str, Any]:
    """What served the answers when they were accepted, as far as it is known."""
    return made_with_in(path(app))


def made_with_in(file: Path) -> dict[str, Any]:
    """The same of any file of goldens."""
    found = jsonl.read_head(file, MADE_WITH)
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


def put(
    app: Path,
    accepted: Mapping[str, Golden],
    order: Iterable[str],
    made_with: Mapping[str, Any],
) -> None:
    """Put a few goldens into an app's file as it stands now, all or nothing.

    Each takes the line of its id; a new one comes behind that of the sample before it. All other
    lines stay as they are, to the byte.

    Args:
        order: the ids of all samples, in their order.
        made_with: what served the answers; told where there is no file yet.

    Raises:
        Fault: the file cannot be written, or a line of it is not a golden.
    """
    if not path(app).exists():
        write(app, (accepted[each] for each in order if each in accepted), made_with)
        return
    behind = _places(app, accepted, order)
    with atomic.writing(path(app)) as file:
        begun = False
        for line in lines(path(app)):
            if line.row is None:
                file.write(jsonl.ended(line.raw))
                continue
            if not begun:
                file.writelines(_encoded(behind[None]))
                begun = True
            golden = accepted.get(line.row["id"])
            file.write(jsonl.ended(line.raw) if golden is None else _encode(golden))
            file.writelines(_encoded(behind[line.row["id"]]))
        if not begun:
            file.writelines(_encoded(behind[None]))


def _places(
    app: Path, accepted: Mapping[str, Golden], order: Iterable[str]
) -> defaultdict[str | None, list[Golden]]:
    """Those that have no line yet, by the id of the golden that they come behind."""
    there = Index()
    for each in stream(app):
        there.add(each.id, "")
    behind: defaultdict[str | None, list[Golden]] = defaultdict(list)
    if all(there.get(each) is not None for each in accepted):
        return behind
    last = None
    for sample in order:
        if there.get(sample) is not None:
            last = sample
        elif sample in accepted:
            behind[last].append(accepted[sample])
    return behind


def _encoded(goldens: Iterable[Golden]) -> Iterator[bytes]:
    return map(_encode, goldens)


def _encode(golden: Golden) -> bytes:
    return jsonl.encode(asdict(golden))
