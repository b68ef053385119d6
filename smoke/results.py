"""What became of each sample, APP/.run/smoke/results.jsonl, written as it comes.

Until the last answer is there, the file has another name; so a run that was stopped can go on where
it was, and what an earlier one has left stays as it is.
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from smoke import golden, jsonl, samples
from smoke.client import Answer, Failure
from smoke.compare import Comparison, Verdict
from smoke.fault import Fault
from smoke.golden import Golden
from smoke.index import Index
from smoke.samples import Sample

ABOUT = "run"
AGAIN = "begin anew, without RESUME"
GONE = "(no longer among the samples)"

VERDICT = jsonl.Kind("a verdict", lambda value: value in list(Verdict))
OBJECT = jsonl.Kind("an object", lambda value: isinstance(value, dict))
SAID = jsonl.Kind(
    'a {"label", "score"}',
    lambda value: (
        isinstance(value, dict)
        and jsonl.TEXT.fits(value.get("label"))
        and jsonl.NUMBER.fits(value.get("score"))
    ),
)


def path(app: Path) -> Path:
    """Where the results of an app's last run lie."""
    return app / ".run" / "smoke" / "results.jsonl"


def part(app: Path) -> Path:
    """Where those of a run lie that is not over."""
    return path(app).with_suffix(".part")


def about(app: Path, url: str, tolerance: float) -> dict[str, Any]:
    """What must be the same for a run to go on where it was."""
    files = {"samples": samples.path(app), "goldens": golden.path(app)}
    digests = {name: found for name, file in files.items() if (found := digest(file))}
    return {"url": url, "tolerance": tolerance, **digests}


def digest(file: Path) -> str | None:
    """What tells a file's content from another: 16 digits of its SHA-256; None if there is none."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def writing(app: Path, run: Mapping[str, Any], resume: bool) -> Iterator[tuple[BinaryIO, int]]:
    """Have results written, after those of a run that was stopped, if it is to go on.

    Args:
        run: see `about`.

    Yields:
        the file, to write `line` of each sample to; and how many samples have theirs already.

    Raises:
        Fault: there is nothing to go on with, or it is of another run; or it cannot be written.
    """
    file = part(app)
    end, count = _whole_lines(file, run) if resume else (0, 0)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("r+b" if resume else "wb") as opened:
            if not resume:
                opened.write(jsonl.encode({ABOUT: dict(run)}))
            else:
                # A process that was killed may have left half a line.
                opened.truncate(end)
                opened.seek(end)
            yield opened, count
        file.replace(path(app))
    except OSError as error:
        raise Fault(
            f"{file}: cannot be written ({error.strerror})", "free or permit that place"
        ) from error


def line(comparison: Comparison) -> bytes:
    """The line on a sample."""
    return jsonl.encode(comparison.row())


def before(app: Path, asked: Iterator[Sample], count: int) -> Iterator[Comparison]:
    """The first results of a run that is not over; `asked` are the samples from the first on."""
    with part(app).open("rb") as file:
        file.readline()
        for row in itertools.islice(file, count):
            yield _comparison(json.loads(row), next(asked))


def stream(app: Path) -> Iterator[Comparison]:
    """All results of the last run that came to its end, in the order of asking.

    The text, truth and tags are what the samples' file says now, which may not be what was asked.

    Raises:
        Fault: one of the files cannot be read; the line is named.
    """
    kept = Index()
    for sample in samples.stream(app):
        kept.add(sample.id, json.dumps(asdict(sample)))
    rows = jsonl.read(
        path(app),
        required={"id": jsonl.ID, "verdict": VERDICT, "seconds": jsonl.NUMBER},
        optional={"golden": SAID, "answer": SAID, "failure": OBJECT, "retries": jsonl.NUMBER},
        cure="run `make smoke` again",
        head=ABOUT,
    )
    for row in rows:
        yield _comparison(row, _sample(row["id"], kept.get(row["id"])))


def _whole_lines(file: Path, run: Mapping[str, Any]) -> tuple[int, int]:
    """Where the last whole line of a run that was stopped ends, and how many samples it has."""
    if (then := jsonl.read_head(file, ABOUT)) is None:
        raise Fault(f"{file}: there is no run to go on with", AGAIN)
    if changed := [name for name in run if then.get(name) != run[name]]:
        raise Fault(f"{file}: of another run: {', '.join(changed)} changed since", AGAIN)
    end = count = 0
    with file.open("rb") as opened:
        for each in opened:
            if each.endswith(b"\n"):
                end += len(each)
                count += 1
    return end, count - 1


def _sample(name: str, kept: str | None) -> Sample:
    if kept is None:
        return Sample(name, GONE)
    fields = json.loads(kept)
    return Sample(**{**fields, "tags": tuple(fields["tags"])})


def _comparison(row: dict[str, Any], sample: Sample) -> Comparison:
    """A sample's comparison, from its line."""
    accepted = Golden(sample.id, **row["golden"]) if "golden" in row else None
    reply = Answer(**row["answer"]) if "answer" in row else Failure(**row["failure"])
    verdict, retries = Verdict(row["verdict"]), row.get("retries", 0)
    return Comparison(sample, accepted, reply, row["seconds"], verdict, retries)
