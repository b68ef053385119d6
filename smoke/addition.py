"""A text that somebody tried, as one more sample of an app, with its answer as the golden."""

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smoke import atomic, golden, jsonl, samples
from smoke.fault import Fault
from smoke.golden import Golden
from smoke.samples import Sample


def check(app: Path, sample: str) -> None:
    """See that an app can have a sample of this id.

    Raises:
        Fault: it has one, and the line is named; it is no id; or the file cannot be read.
    """
    if not jsonl.ID.fits(sample) or len(sample.split()) != 1:
        # ACCEPT= names several with blanks between.
        raise Fault(f"the id {sample!r} does not fit", f"give {jsonl.ID.name}, without blanks")
    for line in samples.lines(app) if samples.path(app).exists() else ():
        if line.row is not None and line.row["id"] == sample:
            where = f"{samples.path(app)}:{line.number}"
            raise Fault(f'{where}: the id "{sample}" stands there already', "choose another")


def add(app: Path, sample: Sample, accepted: Golden, made_with: Mapping[str, Any]) -> None:
    """Append a sample, and put its golden behind the others.

    The golden first: should only that get through, the next run names it, and the same can be done
    again; a sample without a golden would fail it.

    Raises:
        Fault: a file cannot be read or written.
    """
    path = samples.path(app)
    there = samples.stream(app) if path.exists() else ()
    order = itertools.chain((each.id for each in there), [sample.id])
    golden.put(app, {sample.id: accepted}, order, made_with)
    # People write this file, and may have it elsewhere, behind a link.
    with atomic.writing(path.resolve()) as file:
        if path.exists():
            with path.open("rb") as old:
                shutil.copyfileobj(old, file)
                file.write(b"" if _ends(path) else b"\n")
        row = {name: value for name, value in asdict(sample).items() if value not in (None, ())}
        file.write(jsonl.encode(row))


def _ends(path: Path) -> bool:
    """Whether the last line of a file has its end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return file.read() in (b"", b"\n")
