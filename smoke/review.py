"""Walk through what the last run proposes as goldens: accept, reject or skip, one by one.

Keys: a accept, r reject, s skip, q quit. What is decided is written at once; the rest waits for the
next review.

exit: 0 all was shown, or there was nothing · 2 no terminal, or a file that cannot be read
"""

import json
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from smoke import arguments, fault, golden, lock, proposal, samples, terminal, ties, wording
from smoke.client import Answer
from smoke.compare import Comparison, Turn, Verdict, compare
from smoke.fault import Fault
from smoke.golden import Golden
from smoke.index import Index
from smoke.keys import END, Keys
from smoke.replies import Timed
from smoke.samples import Sample
from smoke.suite import Suite

PROMPT = "  accept, reject, skip, quit? [a/r/s/q] "
# A text is cut to so many lines of the terminal.
LINES = 12


class Decision(StrEnum):
    """What becomes of a proposed golden."""

    ACCEPT = "accepted"
    REJECT = "rejected"
    SKIP = "skipped"
    QUIT = "quit"


KEYS = {each.value[0]: each for each in Decision} | {END: Decision.QUIT}


def review(given: Namespace) -> int:
    """Show each change on the terminal, the worst first, and do what is decided.

    Raises:
        Fault: there is no terminal; another review, or an accept, is under way; or a file cannot be
            read or written.
    """
    app = given.app
    if not proposal.path(app).exists():
        print(f"review: nothing to review: the last run proposes nothing in {proposal.path(app)}")
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Fault(
            "this is no terminal to ask on",
            'accept all with `make accept`, or some with `make accept ACCEPT="ID ID"`',
        )
    with lock.held(app, "review"):
        waiting = Waiting(app)
        if not len(waiting):
            print("review: nothing to review: the goldens are what was proposed")
            return 0
        return _walk(app, waiting)


class Waiting:
    """The proposed changes that are to be decided, however many, in the order of `wording.TAGS`.

    What is settled, by a golden that says the same or a sample that is gone, leaves the proposal.

    Raises:
        Fault: a file cannot be read or written.
    """

    def __init__(self, app: Path) -> None:
        self._kinds: dict[Verdict | Turn, Index] = {kind: Index() for kind in wording.TAGS}
        suite, proposed = Suite(app), Index()
        for each in proposal.stream(app):
            proposed.add(each.id, json.dumps([each.label, each.score]))
        for sample in suite.samples():
            kept = proposed.get(sample.id)
            if kept is None:
                continue
            change = _change(sample, suite.golden(sample.id), Answer(*json.loads(kept)))
            if change.verdict is not Verdict.SAME:
                self._kinds[change.turn or change.verdict].add(sample.id, _packed(change))
        if len(self) < len(proposed):
            proposal.keep(app, self._is_open)

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def __iter__(self) -> Iterator[Comparison]:
        for kind in self._kinds.values():
            for id_ in kind:
                yield _unpacked(kind.get(id_) or "")

    def _is_open(self, id_: str) -> bool:
        return any(kind.get(id_) is not None for kind in self._kinds.values())


def _walk(app: Path, waiting: Waiting) -> int:
    done: Counter[Decision] = Counter()
    marked = ties.read(app)
    try:
        with Keys() as keys:
            for number, change in enumerate(waiting, start=1):
                position = f"{number} of {len(waiting)}"
                decision = _decide(app, change, position, marked.get(change.sample.id), keys)
                if decision is Decision.QUIT:
                    break
                done[decision] += 1
    finally:
        left = len(waiting) - done[Decision.ACCEPT] - done[Decision.REJECT]
        counts = [f"{done[each]} {each.value}" for each in Decision if done[each]]
        rest = f"{left} left in {proposal.path(app)}" if left else "none left"
        print(f"review: {' · '.join([*counts, rest])}")
    return 0


def _decide(
    app: Path, change: Comparison, position: str, tie: ties.Tie | None, keys: Keys
) -> Decision:
    """Show a change until a key says what becomes of it, and do that."""
    id_ = change.sample.id
    while True:
        _show(change, position, tie)
        decision = _ask(keys)
        print("" if keys.need_enter else decision.value)
        if decision is Decision.ACCEPT:
            # Somebody may have edited it since it was shown, or since the review began.
            now = golden.find(app, id_)
            if now not in (change.golden, change.accepted()):
                print("  its golden has been edited meanwhile:")
                change = _change(change.sample, now, change.answer)
                continue
            if now != change.accepted():
                _accept(app, change.accepted())
        if decision in (Decision.ACCEPT, Decision.REJECT):
            proposal.keep(app, lambda each: each != id_)
        return decision


def _accept(app: Path, accepted: Golden) -> None:
    order = (sample.id for sample in samples.stream(app))
    golden.put(app, {accepted.id: accepted}, order, golden.made_with_in(proposal.path(app)))


def _show(change: Comparison, position: str, tie: ties.Tie | None) -> None:
    colour, sample = terminal.has_colour(sys.stdout), change.sample
    tag, hue = wording.TAGS[change.turn or change.verdict]
    print(f"{position}  {terminal.paint(tag, hue, colour)}  {sample.id}")
    text = terminal.escape(wording.text(sample))
    print(f"  {terminal.fit(text, LINES * terminal.width() - 2)}")
    print(f"  {wording.outcome(change, tie)}")


def _ask(keys: Keys) -> Decision:
    print(PROMPT, end="", flush=True)
    while (decision := KEYS.get(keys.read())) is None:
        if keys.need_enter:
            print(PROMPT, end="", flush=True)
    return decision


def _change(sample: Sample, accepted: Golden | None, answer: Answer | None) -> Comparison:
    """A proposed answer against its golden; any difference counts, since the run has judged it."""
    if answer is None:
        raise ValueError(f"{sample.id}: nothing is proposed")
    return compare(sample, accepted, Timed(answer, 0.0), tolerance=0.0)


def _packed(change: Comparison) -> str:
    sample, kept, answer = change.sample, change.golden, change.answer
    return json.dumps(
        [
            [sample.id, sample.text, sample.text_pair, sample.label],
            kept and [kept.label, kept.score],
            answer and [answer.label, answer.score],
        ]
    )


def _unpacked(packed: str) -> Comparison:
    about, kept, answer = json.loads(packed)
    sample = Sample(*about)
    return _change(sample, kept and Golden(sample.id, *kept), Answer(*answer))


def main() -> int:
    """Read the command line and do it."""
    return review(arguments.parser("review", __doc__ or "", asks=False).parse_args())


if __name__ == "__main__":
    fault.run("review", main)
