"""What a redeploy has to do, found out before it touches anything."""

import os
import sys

from loop import contents, launch, ready, reload, server, settings, stage
from loop.checks import deploy
from loop.management import Management
from loop.settings import Settings
from smoke.fault import Fault, run

VERB = os.environ.get("VERB", "plan")


def plan(app: Settings) -> None:
    """Check that a redeploy can work, and print for bash what it has to do.

    SERVING: the version that is served already, if that is all a redeploy would come to.
    RUNNING: the pid of the server that is to be restarted, if there is one.
    RELOADED: the version that it serves, if that is another than its archive's.
    """
    running = server.find(app)
    serving = _served_already(app) if running else None
    if serving is None:
        deploy.refuse_bad(app, contents.of(app), VERB)
        gpus = launch.check(app)
        # It imports while the archive is built and the old server stops.
        launch.warm_up(app, gpus)
        if running:
            _say_what_goes(app)
    print(f"SERVING={serving or ''}")
    print(f"RUNNING={running.pid if running else ''}")
    print(f"RELOADED={_reloaded(app) if running else ''}")


def _say_what_goes(app: Settings) -> None:
    """A server begins with its archive alone: say which versions of the user's go."""
    if (record := server.recorded(app)) and record.kept:
        print(
            f"{VERB}: {', '.join(record.kept)} will not be registered any more:"
            " `make register` from a tree like theirs",
            file=sys.stderr,
        )


def _served_already(app: Settings) -> str | None:
    """The version that is served, if a redeploy would serve no other and it answers."""
    record = server.recorded(app)
    if record is None or record.version != contents.of(app).version:
        return None
    if launch.started_with(app) != launch.request(app) or _reloaded(app):
        return None
    return record.version if ready.answers(app) else None


def _reloaded(app: Settings) -> str:
    """The live version, if it came by a reload; empty if not, or if the server does not say."""
    record = server.recorded(app)
    started = settings.as_started(app)
    try:
        live = Management(started).live()
    except Fault:
        return ""
    return live if live in stage.staged(app) and record and live != record.version else ""


def main() -> int:
    """`python -m loop.plan`, for bin/redeploy.sh."""
    app = settings.read(os.environ["APP"])
    try:
        plan(app)
    except (Fault, OSError) as fault:
        return reload.refusal(VERB, fault, "nothing was touched")
    return 0


if __name__ == "__main__":
    run(VERB, main)
