"""What the last run amounts to: its figures as tables, and a page of them with all that differs.

Nothing is asked. The page is one file, APP/.run/smoke/report.html, that needs no other.

exit     0 the report is there, whatever it says · 2 there is no run yet, or a file is wrong
"""

import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from smoke import arguments, atomic, fault, golden, record, results, samples, terminal, wording
from smoke.compare import Comparison, Turn, Verdict
from smoke.record import Record
from smoke.report import histogram, tables
from smoke.report.figures import Figures
from smoke.report.histogram import Bar
from smoke.report.tables import NAME, cut

HEADS: dict[Verdict | Turn, tuple[str, str]] = {
    Turn.REGRESSION: ("Regressions", "bad"),
    Verdict.FAILED: ("Failed", "bad"),
    Verdict.CHANGED: ("Other label changes", "bad"),
    Turn.FIX: ("Fixes", "good"),
    Verdict.DRIFTED: ("Scores that drifted", "odd"),
    Verdict.NEW: ("New, without a golden", "odd"),
}
"""What is listed, in this order, and how good it is."""
# Of each kind the first texts are shown at length, all others in brief: a page of nothing but the
# longest is below 1 MB still.
AT_LENGTH = 20
LONG, BRIEF, MESSAGE = 400, 80, 300
RANGES = 25
# What a model's URL calls it.
NAMED = re.compile(r".*/(?:predictions|wfpredict|models)/([^/:]+).*")


@dataclass(frozen=True)
class Row:
    """A sample that is not the same, as the page shows it."""

    id: str
    text: str
    text_pair: str | None
    golden: str
    answer: str
    truth: str
    tie: str


@dataclass(frozen=True)
class Listing:
    """The samples of one kind, the first ones, and how many more there are."""

    name: str
    title: str
    hue: str
    word: str
    rows: Sequence[Row]
    more: int

    @property
    def ties(self) -> bool:
        """Whether any is one."""
        return any(each.tie for each in self.rows)


@dataclass(frozen=True)
class Chart:
    """A histogram: what it says in words, and its bars, each with its range."""

    title: str
    words: str
    bars: Sequence[tuple[Bar, str]]


def write(app: Path) -> tuple[Figures, Record, Path]:
    """Write the page of an app's last run.

    Raises:
        Fault: there is no run yet, or a file cannot be read or written.
    """
    kept = record.read(app)
    figures = Figures.of(results.stream(app))
    path = record.folder(app) / "report.html"
    atomic.write(path, render(figures, kept, changed(app, kept)).encode())
    return figures, kept, path


def changed(app: Path, kept: Record) -> list[str]:
    """What is not any more as it was when the run began."""
    said = []
    if results.digest(samples.path(app)) != kept.samples:
        said.append(
            f"{samples.path(app).relative_to(app)} has changed since this run:"
            " texts, truths and tags are told as they stand now"
        )
    if results.digest(golden.path(app)) != kept.goldens:
        said.append(
            f"{golden.path(app).relative_to(app)} has changed since this run:"
            " answers are compared with what was accepted then"
        )
    return said


def render(figures: Figures, kept: Record, notes: Sequence[str]) -> str:
    """The page, the same for the same run."""
    made = tables.all_of(figures, kept)
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            name=NAMED.sub(r"\1", kept.url),
            verdict=verdict(figures),
            all_same=figures.tally.all_same,
            parts=wording.verdicts(figures.tally),
            notes=notes,
            tables=made,
            listings=listings(figures, kept),
            charts={"shifts": shifts(figures), "latency": latency(figures)},
            cut=cut,
            width=histogram.WIDTH,
            height=histogram.HEIGHT,
        )
    )


def environment() -> Environment:
    """Jinja with all that comes from outside cleaned and escaped, wherever it stands."""
    return Environment(
        autoescape=True,
        finalize=_clean,
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def verdict(figures: Figures) -> str:
    """The run in a sentence."""
    size, same = figures.tally.size, figures.kinds[Verdict.SAME]
    if figures.tally.all_same:
        return f"All {size:,} answers are as accepted"
    return f"{size - same:,} of {size:,} samples are not as accepted"


def listings(figures: Figures, kept: Record) -> list[Listing]:
    """The samples that are not the same, regressions first."""
    made = []
    for kind, (title, hue) in HEADS.items():
        shown = figures.tally.shown.get(kind, [])
        if shown:
            whole = 0 if kind in (Verdict.DRIFTED, Verdict.NEW) else AT_LENGTH
            rows = [
                _row(each, kept.ties.get(each.sample.id), LONG if number < whole else BRIEF)
                for number, each in enumerate(shown)
            ]
            more = figures.kinds[kind] - len(rows)
            made.append(Listing(kind.name.lower(), title, hue, tables.KINDS[kind], rows, more))
    return made


def shifts(figures: Figures) -> Chart | None:
    """How the scores of labels that stayed have moved."""
    if not figures.shifts:
        return None
    reach = max(1e-6, *(abs(each) for each in figures.shifts))
    bars = histogram.bars(figures.shifts, histogram.symmetric(reach, RANGES))
    return _chart("Score shifts", bars, lambda value: f"{value:+.2g}")


def latency(figures: Figures) -> Chart | None:
    """How long answers took; each range is so many times as long as the one before."""
    times = figures.tally.seconds
    if not times:
        return None
    bars = histogram.bars(times, histogram.logarithmic(min(times), max(times), RANGES))
    return _chart("Latency, on a logarithmic scale", bars, wording.milliseconds)


def _chart(title: str, bars: Sequence[Bar], unit: Callable[[float], str]) -> Chart:
    told = [(bar, f"{unit(bar.low)} to {unit(bar.high)}") for bar in bars]
    most = max(bars, key=lambda bar: bar.count)
    words = (
        f"{title}: {sum(bar.count for bar in bars):,} from {unit(bars[0].low)} to"
        f" {unit(bars[-1].high)}; most, {most.count:,}, from {unit(most.low)} to {unit(most.high)}"
    )
    return Chart(title, words, told)


def _row(comparison: Comparison, tie: Sequence[float] | None, length: int) -> Row:
    sample, was, now = comparison.sample, comparison.golden, comparison.answer
    return Row(
        id=cut(sample.id, NAME),
        text=cut(sample.text, length),
        text_pair=None if sample.text_pair is None else cut(sample.text_pair, length),
        golden="none" if was is None else _said(was.label, was.score),
        answer=cut(str(comparison.reply), MESSAGE) if now is None else _said(now.label, now.score),
        truth="not known" if sample.label is None else cut(sample.label, NAME),
        tie="" if tie is None else " to ".join(f"{each:.3f}" for each in tie),
    )


def _said(label: str, score: float) -> str:
    return f"{cut(label, NAME)} {score:.6f}"


def _clean(value: object) -> object:
    """Text with what does not print, or turns what follows round, as its escape."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(terminal.escape(line) for line in value.split("\n"))


def main() -> int:
    """Write the page, and print its tables."""
    parser = ArgumentParser("report", description=__doc__, allow_abbrev=False)
    parser.formatter_class = RawDescriptionHelpFormatter
    arguments.add_app(parser)
    app = parser.parse_args().app
    figures, kept, path = write(app)
    colour = terminal.has_colour(sys.stdout)
    for note in changed(app, kept):
        print(f"report: {note}", file=sys.stderr)
    print(f"{verdict(figures)}: {' · '.join(wording.verdicts(figures.tally))}\n")
    print("\n".join(tables.lines(tables.all_of(figures, kept), terminal.width(), colour)))
    print(f"report: {path}")
    return 0


if __name__ == "__main__":
    fault.run("report", main)
