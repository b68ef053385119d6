"""The figures of a run as tables: the same ones on the page and in the terminal."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from smoke import golden, wording
from smoke.compare import Turn, Verdict
from smoke.record import Record
from smoke.report.figures import OTHER, Figures
from smoke.report.statistics import FEW, Share, mcnemar_words
from smoke.tally import quantile
from smoke.terminal import cells, escape, fit, pad, paint

KINDS: dict[Verdict | Turn, str] = {
    Verdict.SAME: "same",
    Turn.REGRESSION: "regression",
    Turn.FIX: "fix",
    Verdict.CHANGED: "other label change",
    Verdict.DRIFTED: "score drifted",
    Verdict.NEW: "new",
    Verdict.FAILED: "failed",
}
MEANS: dict[Verdict | Turn, str] = {
    Verdict.SAME: "the accepted label, and its score within the tolerance",
    Turn.REGRESSION: "was right, is wrong",
    Turn.FIX: "was wrong, is right",
    Verdict.CHANGED: "wrong before and after, or no truth is known",
    Verdict.DRIFTED: "the accepted label, its score beyond the tolerance",
    Verdict.NEW: "no golden yet",
    Verdict.FAILED: "no answer came",
}
SHORT: dict[Verdict | Turn, str] = {
    **KINDS,
    Turn.REGRESSION: "worse",
    Turn.FIX: "fixed",
    Verdict.CHANGED: "other label",
    Verdict.DRIFTED: "drifted",
}
# More classes, tags or words of failures than that are added up.
CLASSES = 20
TAGS = 100
WORDS = 20
CELL_COLUMNS = 60
NAME = 60


@dataclass(frozen=True)
class Table:
    """A table with its words.

    Attributes:
        name: what the page calls it by.
        rows: their first cell heads them.
        notes: what is to be said below it.
        numeric: whether its cells are numbers.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    numeric: bool = True


def all_of(figures: Figures, record: Record) -> list[Table]:
    """The tables of a run, in the order of reading; those that would be empty are left out."""
    made = [
        counts(figures),
        truth(figures),
        confusion(figures),
        tags(figures),
        failures(figures),
        shifts(figures, record),
        latency(figures, record),
        made_with(record),
        facts(record),
    ]
    return [each for each in made if each.rows]


def counts(figures: Figures) -> Table:
    """How many samples are the same, changed, and so on."""
    size = figures.tally.size
    rows = [
        (KINDS[kind], f"{figures.kinds[kind]:,}", percent(figures.kinds[kind] / size), MEANS[kind])
        for kind in KINDS
        if size
    ]
    return Table(
        "counts",
        "What became of the samples",
        f"{size:,} samples, against the goldens",
        ("kind", "samples", "share", "means"),
        rows,
    )


def truth(figures: Figures) -> Table:
    """How often the answers are right, and how often labels flip, with what that is worth."""
    tally = figures.tally
    flips, judged = tally.verdicts[Verdict.CHANGED], tally.judged
    worse, better = tally.turns[Turn.REGRESSION], tally.turns[Turn.FIX]
    rows = [
        ("right now", Share(tally.right, tally.known)),
        ("right, of those with a golden", Share(tally.was_right - worse + better, judged)),
        ("right as accepted (goldens)", Share(tally.was_right, judged)),
        ("labels that changed", Share(flips, figures.compared)),
        ("negative flip rate", Share(worse, judged)),
    ]
    if tally.known == judged:
        del rows[1]
    notes = []
    if judged:
        notes.append(mcnemar_words(worse, better) + ".")
        notes.append(
            "Negative flip rate: was right and is wrong, of all whose truth is known"
            " (Xie et al. 2021). McNemar's test asks only whether flips go one way more than the"
            " other."
        )
    for what, share in (("label changed", rows[-2][1]), ("regression", rows[-1][1])):
        if share.of and not share.count:
            notes.append(
                f"No {what} in {share.of:,}: at 95 %, the rate is below {percent(share.bound)}"
                f" (exact; about 3 / {share.of:,})."
            )
    notes.append(
        "Intervals are Wilson's, at 95 %. They hold for texts like these, drawn by chance; samples"
        " that were picked by hand say nothing about how often a case occurs."
    )
    if not tally.known:
        notes.append('No truth is known: give samples a "label".')
    return Table(
        "truth",
        "Accuracy and flips",
        "Shares, and what they may be for all such texts",
        ("figure", "count", "of", "share", "95 % interval"),
        [(name, *_share(share)) for name, share in rows if share.of],
        notes if figures.compared or tally.known else (),
    )


def confusion(figures: Figures) -> Table:
    """Which truth was answered with which label."""
    found = _fewer_classes(figures.confusion)
    classes = sorted(
        {each for pair in found for each in pair}, key=lambda each: (each == OTHER, each)
    )
    rows = []
    for real in classes:
        line = [found[real, said] for said in classes]
        right = "" if real == OTHER else f"{found[real, real]:,} of {sum(line):,}"
        marked = [
            f"{count:,} ✓" if count and said == real != OTHER else f"{count:,}"
            for count, said in zip(line, classes, strict=True)
        ]
        rows.append((real, *marked, right))
    return Table(
        "confusion",
        "Confusion matrix",
        "Truth in rows, answers in columns; ✓ is right",
        ("truth", *classes, "right"),
        rows,
    )


def tags(figures: Figures) -> Table:
    """What became of the samples of each tag."""
    ordered = sorted(figures.tags, key=lambda name: (-figures.tags[name].kinds.total(), name))
    rows = []
    for name in ordered[:TAGS]:
        tag = figures.tags[name]
        size = tag.kinds.total()
        right = Share(tag.right, tag.known)
        rows.append(
            (
                cut(name, NAME),
                f"{size:,}",
                *(f"{tag.kinds[kind]:,}" for kind in KINDS),
                f"{right.count:,} of {right.of:,}" if right.of else "no truth",
                _interval(right),
            )
        )
    more = len(ordered) - len(rows)
    return Table(
        "tags",
        "By tag",
        "A sample counts for each of its tags",
        ("tag", "samples", *SHORT.values(), "right", "95 % interval"),
        rows,
        [f"and {more:,} more tags"] if more else (),
    )


def failures(figures: Figures) -> Table:
    """What the server said instead of an answer."""
    groups = sorted(figures.tally.failures.items(), key=lambda item: -item[1].count)
    return Table(
        "failures",
        "Failures",
        "What came instead of an answer",
        ("words", "samples", "first of them"),
        [
            (cut(words, 300), f"{each.count:,}", wording.some(each.first, 4, each.count))
            for words, each in groups[:WORDS]
        ],
        [f"and {len(groups) - WORDS} other words"] if len(groups) > WORDS else (),
        numeric=False,
    )


def shifts(figures: Figures, record: Record) -> Table:
    """How far scores have moved where the label stayed."""
    moved = sorted(figures.shifts)
    beyond = figures.kinds[Verdict.DRIFTED]
    rows = (
        [
            ("largest fall", f"{min(moved[0], 0):+.6f}"),
            ("median", f"{quantile(moved, 0.5):+.6f}"),
            ("largest rise", f"{max(moved[-1], 0):+.6f}"),
            (f"beyond the tolerance of {record.tolerance:g}", f"{beyond:,}"),
        ]
        if moved
        else []
    )
    return Table(
        "shifts",
        "Score shifts",
        f"Score now less the golden's, of {len(moved):,} labels that stayed",
        ("shift", "score"),
        rows,
    )


def latency(figures: Figures, record: Record) -> Table:
    """How long answers took."""
    tally = figures.tally
    rows = [
        (name, wording.milliseconds(tally.quantile(share)))
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("worst", 1.0))
    ]
    many = record.threads > 1
    return Table(
        "latency",
        "Latency",
        f"From sending to having the reply, of {tally.size:,}",
        ("of all replies", "took at most"),
        rows,
        [f"{record.threads} were asked at a time: they waited for each other."] if many else (),
    )


def made_with(record: Record) -> Table:
    """What the goldens were made with, and what served now."""
    then, now = record.made_with, record.served_with
    differing = golden.differing(then, now)
    rows = [
        (name, _said(then, name), _said(now, name), "differs" if name in differing else "")
        for name in dict.fromkeys([*then, *now])
    ]
    return Table(
        "made",
        "What was served",
        "What made the goldens, and what served this run",
        ("what", "goldens", "this run", "note"),
        rows,
        numeric=False,
    )


def facts(record: Record) -> Table:
    """When, where and how."""
    began = datetime.fromtimestamp(record.began, UTC)
    rows = [
        ("model", record.url),
        ("began", f"{began:%Y-%m-%d %H:%M:%S} UTC"),
        ("took", f"{record.seconds:.2f} s, {record.threads} at a time{_resumed(record)}"),
        ("tolerance", f"{record.tolerance:g}"),
        ("again", record.command),
        ("samples' digest", record.samples or "none"),
        ("goldens' digest", record.goldens or "none"),
    ]
    return Table("run", "The run", "When, where and how", ("what", "value"), rows, numeric=False)


def lines(tables: Iterable[Table], width: int, colour: bool) -> list[str]:
    """The tables for a terminal."""
    shown: list[str] = []
    for table in tables:
        shown += [f"{table.title}: {paint(escape(table.caption), 'dim', colour)}"]
        shown += [f"  {line}" for line in _aligned(table)]
        shown += [f"  {each}" for note in table.notes for each in textwrap.wrap(note, width - 2)]
        shown.append("")
    return shown


def percent(share: float) -> str:
    """A share in per cent; what is not all never reads as all, nor what is some as none."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def cut(text: str, length: int) -> str:
    """The beginning of a text, with how much more there is."""
    more = len(text) - length
    return text if more <= 0 else f"{text[:length]}… ({more:,} characters more)"


def _share(share: Share) -> tuple[str, str, str, str]:
    return f"{share.count:,}", f"{share.of:,}", percent(share.value), _interval(share)


def _interval(share: Share) -> str:
    if not share.of:
        return ""
    low, high = share.interval
    few = f", few: n = {share.of}" if share.of < FEW else ""
    return f"{percent(low)} to {percent(high)}{few}"


def _fewer_classes(found: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """The same with the most frequent classes alone, and all others as one."""
    weights: Counter[str] = Counter()
    for pair, count in found.items():
        for each in set(pair) - {OTHER}:
            weights[each] += count
    ordered = sorted(weights, key=lambda each: (-weights[each], each))
    kept = set(ordered[:CLASSES])
    fewer: Counter[tuple[str, str]] = Counter()
    for (real, said), count in found.items():
        fewer[real if real in kept else OTHER, said if said in kept else OTHER] += count
    return fewer


def _resumed(record: Record) -> str:
    return f", after {record.resumed:,} of a run that was stopped" if record.resumed else ""


def _said(known: Mapping[str, Any], name: str) -> str:
    return str(known[name]) if name in known else "not known"


def _aligned(table: Table) -> list[str]:
    grid = [
        [fit(escape(each), CELL_COLUMNS) for each in row] for row in (table.columns, *table.rows)
    ]
    if not table.numeric:
        grid = [[escape(each) for each in row] for row in (table.columns, *table.rows)]
    widths = [max(cells(row[column]) for row in grid) for column in range(len(table.columns))]
    return ["  ".join(map(pad, row, widths)).rstrip() for row in grid]
