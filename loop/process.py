"""Whether processes have ended, and what those that we start inherit."""

import os
import time
from collections.abc import Iterable

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. A zombie has ended: it only waits for a parent that may be slow to look."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def users_environment() -> dict[str, str]:
    """The environment as the user has it.

    A script of ours that starts Python for us sets PYTHONPATH and leaves the user's own in
    USER_PYTHONPATH: with the toolkit on its path, a worker of any app would import the handler.py
    that lies there.
    """
    kept = {name: value for name, value in os.environ.items() if name != "USER_PYTHONPATH"}
    theirs = os.environ.get("USER_PYTHONPATH")
    kept.pop("PYTHONPATH", None)
    return kept | {"PYTHONPATH": theirs} if theirs else kept


def outlast(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended; those that have not, after so many seconds."""
    deadline = time.monotonic() + seconds
    while (alive := [each for each in processes if is_alive(each)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    return alive
