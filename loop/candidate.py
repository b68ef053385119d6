"""A version of the tree beside the live one, for as long as somebody looks at it."""

import contextlib
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from loop import cause, package, stage, versions
from loop.budget import Budget
from loop.frontend import Frontend
from loop.management import Management, ready_workers
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import Fault, Refused

POLL_SECONDS = 0.002
ASK_SECONDS = 0.25
FAILED = {"WORKER_ERROR", "WORKER_STOPPED"}
# TorchServe's own time-out for a load comes first.
GRACE_SECONDS = 5.0


@dataclass
class Candidate:
    """A version that is loaded for a while.

    Attributes:
        stays: whether it has become live, and is not to be taken away any more.
    """

    version: str
    stays: bool = False


@contextlib.contextmanager
def registered(
    app: Settings, management: Management, packed: Contents, known: Collection[str], budget: Budget
) -> Iterator[Candidate]:
    """Have a version loaded in a process of its own, and take it away again, whatever happens.

    Args:
        known: the versions that are registered already: they stay.

    Raises:
        Refused: it does not load.
        Unanswered: the server does not answer.
        OSError: there is no room for it.
    """
    candidate = Candidate(packed.version, stays=packed.version in known)
    try:
        package.remember(app, packed)
        stage.stage(app, packed)
        budget.spent("stage")
        if packed.version not in known:
            register(app, management, packed.version)
            budget.spent("register")
        yield candidate
    finally:
        if not candidate.stays:
            with uninterrupted(), contextlib.suppress(Fault):
                _take_away(app, management, packed.version)


def register(app: Settings, management: Management, version: str) -> None:
    """Have a staged version loaded.

    Raises:
        Refused: it does not load.
        Unanswered: the server does not answer.
    """
    mark = cause.mark(app)
    frontend = Frontend(app, version)
    management.register(str(stage.folder(app, version)), app.workers)
    described: dict[str, Any] = {}
    began = asked = time.monotonic()
    while (states := frontend.states()).count("WORKER_MODEL_LOADED") < app.workers:
        now = time.monotonic()
        # The log tells sooner and costs TorchServe nothing, but a user may have turned it off.
        if now > asked + ASK_SECONDS:
            asked, described = now, management.describe(version)
            if ready_workers(described) >= app.workers:
                return
        # After a failure, TorchServe would try again for five minutes.
        late = now > began + described.get("startupTimeout", now) + GRACE_SECONDS
        if late or FAILED & set(states):
            frontend.wait_for_last_words()
            why = cause.of_model(app, version, mark)
            raise Refused(f"{app.name} {version} does not load", why)
        time.sleep(POLL_SECONDS)


def _take_away(app: Settings, management: Management, version: str) -> None:
    found = versions.find(app, management)
    if version in found.ours:
        management.unregister(version)
    stage.sweep(app, keep=found.ours - {version})


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let neither Ctrl-C nor a polite kill come between two steps that belong together."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, signal.SIG_IGN) for each in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
