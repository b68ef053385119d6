"""Invariance: samples of one group that expect the same are given one label.

All answers of the run count: they are read from what it has left, and nothing is asked again.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from smoke import results
from smoke.client import Answer
from smoke.deep import hints
from smoke.deep.check import Check, Difference
from smoke.index import Index
from smoke.samples import Sample

NAME = "invariance"
KEPT = 100


def compare(app: Path, is_right: bool | None) -> Check:
    """Hold the label of each against that of the first of its group.

    Args:
        is_right: whether all other checks hold; None if parity could not be checked.
    """
    first, shared, count = Index(), Index(), 0
    kept: list[Difference] = []
    texts: list[tuple[str, str]] = []
    differing = 0
    for group, sample, answer in _grouped(app):
        count += 1
        told = json.dumps([sample.id, sample.text, answer.label, answer.score])
        if (known := first.add(group, told)) is None:
            continue
        shared.add(group, "")
        id_, text, label, score = json.loads(known)
        differing += label != answer.label
        if label != answer.label and len(kept) < KEPT:
            kept.append(Difference(sample, answer, Answer(label, score), id_))
            texts.append((sample.text, text))
    if not len(shared):
        return Check(
            NAME, "groups", unchecked='no two that were answered share a group that expects "same"'
        )
    about = f"{count} samples that expect the label of their group ({len(first)})"
    more = differing - len(kept)
    return Check(NAME, about, tuple(kept), more, hints.of_groups(texts, is_right))


def _grouped(app: Path) -> Iterator[tuple[str, Sample, Answer]]:
    """The samples that expect the same as others, each with its group and its answer."""
    for each in results.stream(app):
        sample = each.sample
        if sample.group is not None and sample.expect == "same" and each.answer is not None:
            yield sample.group, sample, each.answer
