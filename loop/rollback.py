"""Back to the version that was live before: it is still loaded, so this takes no time."""

import os
import time

from loop import failures, lock, ready, server, settings, versions
from loop.management import Management
from loop.signals import exit_on_signals, uninterrupted
from smoke.fault import Fault, Refused, Unanswered, run


def main() -> int:
    """Make the previous version live, if it answers; what was live is the previous one then."""
    app = settings.read_model(os.environ["APP"])
    settings.link_run_folder(app)
    exit_on_signals()
    with lock.held(app, "rollback"):
        if server.find(app) is None:
            raise Unanswered("the server is not running", "start it with `make redeploy`")
        app = settings.as_started(app)
        management = Management(app)
        found = versions.find(app, management)
        if found.previous is None:
            raise Fault("no other version has been live since the server began", "edit, and reload")
        since = time.time()
        if failure := ready.failure(app, found.previous):
            why = failures.of_replies(app, [failure], since)[failure]
            raise Refused(f"{app.name} {found.previous} does not answer: {failure}", str(why))
        with uninterrupted():
            versions.promote(app, management, found.previous, instead_of=found.live)
    print(f"{app.name} serves {found.previous} again; `make rollback` goes back to {found.live}")
    return 0


if __name__ == "__main__":
    run("rollback", main)
