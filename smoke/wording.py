"""The difference to the goldens, as a person reads it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from smoke.client import Answer
from smoke.compare import Comparison, Turn, Verdict
from smoke.samples import Sample
from smoke.tally import Group, Tally
from smoke.terminal import cells, escape, fit, pad, paint
from smoke.ties import Tie

TAGS: dict[Verdict | Turn, tuple[str, str]] = {
    Verdict.FAILED: ("failed", "red"),
    Turn.REGRESSION: ("worse", "red"),
    Verdict.CHANGED: ("label", "red"),
    Turn.FIX: ("fixed", "green"),
    Verdict.DRIFTED: ("score", "yellow"),
    Verdict.NEW: ("new", "yellow"),
}
"""What is shown, in this order."""
PLURALS = {Verdict.CHANGED: "labels changed", Verdict.DRIFTED: "scores drifted"}
ID_COLUMNS = 32
TAG_COLUMNS = 8
MESSAGE_COLUMNS = 300
SHOWN_IDS = 8


def differences(
    tally: Tally,
    width: int,
    colour: bool,
    but: Sequence[Verdict] = (),
    ties: Mapping[str, Tie] = MappingProxyType({}),
) -> list[str]:
    """The lines on the samples that are not the same, the worst first.

    Several that failed with the same words share two lines.

    Args:
        width: columns to cut the samples' texts to.
        but: what is not to be shown.
        ties: by id, those that were a near thing.
    """
    groups = {words: each for words, each in tally.failures.items() if each.count > 1}
    if Verdict.FAILED in but:
        groups = {}
    lines = [line for words, each in groups.items() for line in _failed(words, each, colour)]
    for kind in (kind for kind in TAGS if kind not in but):
        shown = tally.shown.get(kind, [])
        alone = [each for each in shown if _words(each) not in groups]
        id_columns = max((min(cells(each.sample.id), ID_COLUMNS) for each in alone), default=0)
        for each in alone:
            lines += _lines(each, ties.get(each.sample.id), id_columns, width, colour)
        if more := _count(tally, kind) - len(shown):
            lines.append(paint(f"{' ' * TAG_COLUMNS}and {more} more", "dim", colour))
    return lines


def summary(
    verb: str,
    tally: Tally,
    seconds: float,
    threads: int,
    colour: bool,
    budget: int | None = None,
    before: int = 0,
) -> str:
    """One line on all samples: verdicts, time taken, and how often the truth.

    Args:
        seconds: what asking them took.
        threads: how many were asked at a time. They wait for each other, and that is in the
            latency.
        budget: see `Tally.passes`.
        before: how many a run that was stopped had asked, in a time of its own.
    """
    at_a_time = f", {threads} at a time" if threads > 1 else ""
    of = f"{tally.size - before} of " if before else ""
    asked = f"{of}{tally.size} samples in {seconds:.2f} s{at_a_time} ({latency(tally)})"
    again = [f"{tally.retried} sent again while nothing listened"] if tally.retried else []
    parts = [*verdicts(tally), asked, *again, *truth(tally)]
    passed = tally.passes(budget)
    return paint(f"{verb}: {' · '.join(parts)}", "green" if passed else "red", colour)


def verdicts(tally: Tally) -> list[str]:
    """How many samples are the same, how many changed, and so on."""
    kinds = [Verdict.SAME, *(kind for kind in TAGS if isinstance(kind, Verdict))]
    return [_counted(tally, kind) for kind in kinds if tally.verdicts[kind] or kind is Verdict.SAME]


def some(ids: Sequence[str], shown: int, count: int | None = None) -> str:
    """The first few ids, and how many more there are."""
    count = len(ids) if count is None else count
    more = f" and {count - shown} more" if count > shown else ""
    return f"{', '.join(ids[:shown])}{more}"


def latency(tally: Tally) -> str:
    """The median, and what one answer in twenty exceeds."""
    return f"p50 {milliseconds(tally.quantile(0.5))}, p95 {milliseconds(tally.quantile(0.95))}"


def failed(
    what: str, said: str, ids: Sequence[str], colour: bool, count: int | None = None
) -> list[str]:
    """The lines on what failed with the same words.

    Args:
        what: what failed, and how many.
        ids: those of its samples, or the first of so many.
    """
    tag, hue = TAGS[Verdict.FAILED]
    head = paint(pad(tag, TAG_COLUMNS), hue, colour)
    shown = some([escape(each) for each in ids], SHOWN_IDS, count)
    return [
        f"{head}{what}  {fit(escape(said), MESSAGE_COLUMNS)}",
        " " * TAG_COLUMNS + paint(shown, "dim", colour),
    ]


def requests(number: int) -> str:
    """So many requests."""
    return f"{number} request{'s' * (number != 1)}"


def truth(tally: Tally) -> list[str]:
    """How often the answer is the true label, and how often the golden was, if that differs.

    The negative flip rate goes with it where there are regressions: their share of all whose truth
    is known (Xie et al. 2021, "Regression Bugs Are In Your Model!").
    """
    if not tally.known:
        return []
    was = f" (goldens {tally.was_right})" if tally.turns else ""
    parts = [f"truth {tally.right}/{tally.known}{was}"]
    if worse := tally.turns[Turn.REGRESSION]:
        parts.append(f"negative flip rate {worse / tally.judged:.1%}")
    return parts


def change(comparison: Comparison) -> str:
    """From the golden, if there is one, to the reply, on one line."""
    golden, reply = comparison.golden, comparison.reply
    digits = 6 if comparison.verdict is Verdict.DRIFTED else 4
    if isinstance(reply, Answer):
        now = f"{escape(reply.label)} {reply.score:.{digits}f}"
    else:
        now = fit(escape(str(reply)), MESSAGE_COLUMNS)
    return now if golden is None else f"{escape(golden.label)} {golden.score:.{digits}f} → {now}"


def outcome(comparison: Comparison, tie: Tie | None) -> str:
    """The change, with the truth where it is known, and whether it was a near thing."""
    truth = comparison.sample.label
    parts = [change(comparison)]
    parts += [] if truth is None else [f"truth {escape(truth)}"]
    parts += [] if tie is None else [str(tie)]
    return " · ".join(parts)


def text(sample: Sample) -> str:
    """What was asked."""
    return sample.text if sample.text_pair is None else f"{sample.text} | {sample.text_pair}"


def budget(tally: Tally, budget: int) -> str:
    """How many labels have changed that may be for the worse, of so many that may."""
    within = "within" if tally.unexplained <= budget else "over"
    return f"{within} the budget: {tally.unexplained} of {budget}"


def milliseconds(seconds: float) -> str:
    """A time, with as many digits as tell something."""
    value = 1000 * seconds
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _words(comparison: Comparison) -> str | None:
    """What the server said of a sample that failed."""
    return None if isinstance(comparison.reply, Answer) else comparison.reply.words


def _failed(words: str, group: Group, colour: bool) -> list[str]:
    """The lines on samples that failed with the same words."""
    return failed(f"{group.count} samples", words, group.first, colour, group.count)


def _lines(
    comparison: Comparison, tie: Tie | None, id_columns: int, width: int, colour: bool
) -> list[str]:
    sample = comparison.sample
    tag, hue = TAGS[comparison.turn or comparison.verdict]
    name = pad(fit(sample.id, ID_COLUMNS), id_columns)
    head = f"{paint(pad(tag, TAG_COLUMNS), hue, colour)}{name}  {outcome(comparison, tie)}"
    if comparison.verdict is Verdict.DRIFTED:
        return [head]  # the text says nothing about a small difference
    margin = " " * TAG_COLUMNS
    return [head, margin + paint(fit(escape(text(sample)), width - TAG_COLUMNS), "dim", colour)]


def _count(tally: Tally, kind: Verdict | Turn) -> int:
    """How many there are of what is shown under one tag."""
    if isinstance(kind, Turn):
        return tally.turns[kind]
    if kind is Verdict.CHANGED:
        return tally.verdicts[kind] - tally.turns.total()
    return tally.verdicts[kind] if kind is not Verdict.FAILED else len(tally.shown.get(kind, []))


def _counted(tally: Tally, verdict: Verdict) -> str:
    number = tally.verdicts[verdict]
    text = f"{number} {verdict.value if number == 1 else PLURALS.get(verdict, verdict.value)}"
    if verdict is Verdict.CHANGED and tally.turns:
        turns = [
            f"{count} {turn.value}{'' if count == 1 else 'es' if turn is Turn.FIX else 's'}"
            for turn in Turn
            if (count := tally.turns[turn])
        ]
        text += f" ({', '.join(turns)})"
    return text
