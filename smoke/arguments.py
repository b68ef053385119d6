"""What the commands of this package can be told, on the command line or in the environment."""

import math
import os
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from smoke import endpoint
from smoke.endpoint import Endpoint
from smoke.fault import Fault

TOLERANCE = "1e-4"
# Enough for a server that batches to find a batch waiting whenever it has answered one.
THREADS = 16


def parser(prog: str, description: str, asks: bool = True) -> ArgumentParser:
    """A parser that knows which app, and, of a command that asks, which model of which server."""
    made = ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_app(made)
    if not asks:
        return made
    made.add_argument(
        "--url",
        default=variable("URL"),
        help=f"the model, as {endpoint.FORM} or {endpoint.KSERVE_FORM}"
        " (URL; default: the app's own server)",
    )
    made.add_argument(
        "--token",
        default=variable("TOKEN"),
        help="what to send as bearer token (TOKEN; default: the app's own server's)",
    )
    made.add_argument("--version", help="ask this version of the model, not its default")
    return made


def add_app(made: ArgumentParser) -> None:
    """Add which app it is about."""
    made.add_argument(
        "--app",
        type=Path,
        default=variable("APP", "."),
        metavar="DIR",
        help="the app's folder (APP; default: the current one)",
    )


def variable(name: str, default: str | None = None) -> str | None:
    """An environment variable; one that is empty counts as unset, as make leaves it so."""
    return os.environ.get(name) or default


def add_comparing(made: ArgumentParser) -> None:
    """Add how to ask and how to judge."""
    made.add_argument(
        "--tolerance",
        type=_tolerance,
        default=variable("TOLERANCE", TOLERANCE),
        metavar="X",
        help="how far a score may lie from its golden, absolute (TOLERANCE; default: 1e-4)",
    )
    made.add_argument(
        "--threads",
        type=_threads,
        default=str(THREADS),
        metavar="N",
        help=f"how many samples to ask at a time (default: {THREADS})",
    )


def add_budget(made: ArgumentParser) -> None:
    """Add how many labels may change."""
    made.add_argument(
        "--budget",
        type=_budget,
        default=variable("BUDGET"),
        metavar="N",
        help="pass if nothing fails and at most N labels change, fixes aside (BUDGET)",
    )


def budget() -> int | None:
    """How many labels may change that are no fix, as BUDGET says; None where it says nothing.

    Raises:
        Fault: it says no number.
    """
    said = variable("BUDGET")
    return None if said is None else _budget(said)


def tolerance() -> float:
    """How far a score may lie from its golden, absolute, as TOLERANCE says.

    Raises:
        Fault: it says no number.
    """
    return _tolerance(variable("TOLERANCE", TOLERANCE) or "")


def find(arguments: Namespace) -> Endpoint:
    """The endpoint that the arguments of such a parser name.

    Raises:
        Fault: see `endpoint.find`.
    """
    given = (arguments.url, arguments.token, arguments.version)
    return endpoint.find(arguments.app, *(each or None for each in given))


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise Fault(f'tolerance "{text}": not a number from 0 up', "give one such as 1e-4")
    return value


def _budget(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise Fault(f'budget "{text}": not a number from 0 up', "give one such as 2")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise Fault(f'threads "{text}": not a number from 1 up', "give one such as 4")
    return int(text)
