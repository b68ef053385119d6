"""Who may write an app's goldens and their proposal: nobody in CI, else one at a time; and who may
write the results of a run: one at a time, anywhere.

A lock is an open file, so it is free the moment its holder is gone, however that ended.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from smoke.fault import Fault


def in_ci() -> bool:
    """Whether this is a run that nobody watches (`CI=true`), where smoke/ is only read."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@contextlib.contextmanager
def held(app: Path, verb: str) -> Iterator[None]:
    """Be the only one who writes an app's goldens, for as long as the `with` block runs.

    Raises:
        Fault: this is CI, or another is at it, who is named.
    """
    if in_ci():
        raise Fault(
            f"CI={os.environ['CI']}, where nothing is written into {app / 'smoke'}",
            "do it where you work, and commit the files",
        )
    with _alone(app, "lock", verb, f"has the goldens of {app} in hand"):
        yield


def asking(app: Path, verb: str) -> contextlib.AbstractContextManager[None]:
    """Be the only run of an app's samples, for as long as the `with` block runs.

    Raises:
        Fault: another is at it, who is named.
    """
    return _alone(app, "run.lock", verb, f"is asking the samples of {app}")


@contextlib.contextmanager
def _alone(app: Path, name: str, verb: str, doing: str) -> Iterator[None]:
    path = app / ".run" / "smoke" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as holder:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder.seek(0)
            who = holder.read() or "another command"
            raise Fault(f"{who} {doing}", "end that first") from None
        holder.truncate(0)
        holder.write(f"{verb} (pid {os.getpid()})")
        holder.flush()
        yield
