"""A Python process that has prepared itself, and does one thing each time that it is told to."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from smoke.fault import Fault
from tests.bench.apps import module


class Child:
    """The process, seen from outside; it is ready when this returns.

    Args:
        name: of a module of this package; it ends in a call of `serve`.
        words: its arguments.
    """

    def __init__(self, name: str, *words: str) -> None:
        self._process: subprocess.Popen[str] = subprocess.Popen(
            **module(name, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in this terminal is not meant for it, `close` is.
            start_new_session=True,
        )
        self.answer()

    def go(self) -> Any:
        """Have it done once; returns what it says."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """Its next line, which is JSON."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Fault(f"{self._process.args!r} ended", "see above")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def serve(do: Callable[[], Any]) -> None:
    """In the process: say that it is ready, then do it for each line that comes in."""
    print('"ready"', flush=True)
    for _ in sys.stdin:
        print(json.dumps(do()), flush=True)
