"""Whether processes have ended."""

import time
from collections.abc import Iterable

import psutil


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs. A zombie has ended: it only waits for a parent that may be slow to look."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def outlast(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended; those that have not, after so many seconds."""
    deadline = time.monotonic() + seconds
    while (alive := [each for each in processes if is_alive(each)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    return alive
