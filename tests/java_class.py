"""The string constants of a compiled Java class: the keys that it reads are among them.

A class begins with a pool of constants, each a tag and what belongs to it: chapter 4.4 of the Java
Virtual Machine Specification.
"""

import struct
import zipfile
from pathlib import Path

import ts

JAR = Path(ts.__file__).parent / "frontend" / "model-server.jar"
UTF8, STRING = 1, 8
# A long and a double take two places in the pool.
WIDE = (5, 6)
# Bytes after the tag.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4}
SIZES |= {15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}


def strings(name: str) -> set[str]:
    """All that a class of TorchServe uses as values; no names of its fields, methods or types."""
    with zipfile.ZipFile(JAR) as opened:
        code = opened.read(f"org/pytorch/serve/{name}.class")
    texts: dict[int, str] = {}
    used: list[int] = []
    (count,) = struct.unpack_from(">H", code, 8)
    place, number = 10, 1
    while number < count:
        tag = code[place]
        if tag == UTF8:
            size = 2 + struct.unpack_from(">H", code, place + 1)[0]
            # Java's own UTF-8 has surrogates in it.
            texts[number] = code[place + 3 : place + 1 + size].decode(errors="replace")
        else:
            size = SIZES[tag]
        if tag == STRING:
            used += struct.unpack_from(">H", code, place + 1)
        number += 2 if tag in WIDE else 1
        place += 1 + size
    return {texts[each] for each in used}
