"""What became of each sample, APP/.run/smoke/results.jsonl, written as it comes.

Until the run is over, the file has another name; so one that was stopped can go on where it was,
and what an earlier one has left stays as it is.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from smoke import atomic, golden, jsonl, samples
from smoke.client import Answer, Failure
from smoke.compare import Comparison, Verdict
from smoke.fault import Fault
from smoke.golden import Golden
from smoke.index import Index
from smoke.samples import Sample

ABOUT = "run"
BEGAN = "began"
SERVED_WITH = "served_with"
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


def about(app: Path, url: str, tolerance: float, served_with: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a run to go on where it was.

    Args:
        served_with: see `Endpoint.made_with`.
    """
    files = {"samples": samples.path(app), "goldens": golden.path(app)}
    digests = {name: found for name, file in files.items() if (found := digest(file))}
    return {"url": url, "tolerance": tolerance, **digests, SERVED_WITH: dict(served_with)}


def digest(file: Path) -> str | None:
    """What tells a file's content from another: 16 digits of its SHA-256; None if there is none."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    except FileNotFoundError:
        return None


def began(app: Path, run: Mapping[str, Any]) -> float:
    """When a run that was stopped began, in seconds since the epoch, if this may go on with it.

    Args:
        run: see `about`.

    Raises:
        Fault: there is nothing to go on with, or it is of another run.
    """
    file = part(app)
    then = jsonl.read_head(file, ABOUT)
    if then is None or BEGAN not in then:
        raise Fault(f"{file}: there is no run to go on with", AGAIN)
    changed = [name for name in run if name != SERVED_WITH and then.get(name) != run[name]]
    changed += golden.differing(then[SERVED_WITH], run[SERVED_WITH])
    if changed:
        raise Fault(f"{file}: of another run: {', '.join(changed)} changed since", AGAIN)
    return float(then[BEGAN])


@contextlib.contextmanager
def writing(app: Path, run: Mapping[str, Any], began: float, resume: bool) -> Iterator[BinaryIO]:
    """Have results written, after those of a run that was stopped, if it is to go on.

    Nothing is touched before; so begin with the first answer, lest a run that gets none takes away
    what one that was stopped has left.

    Args:
        run: see `about`.
        began: when, in seconds since the epoch.

    Yields:
        the file, to write `line` of each sample to.

    Raises:
        Fault: it cannot be written.
    """
    file = part(app)
    try:
        with atomic.writing(file) as aside:
            aside.write(jsonl.encode({ABOUT: {**run, BEGAN: began}}))
            aside.writelines(_kept(file) if resume else ())
        with file.open("ab") as opened:
            yield opened
        file.replace(path(app))
    except OSError as error:
        raise Fault(
            f"{file}: cannot be written ({error.strerror})", "free or permit that place"
        ) from error


def line(comparison: Comparison) -> bytes:
    """The line on a sample."""
    return jsonl.encode(comparison.row())


def before(app: Path) -> Iterator[Comparison]:
    """What a run that was stopped has found out, in the order of asking."""
    return _comparisons(app, map(json.loads, _kept(part(app))))


def stream(app: Path) -> Iterator[Comparison]:
    """All results of the last run that came to its end, in the order of asking.

    The text, truth and tags are what the samples' file says now, which may not be what was asked.

    Raises:
        Fault: one of the files cannot be read; the line is named.
    """
    rows = jsonl.read(
        path(app),
        required={"id": jsonl.ID, "verdict": VERDICT, "seconds": jsonl.NUMBER},
        optional={"golden": SAID, "answer": SAID, "failure": OBJECT, "retries": jsonl.NUMBER},
        cure="run `make smoke` again",
        head=ABOUT,
    )
    return _comparisons(app, rows)


def _kept(file: Path) -> Iterator[bytes]:
    """The lines of a run that was stopped, but for those to ask again: where no response came."""
    with file.open("rb") as opened:
        opened.readline()
        for each in opened:
            # A process that was killed may have left half a line.
            if not each.endswith(b"\n"):
                return
            failure = json.loads(each).get("failure")
            if failure is None or failure["status"] is not None:
                yield each


def _comparisons(app: Path, rows: Iterable[dict[str, Any]]) -> Iterator[Comparison]:
    kept = Index()
    for sample in samples.stream(app):
        kept.add(sample.id, json.dumps(asdict(sample)))
    for row in rows:
        yield _comparison(row, _sample(row["id"], kept.get(row["id"])))


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
