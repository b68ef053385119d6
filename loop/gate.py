"""What a new version has to show before it becomes the live one: GATE=errors, golden or none."""

import os
import sys
import time
from collections.abc import Callable
from enum import StrEnum

from loop import failures, ready
from loop.settings import Settings
from smoke import arguments, endpoint, golden, samples, terminal, wording
from smoke.client import Client
from smoke.compare import Verdict
from smoke.fault import Fault, Refused
from smoke.suite import Suite
from smoke.tally import Tally


class Gate(StrEnum):
    """What keeps a new version from becoming live, beside a load that fails."""

    ERRORS = "errors"
    """A sample that is not answered."""
    GOLDEN = "golden"
    """That, or a label that is not its golden's; with BUDGET=N, more than N that are no fix."""
    NONE = "none"
    """Nothing: no sample is asked."""


def requested() -> Gate:
    """What GATE= asks for.

    Raises:
        Fault: it asks for none of them, or BUDGET= says no number.
    """
    arguments.budget()
    asked = os.environ.get("GATE", "").strip() or Gate.ERRORS.value
    if asked not in list(Gate):
        raise Fault(f"GATE={asked} is no gate", f"use {', '.join(Gate)}")
    return Gate(asked)


def load(app: Settings, kind: Gate) -> Suite | None:
    """The app's samples and goldens; None if it has no samples.

    Raises:
        Fault: one of the files cannot be read, the line is named; or the gate is to compare with
            goldens, and there are none.
    """
    loaded = Suite(app.app) if samples.path(app.app).exists() else None
    if kind is Gate.GOLDEN and not (loaded and loaded.accepted):
        raise Fault(
            f"GATE=golden, and {golden.path(app.app)} has no goldens", "write them: `make accept`"
        )
    return loaded


def ask(
    app: Settings,
    version: str | None,
    loaded: Suite | None,
    wanted: Callable[[], None] = lambda: None,
) -> Tally:
    """Ask a version, or the live one, all samples; where there are none, one question.

    Args:
        wanted: called now and then; raises what is to end the asking.

    Raises:
        Refused: it does not answer that one.
        Unanswered: the server does not answer.
    """
    since, ends = time.time(), failures.Ends(app, version)

    def go_on() -> None:
        wanted()
        # Each sample more would end another worker, or wait for its time-out.
        if ended := ends.first():
            raise Refused(f"{app.name} {version or ''} does not live to answer", str(ended.cause))

    if loaded is not None:
        found = endpoint.find(app.app, None, None, version)
        client = Client(found.url, found.token, arguments.THREADS)
        tolerance, threads = arguments.tolerance(), arguments.THREADS
        return Tally.of(loaded.judge(client, tolerance, threads, "reload", go_on))
    if failure := ready.failure(app, version):
        why = failures.of_replies(app, [failure], since)[failure]
        raise Refused(f"{app.name} {version or ''} does not answer: {failure}", str(why))
    return Tally()


def check(app: Settings, version: str, kind: Gate, tally: Tally, since: float) -> None:
    """Keep a version from becoming live.

    Args:
        since: when the first sample was sent, in seconds since the epoch.

    Raises:
        Refused: the gate stays shut, with the cause.
    """
    if failed := tally.failed:
        raise Refused(
            f"{app.name} {version} fails {tally.verdicts[Verdict.FAILED]} of {tally.size} samples",
            failures.by_cause(app, failed, since),
        )
    if kind is not Gate.GOLDEN:
        return
    changed, budget = tally.verdicts[Verdict.CHANGED], arguments.budget()
    if budget is None and changed:
        raise Refused(
            f"{app.name} {version} changes {changed} of {tally.size} labels",
            "mend it, or let it pass with GATE=errors or BUDGET=N",
        )
    if budget is not None and tally.unexplained > budget:
        raise Refused(
            f"{app.name} {version} changes {tally.unexplained} of {tally.size} labels that are no"
            f" fix, and BUDGET={budget}",
            "mend it, or let it pass with GATE=errors",
        )


def show(tally: Tally, kind: Gate, verb: str, seconds: float) -> None:
    """Print what differs from the goldens, one line on all, and one on the budget, if it counts."""
    colour = terminal.has_colour(sys.stdout)
    # A sample without a golden differs from nothing, and of those that failed, `check` tells why.
    told_elsewhere = (Verdict.NEW, Verdict.FAILED)
    for line in wording.differences(tally, terminal.width(), colour, but=told_elsewhere):
        print(line)
    if tally.size:
        budget = arguments.budget() if kind is Gate.GOLDEN else None
        line = wording.summary(verb, tally, seconds, arguments.THREADS, colour, budget)
        print(line, flush=True)
        if budget is not None and not tally.verdicts[Verdict.FAILED]:
            print(f"{verb}: {wording.budget(tally, budget)}", flush=True)
