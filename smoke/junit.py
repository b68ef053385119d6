"""The comparisons as JUnit XML, which CI systems show."""

import re
import shutil
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

from smoke import atomic
from smoke.compare import Comparison, Verdict
from smoke.tally import Tally
from smoke.wording import change

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


class Document:
    """One test case a sample: an error where no answer came, a failure where it is not the same.

    The cases wait in a file without a name, since the counts stand before them.
    """

    def __init__(self) -> None:
        self._cases = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this does

    def add(self, comparison: Comparison) -> None:
        """Add the case of a sample."""
        self._cases.write(ET.tostring(_case(comparison), encoding="utf-8") + b"\n")

    def write(self, path: Path, tally: Tally, url: str, seconds: float | None) -> None:
        """Write the document.

        Args:
            tally: of what was added.
            url: the model that was asked.
            seconds: what the whole run took; None if that is not known.

        Raises:
            Fault: it cannot be written.
        """
        errors = tally.verdicts[Verdict.FAILED]
        suite = ET.Element(
            "testsuite",
            name="smoke",
            tests=str(tally.size),
            errors=str(errors),
            failures=str(tally.size - tally.verdicts[Verdict.SAME] - errors),
            skipped="0",
        )
        if seconds is not None:
            suite.set("time", f"{seconds:.3f}")
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", name="url", value=_clean(url))
        head, tail = ET.tostring(suite, encoding="utf-8").rsplit(b"</", 1)
        with self._cases as cases, atomic.writing(path) as file:
            file.write(b"<?xml version='1.0' encoding='utf-8'?>\n<testsuites>\n" + head + b"\n")
            cases.seek(0)
            shutil.copyfileobj(cases, file)
            file.write(b"</" + tail + b"\n</testsuites>\n")


def _case(comparison: Comparison) -> ET.Element:
    case = ET.Element(
        "testcase",
        classname="smoke",
        name=_clean(comparison.sample.id),
        time=f"{comparison.seconds:.6f}",
    )
    if comparison.verdict is not Verdict.SAME:
        kind = "error" if comparison.verdict is Verdict.FAILED else "failure"
        attributes = {"type": comparison.verdict.value, "message": _clean(change(comparison))}
        ET.SubElement(case, kind, attributes).text = _clean(comparison.sample.text)
    return case


def _clean(text: str) -> str:
    return FORBIDDEN.sub("", text)
