"""The checks of an app, in the order in which they are told."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from loop.checks.finding import Check, Finding
from loop.checks.table import ROWS, Part
from loop.checks.tree import Tree
from loop.doctor import access, leftovers, machine, model
from loop.doctor.subject import Subject

CHECKS: dict[str, Callable[[Subject], Iterable[Finding]]] = {
    "access": access.access,
    "variables": access.variables,
    "lock": leftovers.lock,
    "watch": leftovers.watching,
    "server": leftovers.running,
    "ports": machine.each_port,
    "gpu": machine.gpus,
    "orphans": leftovers.orphans,
    "stale": leftovers.stale,
    "unfinished": leftovers.unfinished,
    "links": leftovers.links,
    "sockets": machine.socket_path,
    "room": machine.room,
    "logs": machine.logs,
    "tree": model.tree,
    "archive": model.archive,
    "samples": model.asked,
}
# These say nothing where config.properties cannot be read.
ABOUT_SETTINGS = {"config", "access", "ports", "model-config", "archive"}


def checks(subject: Subject, settings: bool) -> Iterator[tuple[str, Check]]:
    """Each check by its name; without those about the `settings`, if there are none."""
    tree = Tree(subject.app)
    # What keeps a deploy from working, as the deploy commands look at it themselves.
    rows = [row for row in ROWS if row.name not in CHECKS]
    if subject.app.is_workflow:
        rows = [row for row in rows if row.part is Part.SETTINGS]
    found = {row.name: partial(row.look, tree) for row in rows}
    ours = {name: partial(check, subject) for name, check in CHECKS.items()}
    for name, check in {**found, **ours}.items():
        if settings or name not in ABOUT_SETTINGS:
            yield name, check
