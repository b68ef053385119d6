"""What so many samples can tell, and what they cannot. They explain a run; they decide nothing.

SciPy is loaded where it is needed only: that takes longer than to ask a few dozen samples.
"""

from dataclasses import dataclass

CONFIDENCE = 0.95
# With fewer, not even flips that all go one way would reach p = 0.05.
ENOUGH_FLIPS = 6
# A share of fewer is marked: the interval may be wider than a third of everything.
FEW = 30


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share, from 0 to 1. There must be some."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95 % (Wilson 1927): holds also near 0 and 1, and for few."""
        from scipy.stats import binomtest

        found = binomtest(self.count, self.of).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    @property
    def bound(self) -> float:
        """What the share is below, at 95 %: exact and one-sided; of none in N, about 3 / N."""
        from scipy.stats import binomtest

        tested = binomtest(self.count, self.of, alternative="less")
        return float(tested.proportion_ci(CONFIDENCE, method="exact").high)


def mcnemar(regressions: int, fixes: int) -> float | None:
    """How often chance alone, to which both ways are alike, flips as unevenly as this or more.

    McNemar's exact test, two-sided (McNemar 1947); those that are right both times, or wrong both
    times, say nothing.

    Returns:
        The p-value; None where the flips are too few to tell.
    """
    flips = regressions + fixes
    if flips < ENOUGH_FLIPS:
        return None
    from scipy.stats import binomtest

    return float(binomtest(regressions, flips).pvalue)


def mcnemar_words(regressions: int, fixes: int) -> str:
    """The test on one line."""
    p = mcnemar(regressions, fixes)
    flips = f"{counted(regressions, 'regression', 's')}, {counted(fixes, 'fix', 'es')}"
    if p is None:
        return f"{flips}: too few flips to tell"
    return f"{flips}: p = {p:.3g} (exact McNemar)"


def counted(number: int, what: str, plural: str) -> str:
    """1 fix, 2 fixes."""
    return f"{number:,} {what}{'' if number == 1 else plural}"
