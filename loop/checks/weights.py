"""What the head of a file of weights tells: whether it is whole, and the tensors' shapes."""

import json
import zipfile
from pathlib import Path
from typing import Any

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


def shapes(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor in a safetensors file.

    Raises:
        Fault: it is cut short, or its header cannot be read.
        OSError: it cannot be read.
    """
    return {name: each["shape"] for name, each in _header(file)[1].items()}


def _check_safetensors(file: Path) -> None:
    size = file.stat().st_size
    start, tensors = _header(file)
    end = start + max((each["data_offsets"][1] for each in tensors.values()), default=0)
    if size != end:
        raise Fault(f"{file} has {size} bytes, and its header tells of {end}", CURE)


def _header(file: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the tensors begin, and what is told of each.

    The length of the header in 8 bytes, the header in JSON, then the tensors, back to back.
    """
    with file.open("rb") as opened:
        first = opened.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > HEADER_BYTES:
            raise Fault(f"{file} is no safetensors file", CURE)
        header = opened.read(length)
    if len(header) < length:
        raise Fault(f"{file} is cut short in its header", CURE)
    try:
        tensors = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
        for each in tensors.values():
            # As they are used: numbers, or there is no telling.
            _ = each["data_offsets"][1] + sum(each["shape"])
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise Fault(f"{file}: its header cannot be read ({error})", CURE) from None
    return 8 + length, tensors
