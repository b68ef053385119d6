"""Whether a file of weights is whole, without reading the weights."""

import json
import zipfile
from pathlib import Path

from smoke.fault import Fault

POINTER = b"version https://git-lfs"
# The format's own limit.
HEADER_BYTES = 100_000_000
CURE = "copy or save the checkpoint again"


def check(file: Path) -> None:
    """Look at the head of a file of weights and at its size.

    Raises:
        Fault: it is cut short, or not what its name says.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        head = opened.read(len(POINTER))
    if head == POINTER:
        raise Fault(
            f"{file} is a pointer of git LFS, not the weights", "get them with git lfs pull"
        )
    if file.suffix == ".safetensors":
        _check_safetensors(file)
    # torch has saved zip files since 1.6; one that is older is a bare pickle, which has no size.
    elif not head or (head.startswith(b"PK") and not zipfile.is_zipfile(file)):
        raise Fault(f"{file} is cut short", CURE)


def _check_safetensors(file: Path) -> None:
    """The length of the header in 8 bytes, the header in JSON, then the tensors, back to back."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > HEADER_BYTES:
            raise Fault(f"{file} is no safetensors file", CURE)
        header = opened.read(length)
    if len(header) < length:
        raise Fault(f"{file} is cut short in its header", CURE)
    try:
        tensors = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
        end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise Fault(f"{file}: its header cannot be read ({error})", CURE) from None
    if size != 8 + length + end:
        raise Fault(f"{file} has {size} bytes, and its header tells of {8 + length + end}", CURE)
