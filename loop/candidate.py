"""A version of the tree beside the live one, for as long as somebody looks at it."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil

from loop import server, stage, versions, warm, workers
from loop.budget import Budget
from loop.management import Management, ready_workers
from loop.package import Contents
from loop.settings import Settings
from loop.signals import uninterrupted
from smoke.fault import Fault, Refused


@dataclass
class Candidate:
    """A version that is loaded for a while.

    Attributes:
        stays: whether it has become live, and is not to be taken away any more.
        refused: whether it was found to be no good; then its folder stays, for `replay`, until
            another takes its place.
    """

    version: str
    stays: bool = False
    refused: bool = False


@contextlib.contextmanager
def registered(
    app: Settings,
    management: Management,
    packed: Contents,
    budget: Budget,
    wanted: Callable[[], None] = lambda: None,
) -> Iterator[Candidate]:
    """Have a version loaded in a process of its own, and take it away again, whatever happens.

    One that is loaded already, the previous one, stays.

    Args:
        wanted: called now and then; raises what is to end the wait for the load.

    Raises:
        Refused: it does not load.
        Unanswered: the server does not answer.
        OSError: there is no room for it.
    """
    version = packed.version
    candidate = Candidate(version, stays=_is_loaded(app, management, version))
    try:
        stage.stage(app, packed)
        budget.spent("stage")
        if not candidate.stays:
            _register_warm(app, management, version, wanted)
            budget.spent("register")
        yield candidate
    except Refused:
        candidate.refused = True
        raise
    finally:
        if not candidate.stays:
            with uninterrupted(), contextlib.suppress(Fault):
                _take_away(app, management, candidate)


def _is_loaded(app: Settings, management: Management, version: str) -> bool:
    """Whether a version is there already, for others than us; with its workers, then.

    A wreck, of a reload that was killed, is removed.

    Raises:
        Refused: it has fewer workers than it should, and more do not load.
    """
    found = versions.find(app, management)
    if version not in found.all:
        return False
    if ready_workers(management.describe(version)) >= app.workers:
        return True
    if version in found.ours - {found.live, found.previous, *found.kept}:
        management.unregister(version)
        return False
    workers.scale(app, management, version, app.workers)
    return True


def _register_warm(
    app: Settings, management: Management, version: str, wanted: Callable[[], None]
) -> None:
    """Have a staged version loaded, by a worker of a warm process that fits.

    Whether it fits is looked up while TorchServe starts the worker, which takes as long. Where it
    does not, a library has been edited or the process has died, and the worker is started again.
    """
    with ThreadPoolExecutor(1) as beside:
        replaced = beside.submit(keep_warm, app)
        try:
            workers.register(app, management, version, wanted)
        except Refused:
            if not replaced.result():
                raise
    if replaced.result():
        with contextlib.suppress(Fault):
            management.unregister(version)
        workers.register(app, management, version, wanted)


def keep_warm(app: Settings) -> bool:
    """Have a warm process that fits, where there was one. Returns whether it is another."""
    process = server.find(app)
    try:
        return process is not None and warm.keep(app, process)
    except (Fault, OSError, psutil.Error) as error:
        print(f"no warm workers: {error}: loading without", file=sys.stderr)
        return False


def _take_away(app: Settings, management: Management, candidate: Candidate) -> None:
    found = versions.find(app, management)
    if candidate.version in found.ours:
        management.unregister(candidate.version)
    looked_at = {candidate.version} if candidate.refused else set()
    stage.sweep(app, keep=found.ours - {candidate.version} | looked_at)
