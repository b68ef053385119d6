"""What `make report` says of a run: figures, intervals, tables, the page."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from loop import compare as loop_compare
from smoke import fault, golden, jsonl, record, results, samples
from smoke.client import Answer, Client, Failure
from smoke.compare import Comparison
from smoke.report import histogram, page, statistics, tables
from smoke.report.figures import Figures
from smoke.report.statistics import Share
from smoke.samples import Sample
from smoke.tally import Tally
from tests import past_run
from tests.fake_model import FakeModel
from tests.past_run import judged

ROOT = Path(__file__).parent.parent


def flips(same: int, regressions: int, fixes: int, others: int = 0) -> Iterator[Comparison]:
    """So many samples whose truth is `good`, by what became of their label."""
    number = 0
    for count, was, now in (
        (same, "good", "good"),
        (regressions, "good", "bad"),
        (fixes, "bad", "good"),
        (others, "bad", "worse"),
    ):
        for _ in range(count):
            number += 1
            sample = Sample(f"s{number}", f"text {number}", label="good", tags=("short",))
            yield judged(sample, (was, 0.5), Answer(now, 0.5))


def table(figures: Figures, name: str) -> tables.Table:
    made = {each.name: each for each in tables.all_of(figures, a_record())}
    return made[name]


def a_record() -> record.Record:
    return record.Record(
        url="http://h/predictions/x",
        command="make smoke",
        began=0,
        seconds=1,
        threads=1,
        tolerance=1e-4,
        samples=None,
        goldens=None,
        results=None,
    )


def report(app: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report", "--app", str(app)])
        with pytest.raises(SystemExit) as exit_:
            fault.run("report", page.main)
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def html(app: Path) -> str:
    """The page, its character references resolved."""
    return unescape((record.folder(app) / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("share", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    [
        (Share(81, 263), 0.2553, 0.3662),
        (Share(15, 148), 0.0624, 0.1605),
        (Share(0, 20), 0.0, 0.1611),
        (Share(1, 29), 0.0061, 0.1718),
    ],
)
def test_an_interval_is_wilsons(share: Share, low: float, high: float) -> None:
    assert share.interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("size", [1, 36, 300, 100_000])
def test_of_none_in_n_the_rate_is_bounded_exactly(size: int) -> None:
    assert Share(0, size).bound == pytest.approx(1 - 0.05 ** (1 / size))


def test_mcnemars_test_counts_the_flips_alone_and_is_exact() -> None:
    assert statistics.mcnemar(6, 1) == pytest.approx(0.125)
    assert statistics.mcnemar(1, 6) == pytest.approx(0.125)
    assert statistics.mcnemar(10, 0) == pytest.approx(2 / 1024)
    assert statistics.mcnemar(5, 0) is None
    assert statistics.mcnemar_words(6, 1) == "6 regressions, 1 fix: p = 0.125 (exact McNemar)"
    assert statistics.mcnemar_words(1, 2) == "1 regression, 2 fixes: too few flips to tell"


def test_the_figures_of_a_run_tell_regressions_from_fixes_and_other_changes() -> None:
    figures = Figures.of(flips(same=20, regressions=6, fixes=1, others=2))
    rows = {row[0]: row[1] for row in table(figures, "counts").rows}
    assert rows["same"] == "20"
    assert (rows["regression"], rows["fix"], rows["other label change"]) == ("6", "1", "2")
    shares = {row[0]: row[1:4] for row in table(figures, "truth").rows}
    assert shares["right now"] == ("21", "29", "72.4 %")
    assert shares["right as accepted (goldens)"] == ("26", "29", "89.7 %")
    assert shares["negative flip rate"] == ("6", "29", "20.7 %")
    assert "6 regressions, 1 fix: p = 0.125 (exact McNemar)." in table(figures, "truth").notes


def test_no_flip_in_so_many_says_what_that_is_worth() -> None:
    notes = " ".join(table(Figures.of(flips(36, 0, 0)), "truth").notes)
    assert "No label changed in 36: at 95 %, the rate is below 8.0 % (exact; about 3 / 36)" in notes


def test_what_is_of_few_says_so_and_is_shown_all_the_same() -> None:
    figures = Figures.of(flips(4, 1, 0))
    assert table(figures, "tags").rows[0][-1] == "37.6 % to 96.4 %, few: n = 5"
    figures = Figures.of(flips(30, 0, 0))
    assert "few" not in table(figures, "tags").rows[0][-1]


def test_where_no_truth_is_known_nothing_is_said_of_it() -> None:
    figures = Figures.of([judged(Sample("a", "x"), ("good", 0.5), Answer("good", 0.5))])
    truth = table(figures, "truth")
    assert [row[0] for row in truth.rows] == ["labels that changed"]
    assert 'No truth is known: give samples a "label".' in truth.notes
    assert "confusion" not in {each.name for each in tables.all_of(figures, a_record())}


def test_a_run_in_which_nothing_was_answered_is_told() -> None:
    figures = Figures.of([judged(Sample("a", "x", label="y"), None, Failure("no", 503))])
    assert table(figures, "failures").rows == [("503 no", "1", "a")]
    assert "1 of 1 samples are not as accepted" in page.render(figures, a_record(), [])


def test_truth_stands_in_rows_and_answers_in_columns() -> None:
    confusion = table(Figures.of(flips(3, 2, 0)), "confusion")
    assert confusion.columns == ("truth", "bad", "good", "right")
    assert confusion.rows[1] == ("good", "2", "3 ✓", "3 of 5")


def test_many_classes_are_added_up() -> None:
    each = (
        judged(Sample(f"s{n}", "x", label=f"class {n}"), None, Answer("class 0", 0.5))
        for n in range(500)
    )
    confusion = table(Figures.of(each), "confusion")
    assert len(confusion.rows) == tables.CLASSES + 1
    assert confusion.rows[-1][0] == "(others)"
    total = sum(int(cell.split()[0]) for row in confusion.rows for cell in row[1:-1])
    assert total == 500


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0.0 %"), (0.0001, "< 0.1 %"), (0.5, "50.0 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")],
)
def test_a_share_never_reads_as_all_or_none_where_it_is_not(share: float, words: str) -> None:
    assert tables.percent(share) == words


@pytest.mark.parametrize("values", [[0.01], [0.0, 0.0], [0.001, 5.0, 0.02], [0.3] * 7])
def test_every_value_is_in_a_bar_and_none_sticks_out(values: list[float]) -> None:
    edges = histogram.logarithmic(min(values), max(values), 25)
    bars = histogram.bars(values, edges)
    assert sum(bar.count for bar in bars) == len(values)
    assert all(0 <= bar.y <= histogram.HEIGHT for bar in bars)
    assert bars[-1].x + bars[-1].width == pytest.approx(histogram.WIDTH)


def test_the_terminal_and_the_page_give_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past_run.leave(tmp_path, flips(20, 6, 1, 2), {"s21": [0.412, 0.409]})
    code, out, err = report(tmp_path, capsys)
    assert (code, err) == (0, "")
    figures, kept = Figures.of(flips(20, 6, 1, 2)), record.read(tmp_path)
    for each in tables.all_of(figures, kept):
        for row in each.rows:
            assert any(all(cell in line for cell in row) for line in out.splitlines()), row
            assert all(f">{cell}</t" in html(tmp_path) for cell in row), row
    assert "version  04dab2b  454fc06   differs" in out
    assert ">0.412 to 0.409<" in html(tmp_path)
    assert out.endswith(f"report: {record.folder(tmp_path) / 'report.html'}\n")


def test_the_page_is_the_same_for_the_same_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past_run.leave(tmp_path, flips(20, 6, 1, 2), {})
    report(tmp_path, capsys)
    first = html(tmp_path)
    report(tmp_path, capsys)
    assert html(tmp_path) == first


def test_regressions_come_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    past_run.leave(tmp_path, flips(0, 150, 2, 1), {})
    page.write(tmp_path)
    heads = [line for line in html(tmp_path).splitlines() if "<h3>" in line]
    assert [each.split("<h3>")[1].split("<")[0] for each in heads] == [
        "Regressions: 150",
        "Other label changes: 1",
        "Fixes: 2",
    ]
    assert "and 50 more" in html(tmp_path)


@pytest.mark.parametrize("changed", ["samples.jsonl", "golden.jsonl"])
def test_what_has_changed_since_the_run_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: str
) -> None:
    past_run.leave(tmp_path, flips(3, 1, 0), {})
    with (tmp_path / "smoke" / changed).open("a", encoding="utf-8") as file:
        file.write("\n")
    code, _, err = report(tmp_path, capsys)
    assert code == 0
    assert f"{changed} has changed since this run" in err
    assert f"{changed} has changed since this run" in html(tmp_path)


def test_a_sample_that_is_gone_is_still_counted(tmp_path: Path) -> None:
    past_run.leave(tmp_path, flips(1, 1, 0), {})
    first = samples.path(tmp_path).read_bytes().splitlines(keepends=True)[0]
    samples.path(tmp_path).write_bytes(first)
    figures, _, _ = page.write(tmp_path)
    assert figures.tally.size == 2
    assert "(no longer among the samples)" in html(tmp_path)


def test_without_a_run_it_exits_2_and_names_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = report(tmp_path, capsys)
    assert code == 2
    assert "run.json: no run yet: ask the samples with `make smoke`" in err


def test_results_of_another_run_are_not_taken_for_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past_run.leave(tmp_path, flips(3, 1, 0), {})
    with (record.folder(tmp_path) / "results.jsonl").open("ab") as file:
        file.write(b"\n")
    code, _, err = report(tmp_path, capsys)
    assert code == 2
    assert "not of the run that run.json tells of" in err


def test_a_password_in_the_url_is_not_passed_on() -> None:
    url = "http://me:secret@host:80/predictions/x"
    assert record.without_user(url) == "http://host:80/predictions/x"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_many_samples_stream_through_and_the_page_stays_small(tmp_path: Path) -> None:
    text = "&<>\"' " * 300
    replies = (Answer("bad", 0.5), Answer("good", 0.6), None, Answer("good", 0.5))
    many = (
        judged(
            Sample(f"s{n}", f"{n} {text}", f"{n} {text}", label="good", tags=(f"tag {n % 300}",)),
            ("good", 0.5) if n % 5 else None,
            replies[n % 4] or Failure(f"{n} {text}"),
        )
        for n in range(10_000)
    )
    past_run.leave(tmp_path, many, {})
    assert samples.path(tmp_path).stat().st_size > 35_000_000
    code = (
        "import pathlib; from smoke.report import page, statistics;"
        "statistics.Share(1, 2).interval;"
        # Not getrusage: its peak is that of whoever started the process, if that was higher.
        "status = pathlib.Path('/proc/self/status').read_text;"
        "peak = lambda: int(status().split('VmHWM:')[1].split()[0]); before = peak();"
        f"page.write(pathlib.Path({str(tmp_path)!r})); print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 25_000  # KiB
    assert (record.folder(tmp_path) / "report.html").stat().st_size < 1_000_000


def test_smoke_itself_never_waits_for_scipy_or_jinja() -> None:
    code = (
        "import sys, smoke.__main__, loop.compare, smoke.report.statistics as s;"
        "s.mcnemar_words(2, 3);"
        "print(sorted({'scipy', 'numpy', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_compare_says_whether_the_flips_are_more_than_chance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = loop_compare.Side("a", "live"), loop_compare.Side("b", "your tree")
    for new, last in (
        (flips(3, 6, 1), "6 regressions, 1 fix: p = 0.125 (exact McNemar)"),
        (flips(3, 1, 0), "1 regression, 0 fixes: too few flips to tell"),
    ):
        loop_compare.show(before, after, Tally(), Tally.of(new))
        assert capsys.readouterr().out.splitlines()[-1] == last


def test_compare_asks_in_turn_and_keeps_no_sample() -> None:
    taken = 0

    def endless() -> Iterator[Sample]:
        nonlocal taken
        while True:
            taken += 1
            yield Sample(str(taken), "x")

    with FakeModel() as model:
        both = (Client(f"{model.url}/a"), Client(f"{model.url}/b"))
        found = loop_compare.in_turn(both, endless())
        for number in range(1, 4):
            sample, *_ = next(found)
            assert (sample.id, taken) == (str(number), number)
        asked = [request.path[-1] for request in model.requests]
    # Each once before, and then whoever came last begins.
    assert "".join(asked) == "ab" + "ab" + "ba" + "ab"


def smoke(app: Path, model: FakeModel, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "smoke", *words, "--tolerance", "0.01"],
        cwd=ROOT,
        env={**os.environ, "APP": str(app), "URL": model.url},
        capture_output=True,
        check=True,
    )


def test_a_run_leaves_word_of_itself_also_if_it_goes_on_with_another(tmp_path: Path) -> None:
    jsonl.write(samples.path(tmp_path), [{"id": each, "text": each} for each in "abc"])
    with FakeModel() as model:
        smoke(tmp_path, model, "accept")
        smoke(tmp_path, model, "run")
        left = record.read(tmp_path)
        assert left.url == model.url
        assert left.command == f"make smoke APP={tmp_path} URL={model.url} TOLERANCE=0.01"
        assert (left.threads, left.tolerance, left.resumed) == (16, 0.01, 0)
        assert left.samples == results.digest(samples.path(tmp_path))
        assert left.goldens == results.digest(golden.path(tmp_path))
        assert page.write(tmp_path)[0].tally.all_same

        begun = results.path(tmp_path).read_bytes().splitlines(keepends=True)[:2]
        results.part(tmp_path).write_bytes(b"".join(begun))
        smoke(tmp_path, model, "run", "--resume")
    assert page.write(tmp_path)[0].tally.size == 3
    assert "at a time, after 1 of a run that was stopped" in html(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/predictions/reviews",
        "http://h/predictions/reviews/3f9a2c1",
        "http://h/v1/models/reviews:predict",
    ],
)
def test_the_page_names_the_model_whatever_its_url(url: str) -> None:
    rendered = page.render(Figures.of(flips(1, 0, 0)), replace(a_record(), url=url), [])
    assert "<title>reviews: All 1 answers are as accepted</title>" in rendered
