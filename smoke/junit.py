"""The comparisons as JUnit XML, which CI systems show."""

import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from smoke.compare import Comparison, Verdict
from smoke.report import change

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def document(comparisons: Sequence[Comparison], url: str, seconds: float) -> bytes:
    """One test case a sample: an error where no answer came, a failure where it is not the same.

    Args:
        url: the model that was asked.
        seconds: what the whole run took.
    """
    count = Counter(each.verdict for each in comparisons)
    errors = count[Verdict.FAILED]
    suite = ET.Element(
        "testsuite",
        name="smoke",
        tests=str(len(comparisons)),
        errors=str(errors),
        failures=str(len(comparisons) - count[Verdict.SAME] - errors),
        skipped="0",
        time=f"{seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="url", value=_clean(url))
    suite.extend(_case(each) for each in comparisons)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    xml: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml + b"\n"


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
