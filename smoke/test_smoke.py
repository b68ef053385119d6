"""What `pytest smoke` runs."""

import pytest

from smoke.compare import Comparison, Verdict
from smoke.samples import Sample
from smoke.wording import change


def test_answers_as_accepted(sample: Sample, comparisons: dict[str, Comparison]) -> None:
    comparison = comparisons[sample.id]
    if comparison.verdict is not Verdict.SAME:
        pytest.fail(f"{comparison.verdict.value}: {change(comparison)}", pytrace=False)
