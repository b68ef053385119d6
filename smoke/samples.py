"""The texts to ask about, `APP/smoke/samples.jsonl`; written by people."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smoke import jsonl
from smoke.fault import Fault

SAME = jsonl.Kind('"same"', lambda value: value == "same")


@dataclass(frozen=True, slots=True)
class Sample:
    """One text, or pair of texts, to ask the model about.

    Attributes:
        id: names the sample in reports and goldens.
        label: the true label, where somebody knows it.
        tags: what kind of text it is.
        group: those of a group say the same in other words,
        expect: and "same" says that the model is to give them all one label.
    """

    id: str
    text: str
    text_pair: str | None = None
    label: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    expect: str | None = None


def path(app: Path) -> Path:
    """Where the samples of an app lie."""
    return app / "smoke" / "samples.jsonl"


def stream(app: Path) -> Iterator[Sample]:
    """Read an app's samples, in the file's order, one after the other.

    Raises:
        Fault: no file, no sample in it, or a line that is not one; the line is named.
    """
    row = None
    for row in (line.row for line in lines(app) if line.row is not None):
        yield Sample(**{**row, "tags": tuple(row.get("tags", ()))})
    if row is None:
        raise Fault(f"{path(app)}: no samples in it", 'write one {"id": …, "text": …} a line')


def lines(app: Path) -> Iterator[jsonl.Line]:
    """The lines of an app's samples, blank ones included; see `stream`."""
    return jsonl.lines(
        path(app),
        required={"id": jsonl.ID, "text": jsonl.TEXT},
        optional={
            "text_pair": jsonl.TEXT,
            "label": jsonl.TEXT,
            "tags": jsonl.TEXTS,
            "group": jsonl.TEXT,
            "expect": SAME,
        },
        cure='write one {"id": …, "text": …} a line, or name another folder with APP=',
    )


def read(app: Path) -> list[Sample]:
    """All of an app's samples; see `stream`."""
    return list(stream(app))
