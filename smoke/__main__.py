"""Compare what a served model says to an app's samples with what was accepted before.

run      asks every sample and compares; writes no goldens
accept   asks every sample and makes the answers the goldens, if all were answered

exit     0 all the same · 1 something is not · 2 a file or an option is wrong · 3 nothing answers
"""

import shlex
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from smoke import (
    arguments,
    atomic,
    fault,
    golden,
    jsonl,
    junit,
    report,
    suite,
    terminal,
    unanswered,
)
from smoke.client import Client, Failure
from smoke.compare import Comparison, Verdict, orphans
from smoke.suite import Suite


def run(given: Namespace) -> int:
    """Ask and compare: the report to stdout, results.jsonl and junit.xml to the app's run folder.

    Returns:
        0 if every sample's answer is the same as its golden, else 1.
    """
    loaded, client = _prepare(given)
    began, start = time.time(), time.perf_counter()
    comparisons = loaded.judge(client, given.tolerance, given.threads, "smoke")
    seconds = time.perf_counter() - start

    folder = given.app / ".run" / "smoke"
    jsonl.write(folder / "results.jsonl", (each.row() for each in comparisons))
    atomic.write(
        given.junit or folder / "junit.xml", junit.document(comparisons, client.url, seconds)
    )

    replies = {each.sample.id: each.reply for each in comparisons}
    failed = {sample: each for sample, each in replies.items() if isinstance(each, Failure)}
    if failed:
        unanswered.leave(client.url, began, failed)

    _print_differences(comparisons)
    print(
        report.summary(
            "smoke", comparisons, seconds, given.threads, terminal.has_colour(sys.stdout)
        )
    )
    lost = orphans(loaded.samples, loaded.goldens)
    if lost:
        print(
            f"smoke: {golden.path(given.app)}: without a sample: {', '.join(lost)}:"
            f" drop with `{_make('accept', given)}`",
            file=sys.stderr,
        )
    verdicts = {each.verdict for each in comparisons}
    if verdicts == {Verdict.SAME}:
        return 0
    print(f"next: {_next(verdicts, given)}")
    return 1


def accept(given: Namespace) -> int:
    """Ask, and replace the goldens by the answers; those within the tolerance stay as they are.

    Returns:
        0 if the goldens are written; 1 if a sample was not answered, and nothing is written.
    """
    loaded, client = _prepare(given)
    comparisons = loaded.judge(client, given.tolerance, given.threads, "accept")
    _print_differences(comparisons)
    count = Counter(each.verdict for each in comparisons)
    path = golden.path(given.app)
    if count[Verdict.FAILED]:
        print(
            f"accept: {count[Verdict.FAILED]} of {len(comparisons)} samples failed,"
            f" {path} stays as it was: see `{_make('why', given)}`",
            file=sys.stderr,
        )
        return 1
    golden.write(given.app, (each.accepted() for each in comparisons))
    print(
        f"accept: {count[Verdict.NEW]} new · {count[Verdict.CHANGED] + count[Verdict.DRIFTED]}"
        f" changed · {len(orphans(loaded.samples, loaded.goldens))} removed ·"
        f" {count[Verdict.SAME]} unchanged in {path}"
    )
    return 0


def _prepare(given: Namespace) -> tuple[Suite, Client]:
    loaded = suite.load(given.app)
    found = arguments.find(given)
    return loaded, Client(found.url, found.token, connections=given.threads)


def _print_differences(comparisons: Sequence[Comparison]) -> None:
    colour = terminal.has_colour(sys.stdout)
    for line in report.differences(comparisons, terminal.width(), colour):
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
    if target == "accept":
        words += [f"URL={given.url}"] if given.url else []
        words += [f"VERSION={given.version}"] if given.version else []
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
    given = parser.parse_args()
    return accept(given) if given.verb == "accept" else run(given)


if __name__ == "__main__":
    fault.run("smoke", main)
