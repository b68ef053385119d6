"""An app's `torch_model/`: replaced whole, and never when someone else made it.

`.run/model.json` records the weights that this tool wrote, and what it made them from.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from smoke.fault import Fault
from train.folder import replaced

WEIGHTS = "model.safetensors"
CLASS_NAMES = "index_to_name.json"


@dataclass(frozen=True)
class Record:
    """The weights that were written (bytes, nanoseconds, SHA-256), and what they were made from."""

    size: int
    mtime_ns: int
    sha256: str
    made_from: str


def folder(app: Path) -> Path:
    """Where an app's checkpoint lies."""
    return app / "torch_model"


def made_from(app: Path) -> str | None:
    """What this tool made the app's checkpoint from; None where there is no checkpoint.

    Raises:
        Fault: there is one, and this tool did not make it.
    """
    checkpoint = folder(app)
    if not checkpoint.is_dir() or not any(checkpoint.iterdir()):
        return None
    record = _read(app)
    if record is None or not _is(checkpoint / WEIGHTS, record):
        raise Fault(
            f"{checkpoint} holds a checkpoint that was not made here",
            "move it away to have another one made",
        )
    return record.made_from


@contextmanager
def replacement(app: Path, source: str) -> Iterator[Path]:
    """Yield an empty folder that becomes the app's checkpoint, made from `source`.

    Class names that the user has put beside the old weights stay.
    """
    checkpoint = folder(app)
    with replaced(checkpoint, _run(app)) as new:
        yield new
        if (checkpoint / CLASS_NAMES).exists():
            shutil.copy2(checkpoint / CLASS_NAMES, new)
    weights = checkpoint / WEIGHTS
    status = weights.stat()
    record = Record(status.st_size, status.st_mtime_ns, _sha256(weights), source)
    _write(app, record)


def touch(app: Path) -> None:
    """Let make see the checkpoint as newer than what it was made from."""
    os.utime(folder(app) / "config.json")


def _run(app: Path) -> Path:
    return app / ".run"


def _read(app: Path) -> Record | None:
    try:
        return Record(**json.loads((_run(app) / "model.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(app: Path, record: Record) -> None:
    aside = _run(app) / "model.json.new"
    aside.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    aside.replace(_run(app) / "model.json")


def _is(weights: Path, record: Record) -> bool:
    """Whether these are the recorded weights. The content is read only if size and time differ."""
    if not weights.is_file():
        return False
    status = weights.stat()
    if (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns):
        return True
    return status.st_size == record.size and _sha256(weights) == record.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
