"""Files of one JSON object a line, each with its own `id`."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smoke import atomic
from smoke.fault import Fault
from smoke.index import Index


class Kind(NamedTuple):
    """What a field may hold: a name for messages, and the test."""

    name: str
    fits: Callable[[Any], bool]


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: counted from 1.
        raw: as it stands there.
        row: the object on it; None where the line is blank, or the file's head.
    """

    number: int
    raw: bytes
    row: dict[str, Any] | None


TEXT = Kind("a string", lambda value: isinstance(value, str))
TEXTS = Kind(
    "a list of strings",
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
)
NUMBER = Kind(
    "a finite number",
    lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    ),
)
ID = Kind(
    "a printable string, not empty",
    lambda value: isinstance(value, str) and bool(value) and value.isprintable(),
)


def read(
    path: Path,
    required: Mapping[str, Kind],
    optional: Mapping[str, Kind],
    cure: str,
    head: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the objects of `path`, in order, as they are read; see `lines`."""
    for line in lines(path, required, optional, cure, head):
        if line.row is not None:
            yield line.row


def lines(
    path: Path,
    required: Mapping[str, Kind],
    optional: Mapping[str, Kind],
    cure: str,
    head: str | None = None,
) -> Iterator[Line]:
    """Yield the lines of `path`, in order, as they are read, each with its object.

    Args:
        required: the fields that each object has; one is `id`, which no two objects share.
        optional: the fields that it may have besides.
        cure: what to do when there is no such file.
        head: the first line may hold this field alone; see `read_head`.

    Raises:
        Fault: there is no such file, or a line is not such an object; the line is named.
    """
    line_of = Index()
    for number, line in enumerate(_lines(path, cure), start=1):
        if not line.strip():
            yield Line(number, line, None)
            continue
        where = f"{path}:{number}"
        row = _object(where, line)
        if number == 1 and head is not None and set(row) == {head}:
            yield Line(number, line, None)
            continue
        _check(where, row, required, optional)
        first = line_of.add(row["id"], str(number))
        if first is not None:
            raise Fault(
                f'{where}: the id "{row["id"]}" stands on line {first} already',
                "give each line an id of its own",
            )
        yield Line(number, line, row)


def read_head(path: Path, head: str) -> Any:
    """What the first line holds, if it holds that field alone; else None."""
    with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
        row = json.loads(file.readline())
        if isinstance(row, dict) and set(row) == {head}:
            return row[head]
    return None


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line, readable in a diff, all or nothing.

    Raises:
        Fault: the file cannot be written.
    """
    with atomic.writing(path) as file:
        for row in rows:
            file.write(encode(row))


def ended(raw: bytes) -> bytes:
    """A line that another one can follow: the last one of a file may lack its end."""
    return raw if raw.endswith(b"\n") else raw + b"\n"


def encode(row: Mapping[str, Any]) -> bytes:
    """One object as a line."""
    # UTF-8 has no lone surrogates, but JSON can escape them, and in Python's way.
    text = json.dumps(row, ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _lines(path: Path, cure: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield file.readline().removeprefix(b"\xef\xbb\xbf")
            yield from file
    except FileNotFoundError:
        raise Fault(f"{path}: no such file", cure) from None
    except OSError as error:
        raise Fault(f"{path}: cannot be read ({error.strerror})", cure) from error


def _object(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Fault(
            f"{where}: byte {error.start + 1} is not UTF-8", "save the file as UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        raise Fault(
            f"{where}: not JSON ({error.msg} at column {error.colno})",
            "write one JSON object on the line",
        ) from error
    if not isinstance(row, dict):
        raise Fault(f"{where}: not a JSON object", 'write {"id": …, …} on the line')
    return row


def _check(
    where: str, row: dict[str, Any], required: Mapping[str, Kind], optional: Mapping[str, Kind]
) -> None:
    kinds = {**required, **optional}
    for name in row.keys() - kinds.keys():
        raise Fault(f'{where}: unknown key "{name}"', f"known are {', '.join(kinds)}")
    for name in required:
        if name not in row:
            raise Fault(f'{where}: no "{name}"', f"add it: {kinds[name].name}")
    for name, value in row.items():
        if not kinds[name].fits(value):
            raise Fault(
                f'{where}: "{name}" is {json.dumps(value)[:40]}', f"give {kinds[name].name}"
            )
