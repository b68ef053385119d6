"""A reload at each save of what is packed.

What counts is content: an editor's temporary files, a cache, a save without a change alter no hash,
so nothing happens. A save that comes during a reload supersedes it: of a burst of saves, only the
last is judged.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import watchfiles

from loop import gate, lock, package, reload, server, settings
from loop.gate import Gate
from loop.process import users_environment
from loop.settings import Settings
from smoke.fault import Fault, run

# A save is over when the folder has been quiet for this long: some editors truncate, then write.
QUIET_MS = 5
# Some file systems, of containers and networks, tell of no change: so look now and then.
LOOK_MS = 2000
RENAME_SECONDS = 0.3


def watch(folder: Path, kind: Gate, redeploy: str) -> None:
    """Bring the server up to the tree, and again at each save; never returns.

    Args:
        folder: the app's.
        redeploy: the command for what a reload cannot do.
    """
    done = None
    for number, _ in enumerate(occasions(folder)):
        if state(folder) != done:
            done = turn(folder, kind, redeploy)
        if number == 0:
            print(f"watch: watching {folder}; Ctrl-C ends the watch, not the server", flush=True)


def state(folder: Path) -> str:
    """What the tree comes to: the same string for the same content."""
    try:
        app = settings.read(folder)
        return f"{package.contents(app).version} {package.digest(app.config.read_bytes())}"
    except (Fault, OSError) as error:
        return str(error)


def occasions(folder: Path) -> Iterator[None]:
    """Yield at once, then whenever something happens in the folders of what is packed."""
    yield
    while True:
        watched = places(folder)
        for _ in watchfiles.watch(
            *{path for path, _ in watched},
            watch_filter=None,
            recursive=False,
            step=QUIET_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
        ):
            yield
            # A training run may have put another folder in the place of torch_model/.
            if places(folder) != watched:
                break


def places(folder: Path) -> set[tuple[Path, int]]:
    """The folders to watch, with their inodes; where a file is a link, its target's folder too."""
    files = [folder / "handler.py"]
    with contextlib.suppress(Fault, OSError):
        files += package.contents(settings.read(folder)).files
    found = {folder, *(file.parent for file in files), *(file.resolve().parent for file in files)}
    return {(each, each.stat().st_ino) for each in found if each.is_dir()}


def turn(folder: Path, kind: Gate, redeploy: str) -> str | None:
    """One turn of the loop: reload, and print the verdict, whatever it is.

    Returns:
        the state of the tree that it is about; None if that has changed meanwhile, and there is no
        verdict.
    """
    verb = time.strftime("%H:%M:%S")
    tree = state(folder)
    try:
        app = settings.read(folder)
        settings.link_run_folder(app)
        with lock.held(app, "watch"):
            # It may have been saved again while another command had the lock.
            tree = state(folder)
            why = reload.needs_redeploy(app)
            if why is None:
                reload.reload(settings.as_started(app), kind, verb, latest=True)
        if why is not None:
            print(f"{verb}: {why}: it takes a redeploy", flush=True)
            _redeploy(app, redeploy, kind, verb)
    except reload.Superseded:
        return None
    except (Fault, OSError) as fault:
        if not (folder / "handler.py").exists():
            # Some editors move the old file away before they write the new one.
            time.sleep(RENAME_SECONDS)
        if state(folder) != tree:
            return None
        reload.refusal(verb, fault)
    return tree


def _redeploy(app: Settings, command: str, kind: Gate, verb: str) -> None:
    """Redeploy, and ask the samples: here the gate only shows."""
    process = subprocess.Popen([command], env=users_environment())
    while True:
        # Ctrl-C is the redeploy's too: it puts back what it has begun, and is not to be cut short.
        with contextlib.suppress(KeyboardInterrupt):
            code = process.wait()
            break
    if code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if code == 0 and kind is not Gate.NONE:
        try:
            began = time.perf_counter()
            comparisons = gate.ask(app, None, gate.load(app, kind))
            gate.show(comparisons, kind, verb, time.perf_counter() - began)
        except Fault as fault:
            print(f"{verb}: {fault}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _alone(app: Settings) -> Iterator[None]:
    """See that nobody else watches the app: each save would be reloaded twice."""
    with (app.run / "watch.lock").open("a+", encoding="utf-8") as holder:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder.seek(0)
            raise Fault(f"pid {holder.read()} is watching {app.app}", "end that one") from None
        holder.truncate(0)
        holder.write(str(os.getpid()))
        holder.flush()
        yield


def main() -> int:
    """`python -m loop.watch COMMAND`: watch until Ctrl-C; COMMAND redeploys."""
    app = settings.read_model(os.environ["APP"])
    kind = gate.requested()
    settings.link_run_folder(app)
    with _alone(app):
        try:
            watch(app.app, kind, sys.argv[1])
        except KeyboardInterrupt:
            process = server.find(app)
            runs = f"{app.inference_url} runs on; `make stop` ends it"
            print(f"\nwatch: ended; {runs if process else 'no server runs'}")
    return 0


if __name__ == "__main__":
    run("watch", main)
