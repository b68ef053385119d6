"""The difference to the goldens, as a person reads it."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from smoke.client import Answer, Failure
from smoke.compare import Comparison, Verdict
from smoke.terminal import cells, escape, fit, pad, paint

TAGS = {
    Verdict.FAILED: ("failed", "red"),
    Verdict.CHANGED: ("label", "red"),
    Verdict.DRIFTED: ("score", "yellow"),
    Verdict.NEW: ("new", "yellow"),
}
PLURALS = {Verdict.CHANGED: "labels changed", Verdict.DRIFTED: "scores drifted"}
ID_COLUMNS = 32
TAG_COLUMNS = 8
MESSAGE_COLUMNS = 300
SHOWN_IDS = 8


def differences(comparisons: Iterable[Comparison], width: int, colour: bool) -> list[str]:
    """The lines on every sample that is not the same, the worst verdict first.

    Several that failed with the same words share two lines.

    Args:
        width: columns to cut the samples' texts to.
    """
    order = list(Verdict)
    shown = [each for each in comparisons if each.verdict is not Verdict.SAME]
    shown.sort(key=lambda each: order.index(each.verdict))
    said = Counter(each.reply.words for each in shown if isinstance(each.reply, Failure))
    alike = [words for words, count in said.items() if count > 1]
    groups = [[each for each in shown if _said(each) == words] for words in alike]
    lines = [line for group in groups for line in _failed(group, colour)]
    alone = [each for each in shown if _said(each) not in alike]
    id_columns = max((min(cells(each.sample.id), ID_COLUMNS) for each in alone), default=0)
    return lines + [line for each in alone for line in _lines(each, id_columns, width, colour)]


def summary(
    verb: str, comparisons: Sequence[Comparison], seconds: float, threads: int, colour: bool
) -> str:
    """One line on all samples: verdicts, time taken, and how often the truth.

    Args:
        seconds: what all of it took.
        threads: how many were asked at a time. They wait for each other, and that is in the
            latency.
    """
    right = all(each.verdict is Verdict.SAME for each in comparisons)
    at_a_time = f", {threads} at a time" if threads > 1 else ""
    asked = f"{len(comparisons)} samples in {seconds:.2f} s{at_a_time} ({latency(comparisons)})"
    parts = [*verdicts(comparisons), asked, *truth(comparisons)]
    return paint(f"{verb}: {' · '.join(parts)}", "green" if right else "red", colour)


def verdicts(comparisons: Iterable[Comparison]) -> list[str]:
    """How many samples are the same, how many changed, and so on."""
    count = Counter(each.verdict for each in comparisons)
    return [
        _counted(count[each], each)
        for each in (Verdict.SAME, *TAGS)
        if count[each] or each is Verdict.SAME
    ]


def some(ids: Sequence[str], shown: int) -> str:
    """The first few ids, and how many more there are."""
    more = f" and {len(ids) - shown} more" if len(ids) > shown else ""
    return f"{', '.join(ids[:shown])}{more}"


def latency(comparisons: Iterable[Comparison]) -> str:
    """The median, and what one answer in twenty exceeds."""
    times = sorted(each.seconds for each in comparisons)
    return f"p50 {_milliseconds(times, 0.5)}, p95 {_milliseconds(times, 0.95)}"


def failed(what: str, said: str, ids: Sequence[str], colour: bool) -> list[str]:
    """The lines on what failed with the same words.

    Args:
        what: what failed, and how many.
        ids: those of its samples.
    """
    tag, hue = TAGS[Verdict.FAILED]
    head = paint(pad(tag, TAG_COLUMNS), hue, colour)
    shown = some([escape(each) for each in ids], SHOWN_IDS)
    return [
        f"{head}{what}  {fit(escape(said), MESSAGE_COLUMNS)}",
        " " * TAG_COLUMNS + paint(shown, "dim", colour),
    ]


def requests(number: int) -> str:
    """So many requests."""
    return f"{number} request{'s' * (number != 1)}"


def truth(comparisons: Iterable[Comparison]) -> list[str]:
    """How often the answer is the true label; nothing where no truth is known."""
    known = [each.is_true for each in comparisons if each.is_true is not None]
    return [f"truth {sum(known)}/{len(known)}"] if known else []


def change(comparison: Comparison) -> str:
    """From the golden, if there is one, to the reply, on one line."""
    golden, reply = comparison.golden, comparison.reply
    digits = 6 if comparison.verdict is Verdict.DRIFTED else 4
    if isinstance(reply, Answer):
        now = f"{escape(reply.label)} {reply.score:.{digits}f}"
    else:
        now = fit(escape(str(reply)), MESSAGE_COLUMNS)
    return now if golden is None else f"{escape(golden.label)} {golden.score:.{digits}f} → {now}"


def _said(comparison: Comparison) -> str | None:
    """What the server said of a sample that failed."""
    return comparison.reply.words if isinstance(comparison.reply, Failure) else None


def _failed(group: Sequence[Comparison], colour: bool) -> list[str]:
    """The lines on samples that failed with the same words."""
    ids = [each.sample.id for each in group]
    return failed(f"{len(group)} samples", _said(group[0]) or "", ids, colour)


def _lines(comparison: Comparison, id_columns: int, width: int, colour: bool) -> list[str]:
    sample = comparison.sample
    tag, hue = TAGS[comparison.verdict]
    name = pad(fit(sample.id, ID_COLUMNS), id_columns)
    truth = "" if sample.label is None else f" · truth {escape(sample.label)}"
    head = f"{paint(pad(tag, TAG_COLUMNS), hue, colour)}{name}  {change(comparison)}{truth}"
    if comparison.verdict is Verdict.DRIFTED:
        return [head]  # the text says nothing about a small difference
    text = sample.text if sample.text_pair is None else f"{sample.text} | {sample.text_pair}"
    margin = " " * TAG_COLUMNS
    return [head, margin + paint(fit(escape(text), width - TAG_COLUMNS), "dim", colour)]


def _counted(number: int, verdict: Verdict) -> str:
    return f"{number} {verdict.value if number == 1 else PLURALS.get(verdict, verdict.value)}"


def _milliseconds(times: Sequence[float], quantile: float) -> str:
    """The quantile of sorted times in seconds, by nearest rank."""
    value = 1000 * times[math.ceil(quantile * len(times)) - 1]
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
