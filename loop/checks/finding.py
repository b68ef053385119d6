"""What a check has found: how bad it is, what to do.

Nothing but Python's own library is imported here: a broken environment is told with it too.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from smoke.fault import Fault

# Of an environment that is not whole.
ANEW = f"remove {sys.prefix}, and `make setup` makes it anew"


class State(StrEnum):
    """How bad it is: a failure keeps a deploy from working, a warning may."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        cure: what to do, as an imperative; None where there is nothing to do.
        fix: does it, where that is safe, and returns what it did. Raises Fault.
        fixed: what `fix` did.
        check: the name of the check, which `examine` fills in.
    """

    state: State
    what: str
    cure: str | None = None
    fix: Callable[[], str] | None = None
    fixed: str | None = None
    check: str = ""


Check = Callable[[], Iterable[Finding]]


def ok(what: str) -> Finding:
    return Finding(State.OK, what)


def warning(what: str, cure: str, fix: Callable[[], str] | None = None) -> Finding:
    return Finding(State.WARNING, what, cure, fix)


def failure(what: str, cure: str, fix: Callable[[], str] | None = None) -> Finding:
    return Finding(State.FAILURE, what, cure, fix)


def examine(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """Run the checks in order; one that cannot look is a failure, and the others go on.

    The same trouble may stop several checks, and is told once.
    """
    told = set()
    for name, check in checks:
        for finding in _of(check):
            if finding.state is State.OK or finding.what not in told:
                told.add(finding.what)
                yield replace(finding, check=name)


def _of(check: Check) -> Iterator[Finding]:
    try:
        yield from check()
    except Fault as fault:
        yield failure(fault.what, fault.cure)
    except ImportError as error:
        yield failure(str(error), ANEW)
    except OSError as error:
        where = error.filename or "the system"
        yield failure(f"{where}: {error.strerror}", "free or permit that place")
