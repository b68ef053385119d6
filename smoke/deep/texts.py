"""Which samples are checked, and what else is asked with them."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from smoke.samples import Sample
from smoke.suite import Suite

MOST = 200
# Enough for a handler that splits a list into several passes.
LIST = 8


def chosen(suite: Suite) -> list[Sample]:
    """At most `MOST` samples, spread over the file; the same each time."""
    step = -(-suite.size // MOST)
    return list(itertools.islice(suite.samples(), 0, None, step))


def shuffled(samples: Iterable[Sample]) -> list[Sample]:
    """The samples in another order; the same each time."""
    mixed = list(samples)
    random.Random(0).shuffle(mixed)  # noqa: S311 - no secret
    return mixed


def lists(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    """The samples by the listful."""
    return (samples[start : start + LIST] for start in range(0, len(samples), LIST))


def longer(sample: Sample) -> Sample:
    """The same text with its first third once more.

    So little that a handler that sorts by length still puts both into one pass.
    """
    words = sample.text.split()
    more = " ".join(words[: max(1, len(words) // 3)])
    return replace(sample, text=f"{sample.text} {more}")
