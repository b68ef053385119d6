"""Change what the running server has of the model, and see that it is so before it is said.

    register     the tree's version, or one that is staged still, beside the live one
    default      make a version the live one
    rollback     make the previous version the live one again
    scale        have more or fewer workers
    unregister   take a version away, drained

Whatever would leave nothing serving is refused.
"""

import contextlib
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import psutil

from loop import (
    candidate,
    failures,
    launch,
    lock,
    package,
    ready,
    reload,
    server,
    settings,
    stage,
    versions,
    workers,
)
from loop.budget import Budget
from loop.checks import deploy
from loop.management import Management, memory, ready_workers
from loop.package import Contents
from loop.settings import Settings
from loop.signals import uninterrupted
from loop.versions import Versions
from smoke.fault import Fault, Refused, Unanswered, run

VERB = os.environ.get("VERB", "manage")
# Where there is none to measure: Python with torch and transformers, in bytes.
SMALLEST_WORKER = 250 << 20


def register(app: Settings, management: Management, given: Namespace) -> None:
    """Have a version loaded beside the live one, where it stays until it is unregistered."""
    if why := reload.needs_redeploy(app):
        raise Refused(why, "a new version takes `make redeploy` then")
    live, tree = management.live(), package.contents(app)
    if (given.version or tree.version) == live:
        answers_or_refused(app, management, live)
        versions.keep(app, live, True)
        print(f"{app.name} {live} is the live one, and stays when another takes its place")
        return
    with loaded(app, management, tree, given.version) as version:
        answers_or_refused(app, management, version)
        with uninterrupted():
            versions.keep(app, version, True)
    print(f"{app.inference_url}/{version} answers, beside {live}, the live one")


@contextlib.contextmanager
def loaded(
    app: Settings, management: Management, tree: Contents, version: str | None
) -> Iterator[str]:
    """Have a version loaded, by default the tree's; what fails takes it away again.

    Raises:
        Fault: there is no such version any more.
        Refused: it does not load.
    """
    if version is None or version == tree.version:
        deploy.refuse_bad(app, tree, VERB)
        with candidate.registered(app, management, tree, Budget()) as new:
            yield new.version
            new.stays = True
            package.remember(app, tree)
        return
    found = versions.find(app, management)
    built = package.built_version(app.archive)
    known = stage.staged(app) | found.all | ({built} if built else set())
    if version not in known:
        raise Fault(
            f"there is no version {version} to load",
            f"there still are {', '.join(sorted(known | {tree.version}))}",
        )
    if version in found.all:
        yield version
        return
    try:
        workers.register(app, management, version)
        yield version
    except BaseException:
        with uninterrupted(), contextlib.suppress(Fault):
            management.unregister(version)
        raise


def default(app: Settings, management: Management, given: Namespace) -> None:
    """Make a version the live one, that is registered."""
    found = versions.find(app, management)
    versions.require(found, given.version)
    if given.version == found.live:
        print(f"{app.name} serves {found.live} already")
        return
    switch(app, management, found, given.version)
    print(f"{app.name} serves {given.version}; `make rollback` goes back to {found.live}")


def rollback(app: Settings, management: Management, given: Namespace) -> None:
    """Make the previous version live again: it is still loaded, so this takes no time."""
    found = versions.find(app, management)
    if found.previous is None:
        raise Fault("no other version has been live since the server began", "edit, and reload")
    switch(app, management, found, found.previous)
    print(f"{app.name} serves {found.previous} again; `make rollback` goes back to {found.live}")


def switch(app: Settings, management: Management, found: Versions, version: str) -> None:
    """Make a version live that answers, and see that it is.

    Raises:
        Refused: it does not answer, and what was live is.
    """
    answers_or_refused(app, management, version)
    with uninterrupted():
        versions.promote(app, management, version, instead_of=found.live)
    if (live := management.live()) != version:
        raise Refused(f"{live} is live, not {version}", "somebody else has switched: again")


def scale(app: Settings, management: Management, given: Namespace) -> None:
    """Have more or fewer workers of a version, by default the live one."""
    found = versions.find(app, management)
    version = given.version or found.live
    versions.require(found, version)
    if version == found.live and given.workers == 0:
        raise Refused(
            f"{version} is live, and without a worker nothing would serve", "give 1 or more"
        )
    refuse_what_does_not_fit(management, version, given.workers)
    before = workers.scale(app, management, version, given.workers)
    if given.workers > before:
        try:
            answers_or_refused(app, management, version)
        except Fault:
            workers.scale(app, management, version, before)
            raise
    print(f"{app.name} {version} has {counted(given.workers)}; it had {before}")
    cores, threads = launch.threads(1), launch.threads(app.workers)
    if given.workers > before and given.workers * threads > cores:
        print(
            f"scale: {counted(given.workers)} of {threads} threads each share {cores} cores:"
            " minWorkers in model-config.yaml and a redeploy share them out",
            file=sys.stderr,
        )


def refuse_what_does_not_fit(management: Management, version: str, number: int) -> None:
    """Raise Refused where so many workers need more memory than there is.

    TorchServe starts them all at once, and the system would end whatever it finds largest. What
    workers share with the warm process is counted in each, so this errs on the safe side.
    """
    there = management.describe(version)["workers"]
    each = max(map(memory, there), default=0) or SMALLEST_WORKER
    room = int(psutil.virtual_memory().available / each)
    if number - len(there) > room:
        raise Refused(
            f"{number} workers of {each / 2**20:.0f} MiB do not fit into memory",
            f"give {len(there) + room} or fewer",
        )


def counted(number: int) -> str:
    """A number of workers, in words."""
    return f"{number} worker{'' if number == 1 else 's'}"


def unregister(app: Settings, management: Management, given: Namespace) -> None:
    """Take a version away, once it has answered what it was asked."""
    found = versions.find(app, management)
    versions.require(found, given.version)
    if given.version == found.live:
        others = ", ".join(sorted(found.all - {found.live}))
        cure = f"make another live first: {others}" if others else "`make stop` ends the server"
        raise Refused(f"{found.live} is live, and nothing would serve", cure)
    if not versions.drained(app, management, given.version):
        raise Refused(f"{given.version} is still busy", "wait, then again")
    with uninterrupted():
        management.unregister(given.version)
        versions.keep(app, given.version, False)
    print(f"{app.name} {given.version} is gone, drained; {found.live} serves")


def answers_or_refused(app: Settings, management: Management, version: str) -> None:
    """Raise Refused, with the cause, unless a version answers a real question."""
    if not ready_workers(management.describe(version)):
        raise Refused(
            f"{app.name} {version} has no worker", f"`make scale WORKERS=1 VERSION={version}`"
        )
    since = time.time()
    if failure := ready.failure(app, version):
        why = failures.of_replies(app, [failure], since)[failure]
        raise Refused(f"{app.name} {version} does not answer: {failure}", str(why))


COMMANDS = {each.__name__: each for each in (register, default, rollback, scale, unregister)}


def arguments(command: str) -> Namespace:
    """What bin/ was told after the command. Raises Fault."""
    parser = ArgumentParser(prog=VERB, allow_abbrev=False)
    if command == "register":
        parser.add_argument("version", nargs="?")
    elif command == "scale":
        parser.add_argument("workers", type=number)
        parser.add_argument("--version")
    elif command != "rollback":
        parser.add_argument("version")
    return parser.parse_args(sys.argv[2:])


def number(text: str) -> int:
    """A number of workers. Raises Fault."""
    if not text.isdecimal():
        raise Fault(f"{text} is no number of workers", "give a whole number, such as WORKERS=2")
    return int(text)


def main() -> int:
    """`python -m loop.manage COMMAND …`, for the scripts in bin/."""
    command = sys.argv[1]
    given = arguments(command)
    app = settings.read_model(os.environ["APP"])
    settings.link_run_folder(app)
    with lock.held(app, VERB):
        if server.find(app) is None:
            raise Unanswered("the server is not running", "start it with `make redeploy`")
        app = settings.as_started(app)
        COMMANDS[command](app, Management(app), given)
    return 0


if __name__ == "__main__":
    run(VERB, main)
