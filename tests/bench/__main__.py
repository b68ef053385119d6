"""`python -m tests.bench [SECTION]…`: measure, print tables, keep the figures."""

import json
import os
import shutil
import signal
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import psutil

from smoke import atomic, fault
from tests import bench
from tests.bench import batching, checkpoints, load, many, turn
from tests.bench.apps import BENCH, ROOT

FIGURES = ROOT / ".run" / "bench.json"
SECTIONS = ("turn", "smoke", "scale", "load", "batching")


def main() -> int:
    """Measure what is asked for; 1 if a request was lost, or a reload went wrong."""
    given = _arguments()
    # So that what was started is ended, as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shutil.rmtree(BENCH, ignore_errors=True)
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    print(machine)
    code = 0
    try:
        for section in given.sections or SECTIONS:
            result, text, passed = _measure(section, given)
            _keep(section, {"machine": machine, "result": result})
            print(f"\n## {section}\n\n{text}", flush=True)
            code = code if passed else 1
    finally:
        shutil.rmtree(BENCH, ignore_errors=True)
    return code


def _arguments() -> Namespace:
    parser = ArgumentParser("bench", description=bench.__doc__, allow_abbrev=False)
    parser.add_argument(
        "sections", nargs="*", metavar="turn|smoke|scale|load|batching", help="default: all"
    )
    parser.add_argument("--models", default=",".join(checkpoints.NAMES), metavar="NAME,…")
    parser.add_argument("--edits", type=int, default=turn.EDITS, metavar="N")
    parser.add_argument("--rounds", type=int, default=many.ROUNDS, metavar="N")
    parser.add_argument("--reloads", type=int, default=load.RELOADS, metavar="N")
    given = parser.parse_args()
    for name, names, known in (
        ("section", given.sections, SECTIONS),
        ("model", given.models.split(","), checkpoints.NAMES),
    ):
        if unknown := set(names) - set(known):
            parser.error(f"there is no {name} {', '.join(unknown)}: choose from {', '.join(known)}")
    return given


def _measure(section: str, given: Namespace) -> tuple[Any, str, bool]:
    """The figures of a section, those in Markdown, and whether it passed."""
    if section == "turn":
        results = [turn.measure(name, given.edits) for name in given.models.split(",")]
        return results, turn.report(results), True
    if section == "smoke":
        texts = many.training_texts()[: many.TEXTS]
        figures = many.measure(checkpoints.DEFAULT, texts, given.rounds)
        return figures, many.report(figures), True
    if section == "scale":
        texts = many.short_texts(many.MANY)
        figures = many.measure(checkpoints.make("tiny"), texts, rounds=1)
        return figures, many.report(figures), True
    if section == "batching":
        rates = batching.measure(checkpoints.DEFAULT, given.rounds)
        return rates, batching.report(rates), True
    figures = load.measure(checkpoints.DEFAULT, given.reloads)
    return figures, load.report(figures), load.passed(figures)


def _keep(section: str, content: dict[str, Any]) -> None:
    """Put a section's figures beside those that other sections have left."""
    try:
        kept = json.loads(FIGURES.read_text(encoding="utf-8"))
        kept = {name: kept[name] for name in SECTIONS if name in kept}
    except (OSError, ValueError):
        kept = {}
    atomic.write(FIGURES, json.dumps(kept | {section: content}, indent=2).encode() + b"\n")


if __name__ == "__main__":
    fault.run("bench", main)
