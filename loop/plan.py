"""What a redeploy has to do, found out before it touches anything."""

import os

from loop import gpu, launch, package, ready, server, settings
from loop.settings import Settings
from smoke.fault import run


def main() -> int:
    """Check that a redeploy can work, and print for bash what it has to do.

    SERVING: the version that is served already, if that is all a redeploy would come to.
    RUNNING: the pid of the server that is to be restarted, if there is one.
    """
    app = settings.read(os.environ["APP"])
    running = server.find(app)
    serving = _served_already(app) if running else None
    if serving is None:
        launch.check(app)
    print(f"SERVING={serving or ''}")
    print(f"RUNNING={running.pid if running else ''}")
    return 0


def _served_already(app: Settings) -> str | None:
    """The version that is served, if a redeploy would serve no other and it answers."""
    record = server.recorded(app)
    wanted = (package.contents(app).version, server.config_hash(app), gpu.requested())
    if record is None or (record.version, record.config, record.gpu) != wanted:
        return None
    return record.version if ready.answers(app) else None


if __name__ == "__main__":
    run(os.environ.get("VERB", "plan"), main)
