"""The checks of an app, in the order in which they are told."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from loop.doctor import config, leftovers, machine, model
from loop.doctor.finding import Check, Finding
from loop.doctor.subject import Subject

CHECKS: dict[str, Callable[[Subject], Iterable[Finding]]] = {
    "config": config.config,
    "access": config.access,
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
    "model-config": config.model_config,
    "weights": model.weight_files,
    "checkpoint": model.checkpoint_config,
    "tree": model.tree,
    "archive": model.archive,
    "samples": model.asked,
}
# These say nothing where config.properties cannot be read.
ABOUT_SETTINGS = {"config", "access", "ports", "model-config", "archive"}


def checks(subject: Subject, settings: bool) -> Iterator[tuple[str, Check]]:
    """Each check by its name; without those about the `settings`, if there are none."""
    for name, check in CHECKS.items():
        if settings or name not in ABOUT_SETTINGS:
            yield name, partial(check, subject)
