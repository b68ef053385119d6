"""Ctrl-C, a polite kill and a closed terminal, where they must not come between two steps.

What they do otherwise, `smoke.fault.run` says.
"""

import contextlib
import signal
from collections.abc import Iterator

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no signal come between steps that belong together: it comes after them."""
    came: list[int] = []
    before = [signal.signal(each, lambda number, _: came.append(number)) for each in NUMBERS]
    try:
        yield
    finally:
        for number, handler in zip(NUMBERS, before, strict=True):
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
