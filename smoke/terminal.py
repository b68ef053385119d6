"""What a terminal can show: its width, its colours, any text on one line."""

import os
import shutil
import sys
import time
import unicodedata
from typing import Self, TextIO

WIDTH_OF_FILES = 100
CODES = {"red": "31", "green": "32", "yellow": "33", "dim": "2"}
CLEAR_LINE = "\r\x1b[K"
# Before that, a rate says little.
PACE_SECONDS = 2.0


def width() -> int:
    """The columns to fill; a fixed number where output goes to a file or pipe."""
    return shutil.get_terminal_size((WIDTH_OF_FILES, 24)).columns


def has_colour(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream`; NO_COLOR is honoured."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def can_redraw(stream: TextIO) -> bool:
    """Whether what was printed to `stream` can be printed over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def up(lines: int) -> str:
    """What goes back to the begin of so many lines, and clears them."""
    return f"\x1b[{lines}F\x1b[J" if lines else ""


def paint(text: str, colour: str, on: bool) -> str:
    """`text` in one of the `CODES`, or as it is where colour is not `on`."""
    return f"\x1b[{CODES[colour]}m{text}\x1b[0m" if on else text


def escape(text: str) -> str:
    """`text` on one line, with whatever does not print, or moves the cursor, as its escape."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def cells(text: str) -> int:
    """How many columns printable `text` takes: two for wide characters, none for combining ones."""
    return sum(_cells(each) for each in text)


def fit(text: str, columns: int) -> str:
    """Printable `text`, cut to at most `columns` with an ellipsis if it is longer."""
    if cells(text) <= columns:
        return text
    used = 0
    for position, each in enumerate(text):
        used += _cells(each)
        if used > columns - 1:
            return f"{text[:position]}…"
    return text


def pad(text: str, columns: int) -> str:
    """Printable `text`, filled with spaces to `columns`."""
    return text + " " * (columns - cells(text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Progress:
    """A count on stderr, with its rate and the time left, that goes away at the end.

    Nothing where stderr is not a terminal.
    """

    def __init__(self, verb: str, total: int, before: int = 0) -> None:
        self._verb = verb
        self._total = total
        self._before = before
        self._began = time.monotonic()
        self._due = 0.0 if sys.stderr.isatty() else float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty():
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)

    def __call__(self, done: int) -> None:
        """Show that `done` of the total are done, at most ten times a second."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + 0.1
        pace = self._pace(done, now - self._began)
        line = f"{self._verb}: {self._before + done:,} of {self._total:,}{pace}"
        print(f"{CLEAR_LINE}{line}", end="", file=sys.stderr, flush=True)

    def _pace(self, done: int, seconds: float) -> str:
        if not done or seconds < PACE_SECONDS:
            return ""
        rate = done / seconds
        left = duration((self._total - self._before - done) / rate)
        return f" · {rate:.0f} a second · {left} left"


def duration(seconds: float) -> str:
    """A time as a person says it: 48 s, 2 min 5 s, 1 h 12 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min {seconds % 60:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min"
