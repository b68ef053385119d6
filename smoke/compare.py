"""What became of each sample, against its golden."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from smoke.client import Answer, Failure, Reply
from smoke.golden import DIGITS, Golden
from smoke.replies import Timed
from smoke.samples import Sample


class Verdict(StrEnum):
    """What became of a sample, the worst first. Everything but `SAME` fails a run."""

    FAILED = "failed"
    CHANGED = "label changed"
    DRIFTED = "score drifted"
    NEW = "new"
    SAME = "same"


class Turn(StrEnum):
    """What a changed label means, where the truth is known."""

    REGRESSION = "regression"
    """It was right, and is wrong."""
    FIX = "fix"
    """It was wrong, and is right."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A sample, what was accepted for it, what came now, and what that amounts to.

    Attributes:
        seconds: what the answer took.
        retries: how often it was sent again, since nothing listened.
    """

    sample: Sample
    golden: Golden | None
    reply: Reply
    seconds: float
    verdict: Verdict
    retries: int = 0

    @property
    def answer(self) -> Answer | None:
        """What the model said, if it did."""
        return self.reply if isinstance(self.reply, Answer) else None

    @property
    def is_true(self) -> bool | None:
        """Whether the answer is the true label; None without an answer or a known truth."""
        if self.sample.label is None or self.answer is None:
            return None
        return self.answer.label == self.sample.label

    @property
    def was_true(self) -> bool | None:
        """Whether the accepted label is the true one; None without a golden or a known truth."""
        if self.sample.label is None or self.golden is None:
            return None
        return self.golden.label == self.sample.label

    @property
    def turn(self) -> Turn | None:
        """What a changed label means; None where it did not change, or was and is wrong, or no
        truth is known."""
        if self.verdict is not Verdict.CHANGED or self.was_true == self.is_true:
            return None
        return Turn.FIX if self.is_true else Turn.REGRESSION

    def accepted(self) -> Golden:
        """The golden that accepting this makes; one that still holds stays as it is.

        Keeping it keeps the noise of another CPU out of the file's history.
        """
        if self.verdict is Verdict.SAME and self.golden is not None:
            return self.golden
        if self.answer is None:
            raise ValueError(f"{self.sample.id}: a failure cannot be accepted")
        return Golden(self.sample.id, self.answer.label, round(self.answer.score, DIGITS))

    def row(self) -> dict[str, Any]:
        """All of it but the text, for a JSON line; fields that do not apply are left out."""
        row: dict[str, Any] = {"id": self.sample.id, "verdict": self.verdict.value}
        if self.golden is not None:
            row["golden"] = {"label": self.golden.label, "score": self.golden.score}
        if isinstance(self.reply, Answer):
            row["answer"] = {"label": self.reply.label, "score": self.reply.score}
        else:
            row["failure"] = {
                "status": self.reply.status,
                "message": self.reply.message,
                "request_id": self.reply.request_id,
            }
        row["seconds"] = round(self.seconds, 6)
        return row | ({"retries": self.retries} if self.retries else {})


def compare(sample: Sample, golden: Golden | None, timed: Timed, tolerance: float) -> Comparison:
    """Judge the reply to a sample.

    Args:
        tolerance: how far a score may lie from its golden, absolute.
    """
    judged = verdict(golden, timed.reply, tolerance)
    return Comparison(sample, golden, timed.reply, timed.seconds, judged, timed.retries)


def verdict(golden: Golden | None, reply: Reply, tolerance: float) -> Verdict:
    """Judge one reply against its golden."""
    if isinstance(reply, Failure):
        return Verdict.FAILED
    if golden is None:
        return Verdict.NEW
    if reply.label != golden.label:
        return Verdict.CHANGED
    distance = round(abs(round(reply.score, DIGITS) - golden.score), DIGITS)
    # Asked this way round, a distance that is not a number is a drift.
    return Verdict.SAME if distance <= tolerance else Verdict.DRIFTED
