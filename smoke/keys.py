"""One key at a time from the terminal, without Enter where it allows that."""

import contextlib
import os
import sys
import termios
import tty
from types import TracebackType
from typing import Any, Self

END = ""
ESCAPE = b"\x1b"
CTRL_D = b"\x04"


class Keys:
    """The keys that are pressed while the `with` block runs; then the terminal is as before."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if os.environ.get("TERM") != "dumb":
            with contextlib.suppress(termios.error):
                self._before = termios.tcgetattr(self._descriptor)
                tty.setcbreak(self._descriptor, termios.TCSADRAIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    @property
    def need_enter(self) -> bool:
        """Whether a key counts only with the line that it begins."""
        return self._before is None

    def read(self) -> str:
        """The next key, in lower case; END when there will be none.

        What a terminal sends for an arrow or a function key has letters in it, and is passed over.
        """
        if self.need_enter:
            line = sys.stdin.readline()
            return line.strip()[:1].lower() or ("\n" if line else END)
        key = os.read(self._descriptor, 1)
        if key == ESCAPE:
            termios.tcflush(self._descriptor, termios.TCIFLUSH)
        return END if key in (b"", CTRL_D) else key.decode("ascii", "replace").lower()
