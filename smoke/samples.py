"""The texts to ask about, `APP/smoke/samples.jsonl`; written by people."""

from dataclasses import dataclass
from pathlib import Path

from smoke import jsonl
from smoke.fault import Fault


@dataclass(frozen=True, slots=True)
class Sample:
    """One text, or pair of texts, to ask the model about.

    Attributes:
        id: names the sample in reports and goldens.
        label: the true label, where somebody knows it.
    """

    id: str
    text: str
    text_pair: str | None = None
    label: str | None = None
    tags: tuple[str, ...] = ()


def path(app: Path) -> Path:
    """Where the samples of an app lie."""
    return app / "smoke" / "samples.jsonl"


def read(app: Path) -> list[Sample]:
    """Read an app's samples, in the file's order.

    Raises:
        Fault: no file, no sample in it, or a line that is not one; the line is named.
    """
    rows = jsonl.read(
        path(app),
        required={"id": jsonl.ID, "text": jsonl.TEXT},
        optional={"text_pair": jsonl.TEXT, "label": jsonl.TEXT, "tags": jsonl.TEXTS},
        cure='write one {"id": …, "text": …} a line, or name another folder with APP=',
    )
    samples = [Sample(**{**row, "tags": tuple(row.get("tags", ()))}) for row in rows]
    if not samples:
        raise Fault(f"{path(app)}: no samples in it", 'write one {"id": …, "text": …} a line')
    return samples
