"""Compare what a served model says to an app's samples with what was accepted before.

run      asks every sample and compares; writes no goldens, but leaves its proposal for a review
accept   asks every sample, or those of --only, and makes the answers the goldens, if all came

exit     0 all the same, or within the budget · 1 something is not
         2 a file or an option is wrong · 3 nothing answers
"""

import contextlib
import itertools
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from smoke import (
    arguments,
    fault,
    golden,
    junit,
    lock,
    proposal,
    record,
    results,
    samples,
    terminal,
    ties,
    unanswered,
    wording,
)
from smoke.client import Client
from smoke.compare import Comparison, Turn, Verdict
from smoke.deep import run as deep
from smoke.deep import texts
from smoke.endpoint import Endpoint
from smoke.fault import Fault, Unanswered
from smoke.golden import Golden
from smoke.index import Index
from smoke.record import Record
from smoke.suite import Suite
from smoke.tally import Tally

SHOWN = 8
# A server that is restarted is back by then.
PATIENCE_SECONDS = 15.0
NO_TIES: Mapping[str, ties.Tie] = MappingProxyType({})


def run(given: Namespace) -> int:
    """Ask and compare; leave the results, what the run was, and JUnit XML in the run folder.

    Returns:
        0 if every sample's answer is the same as its golden, or no more differs than the budget
        lets pass, and no check fails that --deep asks for; else 1, also if another version went
        live meanwhile.

    Raises:
        Fault: another run of the app is at work.
    """
    with lock.asking(given.app, "smoke"):
        return _run(given)


def _run(given: Namespace) -> int:
    loaded, client, found = _prepare(given)
    tally, proposed = Tally(), proposal.Proposal()
    ended, meanwhile = _ask(given, loaded, client, found, tally, proposed)
    is_proposed = not meanwhile and _propose(given.app, proposed, found)

    if failed := tally.failed:
        unanswered.leave(client.url, ended.began, failed)

    colour = terminal.has_colour(sys.stdout)
    near = _ties(client, tally, given.threads)
    if near:
        scores = {id_: [tie.score, tie.other] for id_, tie in near.items()}
        record.write(given.app, replace(ended, ties=scores))
    _print_differences(tally, near)
    differing = golden.differing(loaded.made_with, found.made_with)
    # Another version, in which nothing has changed, needs no word.
    if differing and not (tally.all_same and set(differing) == {"version"}):
        print(f"the goldens were made with {'; '.join(differing.values())}")
    about = (tally, ended.seconds, given.threads, colour, given.budget, ended.resumed)
    print(wording.summary("smoke", *about))
    _tell_unmatched(loaded, tally, given)
    if given.budget is not None and not failed:
        print(f"smoke: {wording.budget(tally, given.budget)}")
    if meanwhile:
        print(f"smoke: {_mixed(meanwhile)}: run `{_make('smoke', given)}` again", file=sys.stderr)
        return 1
    if given.deep and not deep.passes(given, loaded, client, found):
        return 1
    if tally.passes(given.budget):
        return 0
    for line in _next(set(tally.verdicts), is_proposed, given):
        print(line)
    return 1


def _ask(
    given: Namespace,
    loaded: Suite,
    client: Client,
    found: Endpoint,
    tally: Tally,
    proposed: proposal.Proposal,
) -> tuple[Record, dict[str, str]]:
    """Ask all samples, or those that a run which was stopped has not asked, and leave word of it.

    What it finds is added to the tally and the proposal.

    Returns:
        what the run was; and what serves otherwise since, see `_meanwhile`.
    """
    cases, before = junit.Document(), Index()

    def add(each: Comparison) -> None:
        cases.add(each)
        proposed.add(each)
        tally.add(each)

    about = results.about(given.app, client.url, given.tolerance, found.made_with)
    began, start = time.time(), time.perf_counter()
    if given.resume:
        began = results.began(given.app, about)
        for each in results.before(given.app):
            add(each)
            before.add(each.sample.id, "")
    how = (given.tolerance, given.threads, "smoke")
    judged = loaded.judge(client, *how, skip=before, patience=PATIENCE_SECONDS)
    try:
        first = list(itertools.islice(judged, 1))
        with results.writing(given.app, about, began, given.resume) as file:
            for each in itertools.chain(first, judged):
                file.write(results.line(each))
                add(each)
            file.flush()
            seconds = time.perf_counter() - start
            whole = results.digest(results.part(given.app))
            meanwhile = _meanwhile(given, found)
            left = _record(given, loaded, found, about, meanwhile)
            ended = replace(left, began=began, seconds=seconds, results=whole, resumed=len(before))
            record.write(given.app, ended)
            to = given.junit or record.folder(given.app) / "junit.xml"
            cases.write(to, tally, client.url, None if ended.resumed else seconds)
    except (KeyboardInterrupt, SystemExit, Unanswered):
        _say_how_to_go_on(tally.size, loaded.size, given)
        raise
    return ended, meanwhile


def _say_how_to_go_on(done: int, size: int, given: Namespace) -> None:
    if done:
        print(
            f"smoke: stopped after {done:,} of {size:,}:"
            f" go on with `{_make('smoke', given)} RESUME=1`",
            file=sys.stderr,
        )


def _meanwhile(given: Namespace, found: Endpoint) -> dict[str, str]:
    """By name, what serves otherwise now than when the asking began; see `golden.differing`."""
    # A server that is gone has answered all before.
    with contextlib.suppress(Unanswered):
        return golden.differing(found.made_with, arguments.find(given).made_with)
    return {}


def _mixed(meanwhile: Mapping[str, str]) -> str:
    what = "; ".join(meanwhile.values())
    return f"what serves has changed while it was asked ({what}), so the answers are of both"


def accept(given: Namespace) -> int:
    """Ask, and replace the goldens by the answers, all of them or those that are named.

    Returns:
        0 if the goldens are written; 1 if a sample was not answered, or another version went live
        meanwhile, and nothing is written.

    Raises:
        Fault: another has the goldens in hand, or this is CI.
    """
    with lock.held(given.app, "accept"):
        named = given.only or (arguments.variable("ACCEPT") or "").split()
        return _accept_some(given, named) if named else _accept_all(given)


def _accept_some(given: Namespace, named: Collection[str]) -> int:
    """Accept the answers to the samples of these ids; all other lines stay as they are."""
    loaded, client, found = _prepare(given)
    known = {each.id for each in loaded.samples(only=named)}
    if unknown := [each for each in named if each not in known]:
        raise Fault(f"{samples.path(given.app)}: no sample {', '.join(unknown)}", "correct the id")
    tally, accepted = Tally(), {}
    for each in loaded.judge(client, given.tolerance, given.threads, "accept", only=known):
        tally.add(each)
        if each.answer:
            accepted[each.sample.id] = each.accepted()
    _print_differences(tally)
    if why := _why_not(given, tally, found):
        print(f"accept: {why}", file=sys.stderr)
        return 1
    if not tally.all_same:
        order = (each.id for each in loaded.samples())
        golden.put(given.app, accepted, order, found.made_with)
    proposal.keep(given.app, lambda id_: id_ not in accepted)
    print(f"accept: {_counted(tally)} in {golden.path(given.app)}, the others stay as they are")
    return 0


def _accept_all(given: Namespace) -> int:
    """Accept all answers; goldens within the tolerance stay as they are."""
    loaded, client, found = _prepare(given)
    path, tally = golden.path(given.app), Tally()

    def accepted() -> Iterator[Golden]:
        for each in loaded.judge(client, given.tolerance, given.threads, "accept"):
            tally.add(each)
            if each.verdict is not Verdict.FAILED:
                yield each.accepted()
        if why := _why_not(given, tally, found):
            raise NotAcceptedError(why)
        if tally.all_same and not loaded.orphans and loaded.made_with:
            raise NothingNewError

    try:
        with contextlib.suppress(NothingNewError):
            golden.write(given.app, accepted(), found.made_with)
    except NotAcceptedError as error:
        _print_differences(tally)
        print(f"accept: {error}", file=sys.stderr)
        return 1
    proposal.path(given.app).unlink(missing_ok=True)
    _print_differences(tally)
    print(f"accept: {_counted(tally, len(loaded.orphans))} in {path}")
    return 0


def _why_not(given: Namespace, tally: Tally, found: Endpoint) -> str:
    """Why these answers cannot be accepted; empty if they can."""
    as_it_was = f"{golden.path(given.app)} stays as it was"
    if failed := tally.verdicts[Verdict.FAILED]:
        return f"{failed} of {tally.size} samples failed, {as_it_was}: see `{_make('why', given)}`"
    if meanwhile := _meanwhile(given, found):
        return f"{_mixed(meanwhile)}, and {as_it_was}: accept again"
    return ""


def _counted(tally: Tally, removed: int | None = None) -> str:
    count = tally.verdicts
    changed = count[Verdict.CHANGED] + count[Verdict.DRIFTED]
    parts = [f"{count[Verdict.NEW]} new", f"{changed} changed"]
    parts += [] if removed is None else [f"{removed} removed"]
    return " · ".join([*parts, f"{count[Verdict.SAME]} unchanged"])


class NotAcceptedError(Exception):
    """These answers cannot be accepted; it says why."""


class NothingNewError(Exception):
    """The goldens are what would be written."""


def _prepare(given: Namespace) -> tuple[Suite, Client, Endpoint]:
    loaded = Suite(given.app)
    found = arguments.find(given)
    return loaded, Client(found.url, found.token, connections=given.threads), found


def _propose(app: Path, proposed: proposal.Proposal, found: Endpoint) -> bool:
    """Leave what is to be decided beside the goldens; whether it lies there.

    A run that cannot, has its verdict to tell all the same.
    """
    if lock.in_ci() or not (proposed.size or proposal.path(app).exists()):
        return False
    try:
        with lock.held(app, "smoke"):
            proposed.leave(app, found.made_with)
    except (Fault, OSError) as error:
        print(f"smoke: no {proposal.path(app).name} of this run: {error}", file=sys.stderr)
        return False
    return bool(proposed.size)


def _ties(client: Client, tally: Tally, threads: int) -> dict[str, ties.Tie]:
    """The changed labels that were a near thing, of those that are shown."""
    kinds = (Turn.REGRESSION, Verdict.CHANGED, Turn.FIX)
    changed = [each for kind in kinds for each in tally.shown.get(kind, [])]
    # Where something failed, no question of ours is to be the last failure.
    asked = [] if tally.verdicts[Verdict.FAILED] else changed
    return ties.find(client, asked, threads)


def _record(
    given: Namespace,
    loaded: Suite,
    found: Endpoint,
    about: Mapping[str, Any],
    meanwhile: Mapping[str, str],
) -> Record:
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
        served_with={
            name: value for name, value in found.made_with.items() if name not in meanwhile
        },
    )


def _print_differences(tally: Tally, marked: Mapping[str, ties.Tie] = NO_TIES) -> None:
    colour = terminal.has_colour(sys.stdout)
    for line in wording.differences(tally, terminal.width(), colour, ties=marked):
        print(line)


def _tell_unmatched(loaded: Suite, tally: Tally, given: Namespace) -> None:
    """Name the first samples without a golden, and the first goldens without a sample."""
    new = [each.sample.id for each in tally.shown.get(Verdict.NEW, [])[:SHOWN]]
    lost = list(itertools.islice(loaded.orphans, SHOWN))
    for ids, count, what, cure in (
        (new, tally.verdicts[Verdict.NEW], "without a golden", "add"),
        (lost, len(loaded.orphans), "without a sample", "drop"),
    ):
        if count:
            print(
                f"smoke: {golden.path(given.app)}: {count} {what}:"
                f" {wording.some(ids, SHOWN, count)}: {cure} with `{_make('accept', given)}`",
                file=sys.stderr,
            )


def _next(verdicts: set[Verdict], is_proposed: bool, given: Namespace) -> list[str]:
    if Verdict.FAILED in verdicts:
        return [f"next: {_make('why', given)}    tells all of the last failure"]
    if verdicts <= {Verdict.NEW, Verdict.SAME}:
        return [f"next: {_make('accept', given)}    makes these answers the goldens"]
    accept = f"{_make('accept', given)}    if this is what you meant"
    if not is_proposed:
        return [f"next: {accept}"]
    return [f"next: {_make('review', given)}    goes through them one by one", f"      {accept}"]


def _make(target: str, given: Namespace) -> str:
    """The make command that does `target` to the same app and model."""
    words = ["make", target]
    if given.app.resolve() != Path.cwd():
        words.append(f"APP={given.app}")
    if target in ("accept", "smoke"):
        words += [f"URL={given.url}"] if given.url else []
        words += [f"VERSION={given.version}"] if given.version else []
    if target == "smoke":
        words += ["DEEP=1"] if given.deep else []
        words += [] if given.budget is None else [f"BUDGET={given.budget}"]
        if given.tolerance != float(arguments.TOLERANCE):
            words.append(f"TOLERANCE={given.tolerance}")
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
    arguments.add_budget(parser)
    parser.add_argument(
        "--deep",
        action="store_true",
        help="after a run, check what single requests never show, with at most"
        f" {texts.MOST} samples",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="ID",
        help="with accept: ask and accept these samples alone (ACCEPT, with blanks between)",
    )
    given = parser.parse_args()
    if given.only and given.verb != "accept":
        parser.error("--only chooses what to accept")
    return accept(given) if given.verb == "accept" else run(given)


if __name__ == "__main__":
    fault.run("smoke", main)
