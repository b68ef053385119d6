"""Files that are whole or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from smoke.fault import Fault


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path`, making the folders above; a killed process leaves the old file.

    Raises:
        Fault: the folder or the file cannot be written.
    """
    with writing(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """What is written to this file is put at `path` when all of it is there; see `write`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                yield file
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(path, aside)  # what was private stays so
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise Fault(
            f"{path}: cannot be written ({error.strerror})", "free or permit that place"
        ) from error
