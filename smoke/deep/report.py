"""What the checks have found, as a person reads it."""

from collections import Counter
from collections.abc import Iterable

from smoke import wording
from smoke.client import Answer, Reply
from smoke.deep.check import Check, Difference
from smoke.terminal import cells, escape, fit, pad, paint

TAGS = {True: ("passed", "green"), False: ("failed", "red"), None: ("-", "yellow")}
NAME_COLUMNS = 13
SHOWN = 5


def lines(check: Check, colour: bool) -> list[str]:
    """The lines on one check: what it compared, the first few that differ, and the hint."""
    tag, hue = TAGS[check.passed]
    count = f"{len(check.differences) + check.more} of " if check.differences else ""
    about = f"not checked: {check.unchecked}" if check.unchecked else count + check.about
    head = paint(pad(tag, wording.TAG_COLUMNS), hue, colour) + pad(check.name, NAME_COLUMNS)
    shown = check.differences[:SHOWN]
    columns = max((min(cells(each.sample.id), wording.ID_COLUMNS) for each in shown), default=0)
    margin = " " * wording.TAG_COLUMNS
    found = [f"{margin}{_line(each, columns)}" for each in shown]
    if more := len(check.differences) + check.more - len(shown):
        found.append(paint(f"{margin}and {more} more", "dim", colour))
    if check.differences and check.hint:
        found.append(f"{margin}likely: {check.hint}")
    return [head + fit(escape(about), wording.MESSAGE_COLUMNS), *found]


def summary(checks: Iterable[Check], asked: int, size: int, seconds: float, colour: bool) -> str:
    """One line on all checks."""
    count = Counter(each.passed for each in checks)
    unchecked = [f"{count[None]} not checked"] if count[None] else []
    failed = [f"{count[False]} failed"] if count[False] else []
    spread = f"{asked} of {size} samples" if asked < size else f"{asked} samples"
    parts = [f"{count[True]} passed", *failed, *unchecked, f"{spread} in {seconds:.2f} s"]
    return paint(f"deep: {' · '.join(parts)}", "red" if failed else "green", colour)


def _line(difference: Difference, columns: int) -> str:
    name = pad(fit(escape(difference.sample.id), wording.ID_COLUMNS), columns)
    one, other = difference.alone, difference.other
    digits = 6 if isinstance(other, Answer) and other.label == one.label else 4
    where = escape(difference.where)
    return f"{name}  {_said(one, digits)} · {where} {_said(other, digits)}"


def _said(reply: Reply, digits: int) -> str:
    if isinstance(reply, Answer):
        return f"{escape(reply.label)} {reply.score:.{digits}f}"
    return fit(escape(str(reply)), wording.MESSAGE_COLUMNS)
