"""The classes: their order, and whether they form a scale."""

import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"\d+")


def in_order(labels: Iterable[str]) -> list[str]:
    """The distinct labels in natural order: "2 stars" before "10 stars"."""
    return sorted(set(labels), key=_natural)


def form_a_scale(labels: Sequence[str]) -> bool:
    """Whether every label begins with a number, so that a neighbour is a smaller mistake."""
    return all(_NUMBER.match(label) for label in labels)


def _natural(label: str) -> tuple[list[tuple[int, str]], str]:
    """Runs of digits count as numbers; the label itself settles a tie such as "1" and "01"."""
    words = re.findall(r"\d+|\D+", label)
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words], label
