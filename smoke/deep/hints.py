"""The kind of bug that usually makes such a difference, where all of the evidence fits it."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from smoke.client import Answer, Failure, Reply
from smoke.deep.check import Asked, Difference, same
from smoke.deep.reference import Reference, Said
from smoke.samples import Sample

UNSTEADY = "these answers differ by themselves: see determinism"
ORDER = (
    "each answer is that of another text: results out of order within a batch;"
    " is the sorting by length undone?"
)
MASK = (
    "a longer neighbour changes an answer, so padding is read as text:"
    " does the model get the attention_mask?"
)
FAILS = "texts of different length fail together: is the tokenizer told to pad them?"
ROUNDING = (
    "so small a difference comes of another order of arithmetic, in half precision above all:"
    " allow it with TOLERANCE=1e-3"
)
# Between that and what is meant to be the same lies what arithmetic alone may do.
SMALL = 1e-3
UNKNOWN_LABELS = (
    "the labels are not the checkpoint's: is index_to_name.json read, or id2label of config.json?"
)
EXCHANGED = "each score is right, its label another class's: is the label map another model's?"
LENGTH = "only texts that are too long for the model differ: is the limit {limit} tokens?"
LONGEST = "only the longest texts differ: are they cut before the model's limit of {limit} tokens?"
PAIR = "only pairs differ: does text_pair reach the tokenizer?"
CASE = "they differ in capitals alone: does the tokenizer make them small as in training?"
MODEL = "all else holds, so it is the model that tells them apart, not the handler"
FIRST = "another check has failed: mend that first"


def of_batches(
    found: Mapping[str, Sequence[Difference]],
    asked: Asked,
    others: Mapping[str, Sequence[tuple[Sample, Reply]]],
    tolerance: float,
    not_right: Collection[Sample],
) -> str | None:
    """What makes answers among others differ from those alone.

    Args:
        found: what differs, by check.
        others: all that was answered among others, by check.
        not_right: the samples that are not even alone answered as by the pipeline.
    """
    differing = [each for some in found.values() for each in some]
    if all(isinstance(each.other, Failure) for each in differing):
        return FAILS
    if any(found[name] and _is_permuted(asked, others[name], tolerance) for name in found):
        return ORDER
    if all(same(each.alone, each.other, SMALL) for each in differing):
        return ROUNDING
    return None if all(each.sample in not_right for each in differing) else MASK


def _is_permuted(asked: Asked, given: Sequence[tuple[Sample, Reply]], tolerance: float) -> bool:
    """Whether these are the answers that the samples are given alone, in another order."""
    expected = sorted((asked[sample].label, asked[sample].score) for sample, _ in given)
    got = sorted((each.label, each.score) for _, each in given if isinstance(each, Answer))
    return len(got) == len(expected) and all(
        same(Answer(*one), Answer(*other), tolerance)
        for one, other in zip(expected, got, strict=True)
    )


def of_groups(pairs: Iterable[tuple[str, str]], is_right: bool | None) -> str | None:
    """What makes texts that mean the same be labelled differently.

    Args:
        pairs: such texts.
        is_right: whether all other checks hold; None if parity could not be checked.
    """
    if is_right is not None:
        return MODEL if is_right else FIRST
    return CASE if all(one.casefold() == other.casefold() for one, other in pairs) else None


def of_parity(
    found: Sequence[Difference],
    asked: Asked,
    told: Reference,
    tolerance: float,
) -> str | None:
    """What makes answers differ from the pipeline's.

    Args:
        found: what differs.
        told: what it says of each sample.
    """
    said = dict(zip(asked, told.said, strict=True))
    differing = [(each.alone, said[each.sample]) for each in found]
    if any(alone.label not in told.labels for alone, _ in differing):
        return UNKNOWN_LABELS
    if all(abs(alone.score - each.answer.score) <= tolerance for alone, each in differing):
        return _of_labels(differing, told.labels)
    if hint := _of_function(differing, told.labels, tolerance):
        return hint
    if _are_all(lambda sample: said[sample].is_cut, found, asked):
        return LENGTH.format(limit=told.limit)
    if _are_all(lambda sample: sample.text_pair is not None, found, asked):
        return PAIR
    lengths = {each.sample: _length(each.sample) for each in found}
    others = [_length(sample) for sample in asked if sample not in lengths]
    if others and min(lengths.values()) > max(others):
        return LONGEST.format(limit=told.limit)
    return None


def _length(sample: Sample) -> int:
    return len(sample.text) + len(sample.text_pair or "")


def _of_labels(differing: Sequence[tuple[Answer, Said]], labels: Sequence[str]) -> str:
    """Every score is right: what has become of the labels."""
    count = len(labels)
    shifts = {
        (labels.index(alone.label) - labels.index(each.answer.label)) % count
        for alone, each in differing
    }
    if len(shifts) > 1 or count < 3:
        return EXCHANGED
    (shift,) = shifts
    by = shift if shift <= count // 2 else shift - count
    return f"each score is right, its label that of class n{by:+}: do the labels begin with 0?"


def _of_function(
    differing: Sequence[tuple[Answer, Said]], labels: Sequence[str], tolerance: float
) -> str | None:
    """The function of the logits that makes these scores of them, if one does."""
    for name, apply in FUNCTIONS.items():
        if all(
            abs(alone.score - apply(each.logits)[labels.index(alone.label)]) <= tolerance
            for alone, each in differing
        ):
            own = next(
                (name for name, apply in FUNCTIONS.items() if _makes(apply, differing, tolerance)),
                "another function",
            )
            return f"each score is {name} of the logits, the pipeline's {own}"
    return None


def _makes(apply: "Function", differing: Sequence[tuple[Answer, Said]], tolerance: float) -> bool:
    """Whether the pipeline's own scores are made by this function."""
    return all(
        abs(each.answer.score - max(apply(each.logits))) <= tolerance for _, each in differing
    )


def _are_all(
    kind: Callable[[Sample], bool], found: Iterable[Difference], asked: Iterable[Sample]
) -> bool:
    """Whether all that differ are of a kind, of which not all others are."""
    return all(kind(each.sample) for each in found) and not all(map(kind, asked))


def _softmax(logits: Sequence[float]) -> list[float]:
    most = max(logits)
    parts = [math.exp(each - most) for each in logits]
    return [each / sum(parts) for each in parts]


def _sigmoid(logits: Sequence[float]) -> list[float]:
    # By its other name: exp would overflow.
    return [(1 + math.tanh(each / 2)) / 2 for each in logits]


def _log_softmax(logits: Sequence[float]) -> list[float]:
    most = max(logits)
    whole = most + math.log(sum(math.exp(each - most) for each in logits))
    return [each - whole for each in logits]


Function = Callable[[Sequence[float]], list[float]]
FUNCTIONS: dict[str, Function] = {
    "the sigmoid": _sigmoid,
    "the softmax": _softmax,
    "the log of the softmax": _log_softmax,
    "none": list,
}
