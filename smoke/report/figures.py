"""All that a report counts of a run, as its results stream by, in bounded memory."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from smoke.compare import Comparison, Turn, Verdict
from smoke.tally import Tally

# So many tags, and pairs of truth and answer, are told apart.
KEPT = 10_000
OTHER = "(others)"
UNTAGGED = "(no tag)"


@dataclass
class Tag:
    """The samples of one tag: what became of them, and how many of known truth were right."""

    kinds: Counter[Verdict | Turn] = field(default_factory=Counter)
    known: int = 0
    right: int = 0


@dataclass
class Figures:
    """The counts of a run.

    Attributes:
        tally: verdicts, truth, latency, and the first samples of each kind.
        kinds: what became of how many; labels that changed for better or worse are told apart.
        confusion: how many of which truth were answered with which label.
        tags: the same by tag; a sample counts for each tag that it has.
        shifts: by how much the score of each label that stayed has moved.
    """

    tally: Tally = field(default_factory=Tally)
    kinds: Counter[Verdict | Turn] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    tags: dict[str, Tag] = field(default_factory=dict)
    shifts: "array[float]" = field(default_factory=lambda: array("d"))

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> "Figures":
        """The figures of some comparisons."""
        figures = cls()
        for each in comparisons:
            figures.add(each)
        return figures

    def add(self, comparison: Comparison) -> None:
        """Count one more."""
        self.tally.add(comparison)
        kind = comparison.turn or comparison.verdict
        self.kinds[kind] += 1
        for name in comparison.sample.tags or (UNTAGGED,):
            tag = self.tags.setdefault(name if self._has_room(name) else OTHER, Tag())
            tag.kinds[kind] += 1
            if comparison.is_true is not None:
                tag.known += 1
                tag.right += comparison.is_true
        if comparison.answer is not None:
            self._add_answer(comparison, comparison.answer.label, comparison.answer.score)

    def _add_answer(self, comparison: Comparison, label: str, score: float) -> None:
        if comparison.sample.label is not None:
            pair = (comparison.sample.label, label)
            room = pair in self.confusion or len(self.confusion) < KEPT
            self.confusion[pair if room else (OTHER, OTHER)] += 1
        if comparison.golden is not None and comparison.golden.label == label:
            self.shifts.append(score - comparison.golden.score)

    def _has_room(self, tag: str) -> bool:
        return tag in self.tags or len(self.tags) < KEPT

    @property
    def compared(self) -> int:
        """How many answers had a golden to be compared with."""
        alike = self.kinds[Verdict.SAME] + self.kinds[Verdict.DRIFTED]
        return alike + self.tally.verdicts[Verdict.CHANGED]
