"""What a run found, `APP/.run/smoke/results.jsonl`, with the samples that it asked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smoke import jsonl, record, samples
from smoke.client import Answer, Failure, Reply
from smoke.compare import Comparison, Verdict
from smoke.golden import Golden
from smoke.index import Index
from smoke.samples import Sample

GONE = "(no longer among the samples)"

VERDICT = jsonl.Kind("a verdict", lambda value: value in list(Verdict))
SAID = jsonl.Kind(
    'a {"label", "score"}',
    lambda value: (
        isinstance(value, dict)
        and jsonl.TEXT.fits(value.get("label"))
        and jsonl.NUMBER.fits(value.get("score"))
    ),
)
FAILED = jsonl.Kind("an object", lambda value: isinstance(value, dict))


def stream(app: Path) -> Iterator[Comparison]:
    """What became of each sample, in the order in which they were asked.

    The text, truth and tags are what the samples' file says now, which may not be what was asked.

    Raises:
        Fault: one of the files cannot be read; the line is named.
    """
    kept = Index()
    for sample in samples.stream(app):
        kept.add(sample.id, json.dumps(asdict(sample)))
    rows = jsonl.read(
        record.folder(app) / "results.jsonl",
        required={"id": jsonl.ID, "verdict": VERDICT, "seconds": jsonl.NUMBER},
        optional={"golden": SAID, "answer": SAID, "failure": FAILED},
        cure="run `make smoke` again",
    )
    for row in rows:
        yield _comparison(row, _sample(row["id"], kept.get(row["id"])))


def _sample(name: str, kept: str | None) -> Sample:
    if kept is None:
        return Sample(name, GONE)
    fields = json.loads(kept)
    return Sample(**{**fields, "tags": tuple(fields["tags"])})


def _comparison(row: Mapping[str, Any], sample: Sample) -> Comparison:
    golden = Golden(sample.id, **row["golden"]) if "golden" in row else None
    reply: Reply
    if "answer" in row:
        reply = Answer(**row["answer"])
    else:
        reply = Failure(**row.get("failure", {"message": "no words"}))
    return Comparison(sample, golden, reply, row["seconds"], Verdict(row["verdict"]))
