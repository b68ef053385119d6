"""Whether a changed label was a near thing: the two best scores of a text, asked once more.

Our handler answers as many labels as "top_k" says. One that does not, or refuses, marks nothing.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoke import jsonl, replies
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


def path(app: Path) -> Path:
    """Where a run leaves its ties."""
    return app / ".run" / "smoke" / "ties.jsonl"


def write(app: Path, ties: dict[str, Tie]) -> None:
    """Leave the ties of a run, in place of the last one's.

    Raises:
        Fault: they cannot be written.
    """
    rows = ({"id": id_, "score": tie.score, "other": tie.other} for id_, tie in ties.items())
    jsonl.write(path(app), rows)


def read(app: Path) -> dict[str, Tie]:
    """The ties of the last run, as far as they are known."""
    fields = {"id": jsonl.ID, "score": jsonl.NUMBER, "other": jsonl.NUMBER}
    with contextlib.suppress(Fault):
        rows = jsonl.read(path(app), required=fields, optional={}, cure="")
        return {row["id"]: Tie(row["score"], row["other"]) for row in rows}
    return {}
