"""Files of one JSON object a line, each with its own `id`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smoke import atomic
from smoke.fault import Fault


class Kind(NamedTuple):
    """What a field may hold: a name for messages, and the test."""

    name: str
    fits: Callable[[Any], bool]


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
    path: Path, required: Mapping[str, Kind], optional: Mapping[str, Kind], cure: str
) -> Iterator[dict[str, Any]]:
    """Yield the objects of `path`, in order; blank lines are skipped.

    Args:
        required: the fields that each object has; one is `id`, which no two objects share.
        optional: the fields that it may have besides.
        cure: what to do when there is no such file.

    Raises:
        Fault: there is no such file, or a line is not such an object; the line is named.
    """
    line_of: dict[str, int] = {}
    for number, line in enumerate(_lines(path, cure), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = _object(where, line)
        _check(where, row, required, optional)
        first = line_of.setdefault(row["id"], number)
        if first != number:
            raise Fault(
                f'{where}: the id "{row["id"]}" stands on line {first} already',
                "give each line an id of its own",
            )
        yield row


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line, readable in a diff, all or nothing.

    Raises:
        Fault: the file cannot be written.
    """
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    # UTF-8 has no lone surrogates, but JSON can escape them, and in Python's way.
    atomic.write(path, text.encode("utf-8", "backslashreplace"))


def _lines(path: Path, cure: str) -> list[bytes]:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
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
