"""A folder that is there whole, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replaced(folder: Path, scratch: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block ends.

    Whatever interrupts the block leaves `folder` as it was.

    Args:
        folder: the folder to replace; it need not exist.
        scratch: a folder on the same file system, made if missing, where the new one is written.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{folder.name}.", dir=scratch) as aside:
        new, old = Path(aside, "new"), Path(aside, "old")
        new.mkdir()
        yield new
        try:
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
