"""What the deploy commands ask before they touch a server: whether the tree is any good."""

import sys
from functools import partial
from typing import TYPE_CHECKING

from loop.checks import memory
from loop.checks.finding import Finding, State, examine
from loop.checks.table import ROWS, Row
from loop.checks.tree import Tree
from loop.settings import Settings
from smoke.fault import Fault

if TYPE_CHECKING:
    from loop.package import Contents


def refuse_bad(app: Settings, packed: "Contents", verb: str) -> None:
    """Look at what has changed in the tree since it was looked at last.

    Warnings go to stderr, each once: not again until something about it changes.

    Args:
        packed: what would be packed, with the hashes by which a change is known.
        verb: what each line of the warnings begins with.

    Raises:
        Fault: something is sure not to work. It names all there is of that, one a line.
    """
    tree, kept = Tree(app), memory.read(app.run)
    before = memory.Memory(dict(kept.loads), dict(kept.passed), dict(kept.told))
    failures: list[Finding] = []
    for row in ROWS:
        try:
            key = memory.looked_at(row, tree, packed.hashes, kept)
        except Fault:
            continue  # The handler does not compile, which its own check says.
        if kept.passed.get(row.name) != key:
            failures += _look(row, key, tree, kept, verb)
    if kept != before:
        memory.write(app.run, kept)
    if failures:
        raise _fault(failures)


def _look(row: Row, key: str, tree: Tree, kept: memory.Memory, verb: str) -> list[Finding]:
    """Print the new warnings of a check; returns its failures, and keeps that there are none."""
    found = list(examine([(row.name, partial(row.look, tree))]))
    warnings = [f"{each.what}: {each.cure}" for each in found if each.state is State.WARNING]
    for each in warnings:
        if each not in kept.told.get(row.name, ()):
            print(f"{verb}: warning: {each}", file=sys.stderr, flush=True)
    kept.told[row.name] = warnings
    failures = [each for each in found if each.state is State.FAILURE]
    if failures:
        kept.passed.pop(row.name, None)
    else:
        kept.passed[row.name] = key
    return failures


def _fault(failures: list[Finding]) -> Fault:
    *others, last = failures
    lines = [f"{each.what}: {each.cure}" for each in others]
    return Fault("\n  ".join([*lines, last.what]), str(last.cure))
