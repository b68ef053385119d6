"""A version of the tree beside the live one, for as long as somebody looks at it."""

import contextlib
import signal
import time
from collections.abc import Iterator

from loop import cause, package, stage, versions
from loop.budget import Budget
from loop.frontend import Frontend
from loop.management import Management, ready_workers
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import Fault, Refused

POLL_SECONDS = 0.004
# TorchServe's own time-out for a load comes first.
GRACE_SECONDS = 5.0


@contextlib.contextmanager
def registered(
    app: Settings, management: Management, packed: Contents, budget: Budget
) -> Iterator[None]:
    """Have a version loaded in a process of its own; after that, and whatever goes wrong, it is
    taken away again, unless it is live by then, or was there before.

    Raises:
        Refused: it does not load.
        Unanswered: the server does not answer.
        OSError: there is no room for it.
    """
    version = packed.version
    known = management.knows(version)
    try:
        package.remember(app, packed)
        stage.stage(app, packed)
        budget.spent("stage")
        if not known:
            register(app, management, version)
            budget.spent("register")
        yield
    finally:
        if not known:
            with uninterrupted(), contextlib.suppress(Fault):
                _take_away(app, management, version)


def register(app: Settings, management: Management, version: str) -> None:
    """Have a staged version loaded.

    Raises:
        Refused: it does not load.
        Unanswered: the server does not answer.
    """
    mark = cause.mark(app)
    frontend = Frontend(app, version)
    management.register(str(stage.folder(app, version)), app.workers)
    described = management.describe(version)
    deadline = time.monotonic() + described["startupTimeout"] + GRACE_SECONDS
    while ready_workers(described) < app.workers:
        # TorchServe would try again for five minutes.
        if frontend.says_stopped() or time.monotonic() > deadline:
            frontend.wait_for_last_words()
            why = cause.of_model(app, version, mark)
            raise Refused(f"{app.name} {version} does not load", why)
        time.sleep(POLL_SECONDS)
        described = management.describe(version)


def _take_away(app: Settings, management: Management, version: str) -> None:
    found = versions.find(app, management)
    if found.live == version:
        return
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
