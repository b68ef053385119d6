"""What the server has: each version of each model, its workers, its device, memory and queue."""

import os
from typing import Any

from loop import server, settings, versions
from loop.management import Management, device, memory, ready_workers
from loop.settings import Settings
from smoke.fault import Unanswered, run
from smoke.terminal import pad

HEAD = ("model", "version", "state", "workers", "device", "memory", "waiting", "batch")


def main() -> int:
    """Print a line for each version."""
    app = settings.read(os.environ["APP"])
    if server.find(app) is None:
        raise Unanswered("the server is not running", "start it with `make redeploy`")
    rows = [HEAD, *rows_of(settings.as_started(app))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        print("  ".join(map(pad, row, widths)).rstrip())
    return 0


def rows_of(app: Settings) -> list[tuple[str, ...]]:
    """The app's own model first; then those that others have registered, or a workflow has."""
    management = Management(app)
    rows = [] if app.is_workflow else own_rows(app, management)
    for name in sorted(management.names() - {app.name}):
        other = Management(app, name)
        rows += [row(each, {other.live(): "live"}) for each in other.versions()]
    return rows


def own_rows(app: Settings, management: Management) -> list[tuple[str, ...]]:
    """The versions of the app's own model, and what each of them is to us."""
    found = versions.find(app, management)
    states = dict.fromkeys(found.kept, "kept")
    states |= {found.previous or "": "previous", found.live: "live"}
    return [row(each, states) for each in management.versions()]


def row(described: dict[str, Any], states: dict[str, str]) -> tuple[str, ...]:
    """What TorchServe says of a version, in the columns of `HEAD`."""
    version, workers = str(described["modelVersion"]), described["workers"]
    delay = f" ({described['maxBatchDelay']} ms)" if described["batchSize"] > 1 else ""
    return (
        described["modelName"],
        version,
        states.get(version, ""),
        f"{ready_workers(described)} of {described['minWorkers']}",
        ", ".join(sorted({device(each) for each in workers})),
        f"{sum(map(memory, workers)) / 2**20:.0f} MiB",
        str(described["jobQueueStatus"]["pendingRequests"]),
        f"{described['batchSize']}{delay}",
    )


if __name__ == "__main__":
    run("models", main)
