"""What an answer amounts to, and how that reads."""

import io
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from smoke import junit, terminal, wording
from smoke.client import Answer, Failure, Reply
from smoke.compare import Comparison, Turn, Verdict, compare, verdict
from smoke.golden import Golden
from smoke.replies import Timed
from smoke.samples import Sample
from smoke.tally import Tally

GOLDEN = Golden("a", "good", 0.5)


def comparison(
    reply: Reply, golden: Golden | None = GOLDEN, sample: Sample | None = None
) -> Comparison:
    return compare(sample or Sample("a", "text"), golden, Timed(reply, 0.012), 1e-4)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Answer("good", 0.5), Verdict.SAME),
        (Answer("good", 0.5001), Verdict.SAME),
        (Answer("good", 0.5001004), Verdict.SAME),
        (Answer("good", 0.500102), Verdict.DRIFTED),
        (Answer("good", 0.4998), Verdict.DRIFTED),
        (Answer("good", float("nan")), Verdict.DRIFTED),
        (Answer("bad", 0.5), Verdict.CHANGED),
        (Failure("no"), Verdict.FAILED),
    ],
)
def test_a_reply_is_judged_against_its_golden(reply: Reply, expected: Verdict) -> None:
    assert verdict(GOLDEN, reply, 1e-4) is expected


def test_a_score_is_the_same_as_its_rounded_golden_even_without_tolerance() -> None:
    assert verdict(Golden("a", "good", 0.333333), Answer("good", 1 / 3), 0) is Verdict.SAME


def test_an_answer_without_a_golden_is_new() -> None:
    assert verdict(None, Answer("good", 0.5), 1e-4) is Verdict.NEW


def test_a_failure_without_a_golden_is_a_failure() -> None:
    assert verdict(None, Failure("no"), 1e-4) is Verdict.FAILED


@pytest.mark.parametrize(
    ("truth", "expected"),
    [("good", Turn.REGRESSION), ("bad", Turn.FIX), ("other", None), (None, None)],
)
def test_a_changed_label_is_for_better_or_for_worse_where_the_truth_is_known(
    truth: str | None, expected: Turn | None
) -> None:
    sample = Sample("a", "", label=truth)
    assert comparison(Answer("bad", 0.5), sample=sample).turn is expected
    assert comparison(Answer("good", 0.9), sample=sample).turn is None


def test_accepting_keeps_a_golden_that_still_holds() -> None:
    assert comparison(Answer("good", 0.50005)).accepted() == GOLDEN
    assert comparison(Answer("good", 0.6000001)).accepted() == Golden("a", "good", 0.6)


def test_failures_come_first_and_the_same_is_not_shown() -> None:
    tally = Tally.of(
        [
            comparison(Answer("good", 0.5)),
            comparison(Answer("good", 0.9), None),
            comparison(Answer("good", 0.6)),
            comparison(Answer("bad", 0.5), sample=Sample("a", "text", label="bad")),
            comparison(Answer("bad", 0.5)),
            comparison(Answer("bad", 0.5), sample=Sample("a", "text", label="good")),
            comparison(Failure("Prediction failed", 503, "1234")),
        ]
    )
    shown = wording.differences(tally, width=80, colour=False)
    assert shown == [
        "failed  a  good 0.5000 → 503 Prediction failed (x-request-id 1234)",
        "        text",
        "worse   a  good 0.5000 → bad 0.5000 · truth good",
        "        text",
        "label   a  good 0.5000 → bad 0.5000",
        "        text",
        "fixed   a  good 0.5000 → bad 0.5000 · truth bad",
        "        text",
        "score   a  good 0.500000 → good 0.600000",
        "new     a  good 0.9000",
        "        text",
    ]


def test_a_text_takes_one_line_of_the_terminal_whatever_is_in_it() -> None:
    for text in ("한국어 " * 50, "a\nb\t\x1b[2J\u202e" * 50, "e\u0301" * 200, "x" * 72):
        sample = Sample("a", text)
        tally = Tally.of([comparison(Answer("bad", 1), sample=sample)])
        _, line = wording.differences(tally, width=80, colour=False)
        assert line.isprintable()
        assert 78 <= terminal.cells(line) <= 80


def test_ids_of_wide_characters_are_aligned() -> None:
    tally = Tally.of(
        comparison(Answer("bad", 1), None, Sample(name, "")) for name in ("한국", "abcdef")
    )
    shown = wording.differences(tally, width=80, colour=False)
    assert shown[0] == "new     한국    bad 1.0000"
    assert shown[2] == "new     abcdef  bad 1.0000"


def test_the_summary_counts_verdicts_times_and_the_truth() -> None:
    tally = Tally.of(
        [
            comparison(Answer("good", 0.5), sample=Sample("a", "", label="good")),
            comparison(Answer("bad", 0.5), sample=Sample("a", "", label="good")),
            comparison(Answer("bad", 0.5)),
            comparison(Failure("no"), sample=Sample("a", "", label="good")),
        ]
    )
    assert wording.summary("smoke", tally, 0.414, threads=4, colour=False) == (
        "smoke: 1 same · 1 failed · 2 labels changed (1 regression)"
        " · 4 samples in 0.41 s, 4 at a time (p50 12 ms, p95 12 ms)"
        " · truth 1/2 (goldens 2) · negative flip rate 50.0%"
    )


def test_what_was_sent_again_is_counted() -> None:
    again = compare(Sample("a", ""), GOLDEN, Timed(Answer("good", 0.5), 0.012, retries=3), 1e-4)
    said = wording.summary("smoke", Tally.of([again]), 0.414, threads=1, colour=False)
    assert "1 sent again while nothing listened" in said


def test_only_so_many_of_a_kind_are_shown_and_the_others_counted() -> None:
    changed = (comparison(Answer("bad", 1), sample=Sample(f"s{n}", "")) for n in range(150))
    shown = wording.differences(Tally.of(changed), width=80, colour=False)
    assert len(shown) == 201
    assert shown[-1].strip() == "and 50 more"


@pytest.mark.parametrize(
    ("tty", "no_color", "term", "expected"),
    [
        (True, "", "xterm", True),
        (False, "", "xterm", False),
        (True, "1", "xterm", False),
        (True, "", "dumb", False),
    ],
)
def test_colour_needs_a_terminal_that_has_it_and_no_no_color(
    tty: bool, no_color: str, term: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: tty)
    assert terminal.has_colour(stream) is expected


def test_progress_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.Progress("smoke", 2) as progress:
        progress(1)
    assert capsys.readouterr().err == ""


def test_progress_cleans_up_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    with terminal.Progress("smoke", 2) as progress:
        progress(1)
    assert "smoke: 1 of 2" in stream.getvalue()
    assert stream.getvalue().endswith(terminal.CLEAR_LINE)


def test_junit_has_a_case_a_sample_and_holds_any_text(tmp_path: Path) -> None:
    hostile = Sample("<&>", "]]> \x00\x1b\ufffe\ud800 ü")
    document, tally = junit.Document(), Tally()
    for each in (
        comparison(Answer("good", 0.5)),
        comparison(Answer("bad", 0.5), sample=hostile),
        comparison(Failure("\x1bno", 503)),
    ):
        document.add(each)
        tally.add(each)
    document.write(tmp_path / "junit.xml", tally, url="http://h/predictions/x", seconds=1)
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]  # noqa: S314 - written by the line above
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert suite.find("properties/property[@name='url']") is not None
    same, changed, failed = suite.findall("testcase")
    assert len(same) == 0
    assert changed.get("name") == "<&>"
    assert changed.findtext("failure") == "]]>  ü"
    assert failed.find("error") is not None
