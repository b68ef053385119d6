"""Whether the samples and goldens can be read."""

import os
from collections.abc import Iterator

from loop.checks.finding import Finding, failure, ok, warning
from loop.checks.tree import Tree
from smoke import golden
from smoke import samples as texts
from smoke.fault import Fault


def check(tree: Tree) -> Iterator[Finding]:
    """Look at each line; what is wrong keeps nothing from being served where nobody will ask."""
    told = warning if os.environ.get("GATE", "").strip() == "none" else failure
    app = tree.app.app
    counts = []
    for path, read in ((texts.path(app), _samples), (golden.path(app), _goldens)):
        if not path.exists():
            continue
        try:
            counts.append(read(tree))
        except Fault as fault:
            yield told(fault.what, fault.cure)
    yield ok(", ".join(counts) or "no samples")


def _samples(tree: Tree) -> str:
    return f"{sum(1 for _ in texts.stream(tree.app.app))} samples"


def _goldens(tree: Tree) -> str:
    return f"{sum(1 for _ in golden.stream(tree.app.app))} goldens"
