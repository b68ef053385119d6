"""The swap: the tree's version beside the live one, and in its place if it passes the gate.

Stage an immutable folder; register it with TorchServe, which loads it in a process of its own; ask
it the samples; make it live; retire what is no longer needed. Whatever fails before it is live
leaves the live version untouched.
"""

import os
import sys
import time
from collections.abc import Callable

from loop import (
    candidate,
    gate,
    launch,
    lock,
    package,
    server,
    settings,
    versions,
    workers,
)
from loop.budget import Budget
from loop.checks import deploy
from loop.gate import Gate
from loop.management import Management
from loop.settings import Settings
from loop.signals import uninterrupted
from smoke.fault import Fault, Refused, Unanswered, run
from smoke.suite import Suite

# The exit code by which bin/reload.sh knows.
NEEDS_REDEPLOY = 10


class Superseded(Exception):  # noqa: N818 - nothing went wrong
    """The tree has changed while it was being reloaded."""


def needs_redeploy(app: Settings) -> str | None:
    """Why a reload will not do; None if it will."""
    if server.find(app) is None:
        return "the server is not running"
    started, wanted = launch.started_with(app), launch.request(app)
    if started is None or started.config != wanted.config:
        return f"{app.config.name} has changed since the server read it"
    if os.environ.get("GPU", "").strip() and started.gpu != wanted.gpu:
        return f"the server was started with GPU={started.gpu}"
    if started.workers != wanted.workers:
        return f"{wanted.workers} workers share the cores, and it was started for {started.workers}"
    if app.flag("install_py_dep_per_model") and (app.app / "requirements.txt").exists():
        return "requirements.txt is installed while a version is registered, and nobody is answered"
    if not settings.as_started(app).flag("enable_model_api"):
        return f"{app.where('enable_model_api')} keeps the server from taking a new version"
    return None


def reload(app: Settings, kind: Gate, verb: str = "reload", latest: bool = False) -> None:
    """Swap the tree's version in and print the verdict; nothing to do if it is live already.

    Args:
        app: the settings that the server was started with.
        verb: what each printed line begins with.
        latest: whether to give up when the tree has changed again meanwhile.

    Raises:
        Superseded: it has, and nothing was done.
        Refused: the version is no good, and the live one has not been touched.
        Unanswered: the server does not answer.
        Fault: a file cannot be read.
        OSError: there is no room.
    """
    budget = Budget()
    management = Management(app)
    packed = package.contents(app)
    live = management.live()
    if packed.version == live:
        print(f"{verb}: nothing has changed: {app.name} serves {live} already", flush=True)
        versions.retire(app, management)
        return
    deploy.refuse_bad(app, packed, verb)
    loaded = gate.load(app, kind)
    budget.spent("prepare")

    def wanted() -> None:
        if latest and package.contents(app).version != packed.version:
            raise Superseded

    with candidate.registered(app, management, packed, budget, wanted) as new:
        if kind is not Gate.NONE:
            _examine(app, new.version, kind, loaded, verb, wanted, budget)
        wanted()
        with uninterrupted():
            versions.promote(app, management, new.version, instead_of=live)
            new.stays = True
    budget.spent("switch")
    try:
        print(f"{verb}: {app.name} serves {new.version} · {budget}", flush=True)
        package.remember(app, packed)
        versions.retire(app, management)
    except (Fault, OSError) as error:
        # The next reload clears away what this one has left.
        print(f"{verb}: {new.version} is live, but: {error}", file=sys.stderr)


def _examine(
    app: Settings,
    version: str,
    kind: Gate,
    loaded: Suite | None,
    verb: str,
    wanted: Callable[[], None],
    budget: Budget,
) -> None:
    """Put a version through the gate, and print how it did."""
    since = time.time()
    tally = gate.ask(app, version, loaded, wanted)
    seconds = budget.spent(f"{tally.size or 1} samples")
    wanted()
    gate.show(tally, kind, verb, seconds)
    gate.check(app, version, kind, tally, since)


def back_to(app: Settings, version: str) -> None:
    """Make a version live again that is staged still, on a server that has just been started.

    Raises:
        Refused: it does not load, or does not answer.
    """
    management = Management(app)
    live = management.live()
    workers.register(app, management, version)
    gate.ask(app, version, loaded=None)
    versions.promote(app, management, version, instead_of=live)
    print(f"reload: {app.name} serves {version} again")


def refusal(verb: str, fault: Fault | OSError, so: str = "what was serving goes on serving") -> int:
    """Say why a version did not become live, and what that comes to. Returns the exit code."""
    print(f"{verb}: {fault}", file=sys.stderr)
    if isinstance(fault, Unanswered):
        return fault.exit_code
    print(f"{verb}: refused: {so}", file=sys.stderr, flush=True)
    return Refused.exit_code


def main() -> int:
    """Reload the app, if that is enough; else exit NEEDS_REDEPLOY.

    `--back-to VERSION`, for bin/redeploy.sh, has a staged version serve again.
    """
    app = settings.read_model(os.environ["APP"])
    if "--back-to" in sys.argv:
        back_to(settings.as_started(app), sys.argv[-1])
        return 0
    kind = gate.requested()
    settings.link_run_folder(app)
    with lock.held(app, "reload"):
        try:
            if why := needs_redeploy(app):
                print(f"reload: {why}: it takes a redeploy", file=sys.stderr, flush=True)
                return NEEDS_REDEPLOY
            reload(settings.as_started(app), kind)
        except (Fault, OSError) as fault:
            return refusal("reload", fault)
    return 0


if __name__ == "__main__":
    run("reload", main)
