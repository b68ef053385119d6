"""One deploy of an app at a time.

`python -m loop.lock APP COMMAND…` takes the app's lock and becomes the command. The lock is an open
file that the command and its children inherit, so it is free the moment the last of them is gone,
however it ended. A server that is launched must not inherit it: bin/start.sh closes it.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from loop import settings
from smoke.fault import run

# The number by which bash closes it: `9>&-`.
DESCRIPTOR = 9


def take(path: Path, verb: str) -> None:
    """Take the lock on descriptor 9, waiting for its holder, who is named on stderr."""
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
    os.dup2(descriptor, DESCRIPTOR, inheritable=True)


def main() -> int:
    """Take the lock of APP, then become the command, with the settings in its environment."""
    app = settings.read(os.environ["APP"])
    take(app.run / "lock", os.environ.get("VERB", "lock"))
    settings.link_run_folder(app)
    os.environ |= settings.for_shell(app)
    os.environ["LOOP_LOCK"] = str(DESCRIPTOR)
    os.environ["PYTHONPATH"] = os.environ.pop("USER_PYTHONPATH", "")
    if not os.environ["PYTHONPATH"]:
        del os.environ["PYTHONPATH"]
    # Python ignores it, and a command would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the script itself, no shell wanted


if __name__ == "__main__":
    run(os.environ.get("VERB", "lock"), main)
