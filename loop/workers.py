"""A version's workers: have them load it, and have more or fewer of them."""

import time
from collections.abc import Callable
from typing import Any

from loop import failures, stage
from loop.frontend import Frontend
from loop.management import Management, ready_workers
from loop.settings import Settings
from smoke.fault import Fault, Refused

POLL_SECONDS = 0.002
ASK_SECONDS = 0.25
FAILED = {"WORKER_ERROR", "WORKER_STOPPED"}
# TorchServe's own time-out for a load comes first.
GRACE_SECONDS = 5.0
IDLE_SECONDS = 2.0
GONE_SECONDS = 10.0


def register(
    app: Settings,
    management: Management,
    version: str,
    wanted: Callable[[], None] = lambda: None,
) -> None:
    """Have a version loaded, by as many workers as the app is set to have.

    It comes from its staged folder, or from the archive where none is staged.

    Args:
        wanted: called now and then; raises what is to end the wait for the load.

    Raises:
        Refused: it does not load.
        Unanswered: the server does not answer.
    """
    frontend = Frontend(app, version)
    staged = version in stage.staged(app)
    url = str(stage.folder(app, version)) if staged else app.archive.name
    management.register(url, app.workers)
    _wait_for_load(app, management, frontend, version, app.workers, app.workers, wanted)


def scale(app: Settings, management: Management, version: str, number: int) -> int:
    """Have a version served by so many workers.

    TorchServe answers "Worker died" to a request whose worker it takes away, so it is asked for
    fewer in a moment when none is busy, if one comes.

    Returns:
        how many there were.

    Raises:
        Refused: another worker does not load it; there are as many as before.
        Unanswered: the server does not answer.
    """
    frontend = Frontend(app, version)
    before = count(management, version)
    if number < before:
        _wait_until_idle(frontend)
    management.scale(version, number)
    try:
        if number > before:
            _wait_for_load(app, management, frontend, version, number - before, number)
    except BaseException:
        management.scale(version, before)
        raise
    _wait_until_gone(management, version, number)
    return before


def count(management: Management, version: str) -> int:
    """How many workers a version has, whether they have loaded it or not."""
    return len(management.describe(version)["workers"])


def _wait_for_load(
    app: Settings,
    management: Management,
    frontend: Frontend,
    version: str,
    new: int,
    all_in_all: int,
    wanted: Callable[[], None] = lambda: None,
) -> None:
    """Wait until so many new workers have loaded a version, or all that it is to have."""
    since = time.time()
    described: dict[str, Any] = {}
    began = asked = time.monotonic()
    while (states := frontend.states()).count("WORKER_MODEL_LOADED") < new:
        now = time.monotonic()
        # The log tells sooner and costs TorchServe nothing, but a user may have turned it off.
        if now > asked + ASK_SECONDS:
            wanted()
            asked, described = now, management.describe(version)
            if ready_workers(described) >= all_in_all:
                return
        # After a failure, TorchServe would try again for five minutes.
        late = now > began + described.get("startupTimeout", now) + GRACE_SECONDS
        if late or FAILED & set(states):
            frontend.wait_for_last_words()
            why = failures.why(app, version, since)
            raise Refused(f"{app.name} {version} does not load", str(why))
        time.sleep(POLL_SECONDS)


def _wait_until_idle(frontend: Frontend) -> None:
    deadline = time.monotonic() + IDLE_SECONDS
    while frontend.says_busy() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _wait_until_gone(management: Management, version: str, number: int) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while (left := count(management, version)) > number:
        if time.monotonic() > deadline:
            raise Fault(f"{version} still has {left} workers", "see `make logs`, then again")
        time.sleep(POLL_SECONDS)
