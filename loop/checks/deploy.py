"""What the deploy commands ask before they touch a server: whether the tree is any good."""

import contextlib
import copy
import sys
import time
from collections.abc import Collection
from functools import partial

from loop import recorder
from loop.checks import memory
from loop.checks.finding import Finding, State, examine
from loop.checks.table import ROWS, Part
from loop.checks.tree import Tree
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import Fault


def refuse_bad(
    app: Settings, packed: Contents, verb: str, parts: Collection[Part] = tuple(Part)
) -> None:
    """Look at what has changed in the tree since it was looked at last.

    Warnings go to stderr, each once: not again until something about it changes.

    Args:
        packed: what would be packed, with the hashes by which a change is known.
        verb: what each line of the warnings begins with.
        parts: what to look at.

    Raises:
        Fault: something is sure not to work. It names all there is of that, one a line.
    """
    if app.is_workflow:
        # Its own files were looked at when they were read (see `loop.workflow`).
        parts = (Part.SETTINGS,)
    tree, kept = Tree(app), memory.read(app.run)
    before = copy.deepcopy(kept)
    failures: list[Finding] = []
    for part in parts:
        try:
            content = memory.content(part, tree, packed.hashes, kept)
        except Fault:
            continue  # The handler does not compile, which its own check says.
        if kept.passed.get(part) == content:
            continue
        found = list(
            examine((row.name, partial(row.look, tree)) for row in ROWS if row.part == part)
        )
        _warn([each for each in found if each.state is State.WARNING], part, kept, verb)
        failed = [each for each in found if each.state is State.FAILURE]
        kept.passed[part] = "" if failed else content
        failures += failed
    if kept != before:
        memory.write(app.run, kept)
    if failures:
        fault = _fault(failures)
        if verb != "try":
            _note(app, packed, fault)
        raise fault


def _warn(warnings: list[Finding], part: Part, kept: memory.Memory, verb: str) -> None:
    """Print those that were not told when the part was looked at last."""
    lines = [f"{each.what}: {each.cure}" for each in warnings]
    for each in lines:
        if each not in kept.told.get(part, ()):
            print(f"{verb}: warning: {each}", file=sys.stderr, flush=True)
    kept.told[part] = lines


def _fault(failures: list[Finding]) -> Fault:
    # The same trouble may stop several checks.
    *others, last = {each.what: each for each in failures}.values()
    lines = [f"{each.what}: {each.cure}" for each in others]
    return Fault("\n  ".join([*lines, last.what]), str(last.cure))


def _note(app: Settings, packed: Contents, fault: Fault) -> None:
    """Add a refusal to what has failed, for `why`."""
    row = {"time": time.time(), "seconds": 0.0, "version": packed.version, "is_load": True}
    row |= {"worker": "", "pid": 0, "requests": [], "messages": str(fault).split("\n")}
    with contextlib.suppress(OSError):
        recorder.append(app.run, row)
