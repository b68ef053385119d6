"""Runs that never were: samples, goldens and results as `python -m smoke` would have left them."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from smoke import golden, jsonl, record, results, samples
from smoke.client import Reply
from smoke.compare import Comparison, compare
from smoke.golden import Golden
from smoke.record import Record
from smoke.replies import Timed
from smoke.samples import Sample

MADE_WITH = {"version": "04dab2b", "torch": "2.13.0"}
SERVED_WITH = {"version": "454fc06", "torch": "2.13.0"}


def judged(sample: Sample, accepted: tuple[str, float] | None, reply: Reply) -> Comparison:
    """A sample that was answered within 12 ms."""
    kept = None if accepted is None else Golden(sample.id, *accepted)
    return compare(sample, kept, Timed(reply, 0.012), 1e-4)


def leave(app: Path, comparisons: Iterable[Comparison], ties: dict[str, list[float]]) -> Path:
    """Leave such a run in an app; returns the app."""
    found = list(comparisons)
    fields = (asdict(each.sample).items() for each in found)
    jsonl.write(
        samples.path(app), [{key: value for key, value in each if value} for each in fields]
    )
    golden.write(app, [each.golden for each in found if each.golden], MADE_WITH)
    about = {results.ABOUT: {"url": "http://127.0.0.1:8080/predictions/reviews"}}
    jsonl.write(results.path(app), [about, *(each.row() for each in found)])
    record.write(
        app,
        Record(
            url="http://127.0.0.1:8080/predictions/reviews",
            command="make smoke",
            began=1_700_000_000.0,
            seconds=1.5,
            threads=16,
            tolerance=1e-4,
            samples=results.digest(samples.path(app)),
            goldens=results.digest(golden.path(app)),
            results=results.digest(results.path(app)),
            made_with=MADE_WITH,
            served_with=SERVED_WITH,
            ties=ties,
        ),
    )
    return app
