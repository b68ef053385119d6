"""Which versions of the model the server has, which is live, and how one gives way to another.

    live        the default version: it answers those who name none
    previous    was live before, and stays for `rollback` and `compare`
    kept        was registered by `make register`, and stays until `make unregister` or a redeploy

All others that this toolkit has registered are retired: drained and removed. A version that the
user has registered by other means is never touched.
"""

import time
from dataclasses import dataclass, replace

from loop import ready, server, stage
from loop.frontend import Frontend
from loop.management import Management, ready_workers
from loop.settings import Settings
from smoke import endpoint, replies
from smoke.client import Client
from smoke.fault import Fault

# A version that is still busy then is left for the next reload to retire.
DRAIN_SECONDS = 30.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Versions:
    """The versions that are registered.

    Attributes:
        live: the default one.
        previous: the one that was live before, if it is still there.
        all: every one.
        ours: those that this toolkit has registered.
        kept: those of them that the user has asked for.
    """

    live: str
    previous: str | None
    all: frozenset[str]
    ours: frozenset[str]
    kept: frozenset[str]


def find(app: Settings, management: Management) -> Versions:
    """Ask the server for its versions. Raises what `Management` raises."""
    names = frozenset(str(each["modelVersion"]) for each in management.versions())
    record = server.recorded(app)
    started = {record.version} if record else set()
    ours = names & (started | stage.staged(app))
    live = management.live()
    previous = record.previous if record and record.previous in names - {live} else None
    kept = names & frozenset(record.kept if record else ())
    return Versions(live, previous, names, ours, kept)


def require(found: Versions, version: str) -> None:
    """Raise Fault unless the server has a version."""
    if version not in found.all:
        raise Fault(
            f"there is no version {version}", f"`make models` lists {', '.join(sorted(found.all))}"
        )


def keep(app: Settings, version: str, kept: bool) -> None:
    """Remember whether the user wants a version to stay."""
    if record := server.recorded(app):
        others = tuple(each for each in record.kept if each != version)
        server.record(app, replace(record, kept=(*others, version) if kept else others))


def promote(app: Settings, management: Management, version: str, instead_of: str) -> None:
    """Make a version live, and remember what it replaces."""
    record = server.recorded(app)
    if record is not None:
        server.record(app, replace(record, previous=instead_of))
    try:
        # Last, since it cannot be half done.
        management.set_default(version)
    except Fault:
        if record is not None:
            server.record(app, record)
        raise
    ready.note_endpoint(app, version)


def retire(app: Settings, management: Management) -> None:
    """Remove our versions that nobody wants any more, without losing a request."""
    found = find(app, management)
    staying = {found.live, found.previous, *found.kept}
    for version in found.ours - staying:
        if drained(app, management, version):
            management.unregister(version)
        else:
            staying.add(version)
    stage.sweep(app, keep=[each for each in staying if each])


def drained(app: Settings, management: Management, version: str) -> bool:
    """Wait until all requests to a version have been answered, that is not live any more.

    None is waiting, and none is with a worker: the second is asked of the log, and for a while,
    since a request may be on its way from the queue to the log. One that may be batched waits there
    for others.

    Returns:
        False if it takes too long.
    """
    described = management.describe(version)
    workers = ready_workers(described)
    batching = described["maxBatchDelay"] / 1000 if described["batchSize"] > 1 else 0.0
    frontend = Frontend(app, version)
    began = busy = time.monotonic()
    while workers and time.monotonic() < busy + 2 * POLL_SECONDS + batching:
        time.sleep(POLL_SECONDS)
        waiting = management.describe(version)["jobQueueStatus"]["pendingRequests"]
        if waiting or frontend.says_busy():
            busy = time.monotonic()
        if busy > began + DRAIN_SECONDS:
            return False
    if workers and frontend.says_busy() is None:
        _ask_each_worker(app, version, workers)
    return True


def _ask_each_worker(app: Settings, version: str, workers: int) -> None:
    """Where the log is silent: the queue is first in, first out, so an answer comes after others.

    With several workers, one may still be at an earlier request, and the log would have told.
    """
    found = endpoint.find(app.app, None, None, version)
    client = Client(found.url, found.token, workers, read_seconds=DRAIN_SECONDS)
    replies.collect(client, [ready.question(app)] * workers, threads=workers)
