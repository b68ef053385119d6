"""The findings as a person reads them, and as a program does."""

import json
from collections.abc import Iterable, Sequence

from loop.checks.finding import Finding, State
from smoke.terminal import escape, pad, paint

COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILURE: "red"}
STATE_COLUMNS = 9
CHECK_COLUMNS = 13


def line(finding: Finding, colour: bool) -> str:
    """`state check what: cure`."""
    state = paint(pad(finding.state, STATE_COLUMNS), COLOURS[finding.state], colour)
    said = ": ".join(each for each in (finding.what, finding.fixed, finding.cure) if each)
    return f"{state}{pad(finding.check, CHECK_COLUMNS)}{escape(said)}"


def summary(findings: Sequence[Finding]) -> str:
    """How many are ok, how many are not, and how many were fixed."""
    count = {state: sum(each.state is state for each in findings) for state in State}
    parts = [f"{count[State.OK]} ok"]
    for state in (State.WARNING, State.FAILURE):
        parts.append(f"{count[state]} {state}{'' if count[state] == 1 else 's'}")
    if fixed := sum(each.fixed is not None for each in findings):
        parts.append(f"{fixed} of them fixed just now")
    return f"doctor: {' · '.join(parts)}"


def as_json(findings: Iterable[Finding]) -> str:
    """A list of objects, one a finding."""
    rows = [
        {
            "check": each.check,
            "state": each.state,
            "what": each.what,
            "cure": each.cure,
            "fixed": each.fixed,
        }
        for each in findings
    ]
    return json.dumps(rows, ensure_ascii=False, indent=1)
