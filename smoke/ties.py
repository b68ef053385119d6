"""Whether a changed label was a near thing: the two best scores of a text, asked once more.

Our handler answers as many labels as "top_k" says. One that does not, or refuses, marks nothing.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoke import record, replies
from smoke.client import Answer, Client, Failure, Reply, best
from smoke.compare import Comparison
from smoke.fault import Fault, Unanswered
from smoke.golden import DIGITS
from smoke.samples import Sample

MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Tie:
    """The score of the label that was answered, and that of the best other one."""

    score: float
    other: float

    @property
    def is_close(self) -> bool:
        """Whether the margin is below MARGIN."""
        return round(abs(self.score - self.other), DIGITS) < MARGIN

    def __str__(self) -> str:
        return f"tie: {self.score:.3f} to {self.other:.3f}"


class _Rivals:
    """Asks a model for the best label beside the one that it has answered."""

    has_answered = False  # no tie is worth waiting for

    def __init__(self, client: Client, answered: dict[str, Answer]) -> None:
        self._client = client
        self._answered = answered

    def ask(self, sample: Sample) -> Reply:
        answers = self._client.ask_all(sample, top_k=2)
        if isinstance(answers, Failure):
            return answers
        others = [each for each in answers if each.label != self._answered[sample.id].label]
        return best(others) if others else Failure("no other label")


def find(client: Client, changed: Sequence[Comparison], threads: int) -> dict[str, Tie]:
    """The ties among answers, by the samples' ids.

    The first is asked alone: a handler that cannot say it is not to fail once for each.
    """
    samples = [each.sample for each in changed if each.answer]
    answered = {each.sample.id: each.answer for each in changed if each.answer}
    rivals = _Rivals(client, answered)
    ties: dict[str, Tie] = {}
    with contextlib.suppress(Unanswered):
        for some in (samples[:1], samples[1:]):
            rival: Reply = Failure("nothing was asked")
            for sample, timed in replies.stream(rivals, some, threads):
                rival = timed.reply
                if isinstance(rival, Answer):
                    tie = Tie(answered[sample.id].score, rival.score)
                    ties |= {sample.id: tie} if tie.is_close else {}
            if isinstance(rival, Failure):
                break
    return ties


def read(app: Path) -> dict[str, Tie]:
    """The ties of the last run, as far as they are known."""
    with contextlib.suppress(Fault):
        return {id_: Tie(*scores) for id_, scores in record.read(app).ties.items()}
    return {}
