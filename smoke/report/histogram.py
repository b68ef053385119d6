"""How numbers are distributed: so many in each of some ranges, and the bars that show it."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 140
# What there is few of is to be seen beside what there is much of.
LEAST_HEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One range: its numbers run from `low` to `high`; where its bar stands in a drawing."""

    low: float
    high: float
    count: int
    x: float
    y: float
    width: float
    height: float


def bars(values: Sequence[float], edges: Sequence[float]) -> list[Bar]:
    """The bars of a drawing of WIDTH by HEIGHT.

    Args:
        edges: where each range begins, and the last one ends; what lies beyond counts at the ends.
    """
    import numpy as np  # Not above: smoke itself does without.

    within = np.clip(np.asarray(values), edges[0], edges[-1])
    counts = [int(each) for each in np.histogram(within, bins=np.asarray(edges))[0]]
    most, width = max(counts), WIDTH / len(counts)
    return [
        Bar(low, high, count, round(number * width, 2), round(HEIGHT - height, 2), width, height)
        for number, (low, high, count) in enumerate(zip(edges[:-1], edges[1:], counts, strict=True))
        for height in [_height(count, most)]
    ]


def _height(count: int, most: int) -> float:
    return max(LEAST_HEIGHT, round(HEIGHT * count / most, 2)) if count else 0.0


def logarithmic(low: float, high: float, ranges: int) -> list[float]:
    """Edges whose ratio is always the same, for what has a long tail."""
    import numpy as np

    if not 0 < low < high:
        low, high = max(low, 1e-6) / 2, max(high, 1e-6) * 2
    edges = [float(each) for each in np.geomspace(low, high, ranges + 1)]
    return [low, *edges[1:-1], high]


def symmetric(reach: float, ranges: int) -> list[float]:
    """Edges from -reach to reach, all as far apart; of an odd number of ranges one is about 0."""
    import numpy as np

    return [float(each) for each in np.linspace(-reach, reach, ranges + 1)]
