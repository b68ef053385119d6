"""The string constants of a compiled Java class.

A class begins with a pool of constants, each a tag and what belongs to it: chapter 4.4 of the Java
Virtual Machine Specification.
"""

import struct

MAGIC = b"\xca\xfe\xba\xbe"
UTF8 = 1
STRING = 8
# A long and a double take two places in the pool.
WIDE = (5, 6)
# Bytes after the tag.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4}
SIZES |= {15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}


def strings(code: bytes) -> set[str]:
    """All strings that a class uses as values; no names of its fields, methods or types.

    Raises:
        ValueError: this is no class.
    """
    if not code.startswith(MAGIC):
        raise ValueError("not a Java class")
    texts: dict[int, str] = {}
    used: list[int] = []
    try:
        (count,) = struct.unpack_from(">H", code, 8)
        place, number = 10, 1
        while number < count:
            tag = code[place]
            if tag == UTF8:
                (size,) = struct.unpack_from(">H", code, place + 1)
                size += 2
                # Java's own UTF-8 has surrogates in it.
                texts[number] = code[place + 3 : place + 1 + size].decode(errors="replace")
            else:
                size = SIZES[tag]
            if tag == STRING:
                used += struct.unpack_from(">H", code, place + 1)
            number += 2 if tag in WIDE else 1
            place += 1 + size
        return {texts[each] for each in used}
    except (IndexError, KeyError, struct.error):
        raise ValueError("a Java class that is cut short") from None
