"""Ctrl-C, a polite kill and a closed terminal, for commands that have something to take back."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def exit_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, instead of ending the process on the spot."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


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
