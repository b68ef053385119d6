"""The one tree of failures that a user can act on, for the whole project.

    Fault            2  wrong usage, or a file that cannot be read
    ├── Unanswered   3  the server is not running or does not answer
    └── Refused      4  a deploy was refused or failed; what served before serves again

The numbers are the exit codes of the commands. Exit code 1 is a result, not a fault: a label
differs, or a prediction failed.
"""

import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn


class Fault(Exception):  # noqa: N818 - what goes wrong need not be an error of ours
    """What went wrong, and what the user can do about it.

    Args:
        what: the fact, naming the file and line, the port or the value that is wrong.
        cure: what to do now, as an imperative.
    """

    exit_code = 2

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}: {cure}")
        self.what = what
        self.cure = cure


class Unanswered(Fault):
    """The server is not running, or does not answer."""

    exit_code = 3


class Refused(Fault):
    """A deploy was refused or failed; what was serving before serves again."""

    exit_code = 4


def run(verb: str, main: Callable[[], int]) -> NoReturn:
    """Run a command's `main` and exit with its code, or with that of the fault it raised.

    A fault, or what the system refused, is printed to stderr as `verb: what: how to fix`. Ctrl-C
    exits with 130, and a reader that went away (`| head`) with 141, both without a traceback, as
    shells expect; so do a polite kill (143) and a closed terminal (129), which else would end the
    process on the spot, with what it has to take back left lying.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has it ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that cannot show a character shows its escape, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
    except Fault as fault:
        print(f"{verb}: {fault}", file=sys.stderr)
        code = fault.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        # A full disk, a folder that is a file: 1 would say that a label differs.
        where = error.filename or "the system"
        print(f"{verb}: {where}: {error.strerror}: free or permit that place", file=sys.stderr)
        code = Fault.exit_code
    sys.exit(code)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
