"""Files that are whole or not there."""

import os
from pathlib import Path

from smoke.fault import Fault


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path`, making the folders above; a killed process leaves the old file.

    Raises:
        Fault: the folder or the file cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise Fault(
            f"{path}: cannot be written ({error.strerror})", "free or permit that place"
        ) from error
