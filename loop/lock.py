"""One deploy of an app at a time.

A command that is all Python holds the lock with `held`. For a script, `python -m loop.lock COMMAND`
takes the lock of APP and becomes the command. The lock is an open file that the command and its
children inherit, so it is free the moment the last of them is gone, however it ended. A server that
is launched must not inherit it: bin/start.sh closes it.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from loop import settings
from loop.process import users_environment
from loop.settings import Settings
from smoke.fault import run

# The number by which bash closes it: `9>&-`.
DESCRIPTOR = 9


@contextlib.contextmanager
def held(app: Settings, verb: str) -> Iterator[None]:
    """Hold the app's lock, waiting for its holder. A script that called us may hold it already."""
    if os.environ.get("LOOP_LOCK"):
        yield
        return
    descriptor = take(app.run / "lock", verb)
    try:
        yield
    finally:
        os.close(descriptor)


def take(path: Path, verb: str) -> int:
    """Take the lock, waiting for its holder, who is named on stderr.

    Returns:
        the open file; the lock is free again when it is closed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        print(f"{verb}: waiting for {holder or 'another deploy of this app'}", file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{verb} (pid {os.getpid()}, {time.strftime('%H:%M:%S')})".encode(), 0)
    return descriptor


def main() -> int:
    """Take the lock of APP, then become the command, with the settings in its environment."""
    app = settings.read(os.environ["APP"])
    descriptor = take(app.run / "lock", os.environ.get("VERB", "lock"))
    os.dup2(descriptor, DESCRIPTOR, inheritable=True)
    settings.link_run_folder(app)
    os.environ |= settings.for_shell(app)
    os.environ["LOOP_LOCK"] = str(DESCRIPTOR)
    # Python ignores it, and a command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvpe(sys.argv[1], sys.argv[1:], users_environment())  # noqa: S606 - the script itself, no shell wanted


if __name__ == "__main__":
    run(os.environ.get("VERB", "lock"), main)
