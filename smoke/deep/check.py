"""What a check has found: what differs, by sample, and the kind of bug that usually does that."""

from collections.abc import Iterable
from dataclasses import dataclass

from smoke.client import Answer, Failure, Reply
from smoke.samples import Sample

Asked = dict[Sample, Answer]
"""The samples that are checked, with what each is answered alone, in their order."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A sample that is not answered as it should be.

    Attributes:
        sample: the sample.
        alone: what it is answered alone.
        other: what it is answered elsewhere, or what somebody else answers;
        where: that is where, or who, in a word or two.
    """

    sample: Sample
    alone: Answer
    other: Reply
    where: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check, done.

    Attributes:
        name: what it is called.
        about: what was compared, in words.
        differences: what is not the same; none, and the check has passed.
        more: how many there are that were not kept.
        hint: the kind of bug that usually does that, where the evidence fits one.
        unchecked: why nothing could be compared.
    """

    name: str
    about: str
    differences: tuple[Difference, ...] = ()
    more: int = 0
    hint: str | None = None
    unchecked: str | None = None

    @property
    def passed(self) -> bool | None:
        """Whether nothing differs; None if nothing could be compared."""
        return None if self.unchecked is not None else not self.differences


def differences(
    asked: Asked, others: Iterable[tuple[Sample, Reply]], where: str, tolerance: float
) -> tuple[Difference, ...]:
    """The first other answer to each sample that is not what it is answered alone.

    Args:
        where: see `Difference`.
        tolerance: how far a score may lie from the other, absolute.
    """
    found: dict[Sample, Difference] = {}
    for sample, other in others:
        if not same(asked[sample], other, tolerance):
            found.setdefault(sample, Difference(sample, asked[sample], other, where))
    return tuple(found.values())


def same(one: Answer, other: Reply, tolerance: float) -> bool:
    """Whether two answers are the same, within a tolerance."""
    if isinstance(other, Failure):
        return False
    return one.label == other.label and abs(one.score - other.score) <= tolerance
