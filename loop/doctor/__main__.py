"""`python -m loop.doctor [--fix] [--json]`, with APP in the environment."""

import contextlib
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from loop.checks.finding import ANEW, Finding, State, examine, failure
from loop.doctor import environment, report
from loop.doctor.mend import mend
from smoke import fault, terminal
from smoke.fault import Fault

ENVIRONMENT = (
    ("python", environment.python),
    ("packages", environment.packages),
    ("java", environment.java),
)


def look(folder: Path, fix: bool) -> Iterator[Finding]:
    """Examine the environment, then the app; with `fix`, do what can be done about each finding."""
    yield from examine(ENVIRONMENT)
    yield from of_app(folder, fix)


def of_app(folder: Path, fix: bool) -> Iterator[Finding]:
    """Examine the app alone."""
    try:
        from loop import lock, settings
        from loop.doctor.subject import Subject
        from loop.doctor.table import checks
    except ImportError as error:
        yield replace(failure(f"no more can be looked at ({error})", ANEW), check="toolkit")
        return
    readable = True
    try:
        app = settings.read(folder)
    except Fault as unreadable:
        app, readable = settings.Settings(folder, {}, {}), False
        yield replace(failure(unreadable.what, unreadable.cure), check="config")
    with lock.held(app, "doctor") if fix else contextlib.nullcontext():
        for finding in examine(checks(Subject(app, locked=fix), readable)):
            yield mend(finding) if fix else finding


def main() -> int:
    """Print the findings as they come; exit 1 if a failure remains."""
    parser = ArgumentParser(prog="doctor", allow_abbrev=False)
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    given = parser.parse_args()
    folder = Path(os.environ["APP"]).expanduser().resolve()
    if not folder.is_dir():
        raise Fault(f"no such app: {folder}", "APP names an app's folder; see README.md")
    findings = []
    for finding in look(folder, given.fix):
        findings.append(finding)
        if not given.json:
            print(report.line(finding, terminal.has_colour(sys.stdout)), flush=True)
    print(report.as_json(findings) if given.json else report.summary(findings))
    return int(any(each.state is State.FAILURE for each in findings))


if __name__ == "__main__":
    fault.run("doctor", main)
