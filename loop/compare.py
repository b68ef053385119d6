"""Two versions asked the same samples in turn: what differs, and how fast each is.

They are those that are named; else the live version and the tree's, which is loaded for as long as
it takes; or, where the tree is what is live, the version before it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from loop import candidate, lock, package, server, settings, versions
from loop.budget import Budget
from loop.checks import deploy
from loop.management import Management
from loop.settings import Settings
from loop.versions import Versions
from smoke import arguments, endpoint, samples, terminal, wording
from smoke.client import Answer, Client
from smoke.compare import Turn, compare
from smoke.fault import Fault, Unanswered, run
from smoke.golden import DIGITS, Golden
from smoke.replies import Timed
from smoke.report import statistics
from smoke.samples import Sample
from smoke.tally import Tally
from smoke.terminal import Progress


@dataclass(frozen=True)
class Side:
    """One of the two versions, and what it is to the user."""

    version: str
    what: str

    def __str__(self) -> str:
        return f"{self.version} ({self.what})"


def main() -> int:
    """Print what differs; exit 1 if anything does."""
    if len(sys.argv) > 3:
        raise Fault(f"{' '.join(sys.argv[1:])} is more than two versions", "name two: A=… B=…")
    app = settings.read_model(os.environ["APP"])
    settings.link_run_folder(app)
    tolerance = arguments.tolerance()
    # That they can be read, is seen before anything is loaded.
    size = sum(1 for _ in samples.stream(app.app))
    old, new = Tally(), Tally()
    with lock.held(app, "compare"):
        if server.find(app) is None:
            raise Unanswered("the server is not running", "start it with `make redeploy`")
        with sides(settings.as_started(app), sys.argv[1:]) as (before, after):
            both = (client(app, before), client(app, after))
            with Progress("compare", size) as progress:
                for sample, first, second in in_turn(both, samples.stream(app.app)):
                    old.add(compare(sample, None, first, tolerance))
                    new.add(compare(sample, accepted(sample, first), second, tolerance))
                    progress(new.size)
    show(before, after, old, new)
    return 0 if new.all_same else 1


@contextlib.contextmanager
def sides(app: Settings, named: Sequence[str]) -> Iterator[tuple[Side, Side]]:
    """Have both versions loaded, the older first; one that is named goes against the live one.

    Raises:
        Fault: there is only one, or none of that name.
        Refused: the tree's version does not load.
    """
    management = Management(app)
    found = versions.find(app, management)
    if named:
        yield registered(found, [found.live, *named][-2:])
        return
    packed = package.contents(app)
    if packed.version == found.live:
        if found.previous is None:
            raise Fault(f"{found.live} is what your tree is, and all there is", "edit handler.py")
        yield Side(found.previous, "previous"), Side(found.live, "live, your tree")
        return
    deploy.refuse_bad(app, packed, "compare")
    with candidate.registered(app, management, packed, Budget()):
        yield Side(found.live, "live"), Side(packed.version, "your tree")


def registered(found: Versions, both: Sequence[str]) -> tuple[Side, Side]:
    """Two versions that are registered. Raises Fault."""
    if not all(both):
        raise Fault("a version is empty", "name two: A=… B=…")
    if both[0] == both[1]:
        raise Fault(f"{both[0]} is one version, not two", "`make models` lists them")
    for each in both:
        versions.require(found, each)
    first, second = (Side(each, "live" if each == found.live else "registered") for each in both)
    return first, second


def client(app: Settings, side: Side) -> Client:
    """Who asks that version."""
    found = endpoint.find(app.app, None, None, side.version)
    return Client(found.url, found.token)


def in_turn(
    both: tuple[Client, Client], asked: Iterable[Sample]
) -> Iterator[tuple[Sample, Timed, Timed]]:
    """Ask two versions each sample, one right after the other: what slows one slows both."""
    first, second = both
    for number, sample in enumerate(asked):
        if number == 0:
            # A process that has just loaded is slow once.
            for each in both:
                each.ask(sample)
        if number % 2:
            after = _timed(second, sample)
            yield sample, _timed(first, sample), after
        else:
            before = _timed(first, sample)
            yield sample, before, _timed(second, sample)


def _timed(client: Client, sample: Sample) -> Timed:
    began = time.perf_counter()
    reply = client.ask(sample)
    return Timed(reply, time.perf_counter() - began)


def accepted(sample: Sample, timed: Timed) -> Golden | None:
    """The answer of one version, as a golden for the other."""
    if not isinstance(timed.reply, Answer):
        return None
    return Golden(sample.id, timed.reply.label, round(timed.reply.score, DIGITS))


def show(before: Side, after: Side, old: Tally, new: Tally) -> None:
    """Print what differs between two versions, and how fast and how right each is."""
    colour = terminal.has_colour(sys.stdout)
    for line in wording.differences(new, terminal.width(), colour):
        print(line)
    print(f"compare: {before} → {after}: {' · '.join(wording.verdicts(new))}")
    for side, tally in ((before, old), (after, new)):
        print(" · ".join([f"{side.version}  {wording.latency(tally)}", *wording.truth(tally)]))
    if new.turns:
        print(statistics.mcnemar_words(new.turns[Turn.REGRESSION], new.turns[Turn.FIX]))


if __name__ == "__main__":
    run("compare", main)
