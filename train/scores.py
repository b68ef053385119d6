"""How good the answers are, on texts that the model has not learnt from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from train.labels import form_a_scale


@dataclass(frozen=True)
class Scores:
    """Rates from 0 to 1, and the counts behind them.

    `confusion[i][j]` counts the texts of class i that were given class j. `within_one` is the
    rate of answers at most one class off, for labels that form a scale.
    """

    labels: list[str]
    confusion: list[list[int]]
    accuracy: float
    within_one: float | None

    @classmethod
    def of(cls, labels: Sequence[str], truths: Sequence[int], answers: Sequence[int]) -> "Scores":
        """Compare answers with truths, both given as class numbers."""
        confusion = [[0] * len(labels) for _ in labels]
        for truth, answer in zip(truths, answers, strict=True):
            confusion[truth][answer] += 1
        within_one = _rate(confusion, 1) if form_a_scale(labels) else None
        return cls(list(labels), confusion, _rate(confusion, 0), within_one)

    def as_json(self) -> dict[str, Any]:
        """The fields, the rates rounded to what the counts can tell."""
        fields = asdict(self)
        for rate in ("accuracy", "within_one"):
            if fields[rate] is not None:
                fields[rate] = round(fields[rate], 4)
        return fields

    def __str__(self) -> str:
        lines = [f"accuracy    {self.accuracy:6.1%}"]
        if self.within_one is not None:
            lines.append(f"within one  {self.within_one:6.1%}")
            lines += ["", *self._table()]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        width = max(map(len, self.labels))
        header = " " * width + " " + "  ".join(f"{label:>{width}}" for label in self.labels)
        rows = [
            f"{label:<{width}} " + "  ".join(f"{count:>{width}}" for count in counts)
            for label, counts in zip(self.labels, self.confusion, strict=True)
        ]
        return [f"{'':{width}} answered", header, *rows]


def _rate(confusion: list[list[int]], distance: int) -> float:
    """The share of texts whose answer is at most `distance` classes from the truth."""
    total = sum(map(sum, confusion))
    near = sum(
        count
        for truth, counts in enumerate(confusion)
        for answer, count in enumerate(counts)
        if abs(truth - answer) <= distance
    )
    return near / total
