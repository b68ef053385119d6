"""An app's `torch_model/`: replaced whole, and never when someone else made it.

A hidden file among the others records the weights that this tool wrote, and what it made them from.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from smoke.fault import Fault
from train.folder import replaced

WEIGHTS = "model.safetensors"
RECORD = ".made-here.json"
CLASS_NAMES = "index_to_name.json"


@dataclass(frozen=True)
class Record:
    """The weights that were written (bytes, nanoseconds, SHA-256), and what they were made from."""

    size: int
    mtime_ns: int
    sha256: str
    made_from: str
    file: str = WEIGHTS


def folder(app: Path) -> Path:
    """Where an app's checkpoint lies."""
    return app / "torch_model"


def is_foreign(app: Path) -> bool:
    """Whether there is a checkpoint that this tool did not make."""
    checkpoint = folder(app)
    if not checkpoint.is_dir() or not any(checkpoint.iterdir()):
        return False
    record = _read(checkpoint)
    return record is None or not _is(checkpoint / record.file, record)


def made_from(app: Path) -> str | None:
    """What this tool made the app's checkpoint from; None where there is none of its making."""
    record = _read(folder(app))
    return None if record is None or is_foreign(app) else record.made_from


def touch(app: Path) -> None:
    """Note that the checkpoint is current, for bin/model.sh, which goes by times."""
    (folder(app) / RECORD).touch()


@contextmanager
def replacement(app: Path, source: str, weights: str = WEIGHTS) -> Iterator[Path]:
    """Yield an empty folder that becomes the app's checkpoint, made from `source`.

    Class names that the user has put beside the old weights stay, unless the new ones bring theirs.

    Args:
        weights: the file of weights that will be in it.

    Raises:
        Fault: there is a checkpoint that this tool did not make.
    """
    checkpoint = folder(app)
    refuse_foreign(app)
    with replaced(checkpoint, app / ".run") as new:
        yield new
        if (checkpoint / CLASS_NAMES).exists() and not (new / CLASS_NAMES).exists():
            shutil.copy2(checkpoint / CLASS_NAMES, new)
        _write(new, source, weights)


def refuse_foreign(app: Path) -> None:
    """See that a new checkpoint would replace none of the user's.

    Raises:
        Fault: it would.
    """
    if is_foreign(app):
        raise Fault(
            f"{folder(app)} holds a checkpoint that was not made here",
            "move it away to have another one made",
        )


def _read(checkpoint: Path) -> Record | None:
    try:
        return Record(**json.loads((checkpoint / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(checkpoint: Path, source: str, file: str) -> None:
    weights = checkpoint / file
    status = weights.stat()
    record = Record(status.st_size, status.st_mtime_ns, _sha256(weights), source, file)
    content = json.dumps(asdict(record), indent=2) + "\n"
    (checkpoint / RECORD).write_text(content, encoding="utf-8")


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
