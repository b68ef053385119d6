"""What a run amounts to, counted as it goes, in bounded memory."""

import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from smoke.client import Failure
from smoke.compare import Comparison, Turn, Verdict

# Of each kind so many are kept, to be shown.
SHOWN = 100
# And so many different words of failures.
WORDS = 100
OTHER_WORDS = "(other words)"


def bounded(words: str, known: Collection[str]) -> str:
    """The words of a failure, or, where there are many others already, what stands for the rest."""
    return words if words in known or len(known) < WORDS else OTHER_WORDS


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of sorted values does not exceed, by nearest rank."""
    return ordered[math.ceil(share * len(ordered)) - 1]


@dataclass
class Group:
    """Samples that failed with the same words: how many, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """The counts of a run.

    Attributes:
        verdicts: how many samples are the same, changed, and so on.
        turns: how many changed labels are regressions, and how many fixes.
        known: how many were answered whose truth is known; of those,
        right: how many answers are true.
        judged: how many of known truth had a golden and an answer; of those,
        was_right: how many goldens are true.
        shown: the first few samples of each kind that is not the same.
        failures: the samples that failed, by what the server said.
        seconds: what each answer took.
        retried: how many samples were sent again, since nothing listened for a while.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    turns: Counter[Turn] = field(default_factory=Counter)
    known: int = 0
    right: int = 0
    judged: int = 0
    was_right: int = 0
    shown: dict[Verdict | Turn, list[Comparison]] = field(default_factory=dict)
    failures: dict[str, Group] = field(default_factory=dict)
    seconds: "array[float]" = field(default_factory=lambda: array("d"))
    retried: int = 0

    @classmethod
    def of(cls, comparisons: Iterable[Comparison]) -> "Tally":
        """The tally of some comparisons."""
        tally = cls()
        for each in comparisons:
            tally.add(each)
        return tally

    def add(self, comparison: Comparison) -> None:
        """Count one more."""
        self.verdicts[comparison.verdict] += 1
        self.seconds.append(comparison.seconds)
        self.retried += comparison.retries > 0
        if comparison.is_true is not None:
            self.known += 1
            self.right += comparison.is_true
            if comparison.was_true is not None:
                self.judged += 1
                self.was_right += comparison.was_true
        if comparison.turn is not None:
            self.turns[comparison.turn] += 1
        if comparison.verdict is not Verdict.SAME:
            shown = self.shown.setdefault(comparison.turn or comparison.verdict, [])
            if len(shown) < SHOWN:
                shown.append(comparison)
        if isinstance(comparison.reply, Failure):
            self._add_failure(comparison.sample.id, comparison.reply.words)

    @property
    def size(self) -> int:
        """How many samples there were."""
        return len(self.seconds)

    @property
    def all_same(self) -> bool:
        """Whether every answer is what was accepted."""
        return self.verdicts[Verdict.SAME] == self.size

    @property
    def unexplained(self) -> int:
        """Changed labels that may be for the worse: those that are no fix."""
        return self.verdicts[Verdict.CHANGED] - self.turns[Turn.FIX]

    def passes(self, budget: int | None) -> bool:
        """Whether all is the same; or, with a budget, nothing failed, and it is not exceeded.

        Args:
            budget: how many labels may change that are no fix; then what else differs, passes.
        """
        if budget is None:
            return self.all_same
        return not self.verdicts[Verdict.FAILED] and self.unexplained <= budget

    def quantile(self, share: float) -> float:
        """What this share of all answers took at most, in seconds, by nearest rank; 0 if none."""
        return quantile(sorted(self.seconds), share) if self.seconds else 0.0

    @property
    def failed(self) -> dict[str, Failure]:
        """What came in place of an answer, by sample; the first that are kept to be shown."""
        shown = self.shown.get(Verdict.FAILED, [])
        return {each.sample.id: each.reply for each in shown if isinstance(each.reply, Failure)}

    def _add_failure(self, sample: str, words: str) -> None:
        group = self.failures.setdefault(bounded(words, self.failures), Group())
        group.count += 1
        if len(group.first) < SHOWN:
            group.first.append(sample)
