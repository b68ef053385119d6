"""Compare what a served model says to an app's samples with what was accepted before.

run      asks every sample and compares; writes no goldens
accept   asks every sample and makes the answers the goldens, if all were answered

exit     0 all the same · 1 something is not · 2 a file or an option is wrong · 3 nothing answers
"""

import contextlib
import itertools
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from smoke import (
    arguments,
    fault,
    golden,
    junit,
    record,
    report,
    results,
    terminal,
    unanswered,
)
from smoke.client import Client, Failure
from smoke.compare import Verdict
from smoke.endpoint import Endpoint
from smoke.golden import Golden
from smoke.record import Record
from smoke.suite import Suite
from smoke.tally import Tally

SHOWN = 8
# A server that is restarted is back by then.
PATIENCE_SECONDS = 15.0


def run(given: Namespace) -> int:
    """Ask and compare; leave the results, what the run was, and JUnit XML in the run folder.

    Returns:
        0 if every sample's answer is the same as its golden, else 1.
    """
    loaded, client, found = _prepare(given)
    tally, cases = Tally(), junit.Document()
    began, start = time.time(), time.perf_counter()
    about = results.about(given.app, client.url, given.tolerance)
    with results.writing(given.app, about, given.resume) as (file, count):
        for each in results.before(given.app, loaded.samples(), count):
            cases.add(each)
            tally.add(each)
        judged = loaded.judge(
            client,
            given.tolerance,
            given.threads,
            "smoke",
            skip=count,
            patience=PATIENCE_SECONDS,
        )
        try:
            for each in judged:
                file.write(results.line(each))
                cases.add(each)
                tally.add(each)
        except (KeyboardInterrupt, fault.Unanswered):
            _say_how_to_go_on(tally.size, loaded.size, given)
            raise
        file.flush()
        whole = results.digest(results.part(given.app))
    seconds = time.perf_counter() - start
    left = _record(given, loaded, found, about)
    ended = replace(left, began=began, seconds=seconds, results=whole, resumed=count)
    record.write(given.app, ended)
    cases.write(given.junit or record.folder(given.app) / "junit.xml", tally, client.url, seconds)

    shown = tally.shown.get(Verdict.FAILED, [])
    failed = {each.sample.id: each.reply for each in shown if isinstance(each.reply, Failure)}
    if failed:
        unanswered.leave(client.url, began, failed)

    colour = terminal.has_colour(sys.stdout)
    _print_differences(tally)
    differing = golden.differing(loaded.made_with, found.made_with)
    # Another version, in which nothing has changed, needs no word.
    if differing and not (tally.all_same and set(differing) == {"version"}):
        print(f"the goldens were made with {'; '.join(differing.values())}")
    print(report.summary("smoke", tally, seconds, given.threads, colour))
    if loaded.orphans:
        some = report.some(
            list(itertools.islice(loaded.orphans, SHOWN)), SHOWN, len(loaded.orphans)
        )
        print(
            f"smoke: {golden.path(given.app)}: without a sample: {some}:"
            f" drop with `{_make('accept', given)}`",
            file=sys.stderr,
        )
    if tally.all_same:
        return 0
    print(f"next: {_next(set(tally.verdicts), given)}")
    return 1


def _say_how_to_go_on(done: int, size: int, given: Namespace) -> None:
    if done:
        print(
            f"smoke: stopped after {done:,} of {size:,}:"
            f" go on with `{_make('smoke', given)} RESUME=1`",
            file=sys.stderr,
        )


def accept(given: Namespace) -> int:
    """Ask, and replace the goldens by the answers; those within the tolerance stay as they are.

    Returns:
        0 if the goldens are written; 1 if a sample was not answered, and nothing is written.
    """
    loaded, client, found = _prepare(given)
    path, tally = golden.path(given.app), Tally()

    def accepted() -> Iterator[Golden]:
        for each in loaded.judge(client, given.tolerance, given.threads, "accept"):
            tally.add(each)
            if each.verdict is not Verdict.FAILED:
                yield each.accepted()
        if tally.verdicts[Verdict.FAILED]:
            raise NotAnsweredError
        if tally.all_same and not loaded.orphans and loaded.made_with:
            raise NothingNewError

    try:
        with contextlib.suppress(NothingNewError):
            golden.write(given.app, accepted(), found.made_with)
    except NotAnsweredError:
        _print_differences(tally)
        print(
            f"accept: {tally.verdicts[Verdict.FAILED]} of {tally.size} samples failed,"
            f" {path} stays as it was: see `{_make('why', given)}`",
            file=sys.stderr,
        )
        return 1
    _print_differences(tally)
    count = tally.verdicts
    print(
        f"accept: {count[Verdict.NEW]} new · {count[Verdict.CHANGED] + count[Verdict.DRIFTED]}"
        f" changed · {len(loaded.orphans)} removed · {count[Verdict.SAME]} unchanged in {path}"
    )
    return 0


class NotAnsweredError(Exception):
    """A sample was not answered, so there is nothing to accept."""


class NothingNewError(Exception):
    """The goldens are what would be written."""


def _prepare(given: Namespace) -> tuple[Suite, Client, Endpoint]:
    loaded = Suite(given.app)
    found = arguments.find(given)
    return loaded, Client(found.url, found.token, connections=given.threads), found


def _record(given: Namespace, loaded: Suite, found: Endpoint, about: Mapping[str, Any]) -> Record:
    """What a run is, but for when it was and what came of it."""
    # Reports are passed on.
    shareable = Namespace(**{**vars(given), "url": given.url and record.without_user(given.url)})
    return Record(
        url=record.without_user(found.url),
        command=_make("smoke", shareable),
        began=0.0,
        seconds=0.0,
        threads=given.threads,
        tolerance=given.tolerance,
        samples=about.get("samples"),
        goldens=about.get("goldens"),
        results=None,
        made_with=loaded.made_with,
        served_with=found.made_with,
    )


def _print_differences(tally: Tally) -> None:
    colour = terminal.has_colour(sys.stdout)
    for line in report.differences(tally, terminal.width(), colour):
        print(line)


def _next(verdicts: set[Verdict], given: Namespace) -> str:
    if Verdict.FAILED in verdicts:
        return f"{_make('why', given)}    tells all of the last failure"
    if verdicts <= {Verdict.NEW, Verdict.SAME}:
        return f"{_make('accept', given)}    makes these answers the goldens"
    return f"{_make('accept', given)}    if this is what you meant"


def _make(target: str, given: Namespace) -> str:
    """The make command that does `target` to the same app and model."""
    words = ["make", target]
    if given.app.resolve() != Path.cwd():
        words.append(f"APP={given.app}")
    if target in ("accept", "smoke"):
        words += [f"URL={given.url}"] if given.url else []
        words += [f"VERSION={given.version}"] if given.version else []
    if target == "smoke" and given.tolerance != float(arguments.TOLERANCE):
        words.append(f"TOLERANCE={given.tolerance:g}")
    return shlex.join(words)


def main() -> int:
    """Read the command line and do it."""
    parser = arguments.parser("smoke", __doc__ or "")
    parser.add_argument("verb", nargs="?", choices=("run", "accept"), default="run")
    arguments.add_comparing(parser)
    parser.add_argument(
        "--junit",
        type=Path,
        metavar="FILE",
        help="where a run leaves its JUnit XML (default: APP/.run/smoke/junit.xml)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped where it was"
    )
    given = parser.parse_args()
    return accept(given) if given.verb == "accept" else run(given)


if __name__ == "__main__":
    fault.run("smoke", main)
