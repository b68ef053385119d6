"""How many labels may change, and which of them were a near thing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from loop import gate
from loop.gate import Gate
from loop.settings import Settings
from smoke import fault, golden, jsonl, record, samples
from smoke.client import Answer, Failure, Reply
from smoke.compare import compare
from smoke.fault import Refused
from smoke.golden import Golden
from smoke.replies import Timed
from smoke.samples import Sample
from smoke.tally import Tally
from smoke.ties import MARGIN
from tests.fake_model import FakeModel, Request, Response
from tests.test_smoke_command import smoke

TRUTHS = {"fixed": "now", "worse": "then", "unknown": None, "drift": None}


def then(request: Request) -> Response:
    return Response({"label": "then", "score": 0.5})


def now(request: Request) -> Response:
    """Three labels and one score are others; asked for two, the model answers two."""
    if request.text == "drift":
        return Response({"label": "then", "score": 0.6})
    ranked = [{"label": "now", "score": 0.412}, {"label": "then", "score": 0.409}]
    return Response(ranked if "top_k" in json.loads(request.body) else ranked[0])


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(then) as fake:
        yield fake


@pytest.fixture
def app(tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app whose goldens are what `then` says; the model answers as `now` does."""
    for name in ("TOKEN", "TOLERANCE", "NO_COLOR", "BUDGET", "ACCEPT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP", str(tmp_path))
    monkeypatch.setenv("URL", model.url)
    rows = [
        {"id": id_, "text": id_, **({} if truth is None else {"label": truth})}
        for id_, truth in TRUTHS.items()
    ]
    jsonl.write(samples.path(tmp_path), rows)
    smoke("accept")
    model.think = now
    return tmp_path


def test_without_a_budget_any_difference_fails(app: Path, model: FakeModel) -> None:
    model.think = lambda request: now(request) if request.text == "drift" else then(request)
    assert smoke() == 1


def test_within_the_budget_labels_may_change_and_the_last_line_says_so(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke("--budget", "2") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "smoke: within the budget: 2 of 2"
    monkeypatch.setenv("BUDGET", "3")
    assert smoke() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "smoke: within the budget: 2 of 3"


def test_over_the_budget_a_run_fails(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke("--budget", "1") == 1
    assert "smoke: over the budget: 2 of 1\nnext: " in capsys.readouterr().out


def test_a_fix_and_a_drift_need_no_budget_but_a_regression_does(
    app: Path, model: FakeModel
) -> None:
    model.think = lambda request: (
        now(request) if request.text in ("fixed", "drift") else then(request)
    )
    assert smoke("--budget", "0") == 0
    model.think = lambda request: now(request) if request.text == "worse" else then(request)
    assert smoke("--budget", "0") == 1


def test_no_budget_pays_for_a_failure(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model.think = lambda request: Response({}, 503) if request.text == "drift" else then(request)
    assert smoke("--budget", "9") == 1
    assert "the budget" not in capsys.readouterr().out


@pytest.mark.parametrize("budget", ["-1", "1.5", "two", "²"])
def test_a_budget_that_is_no_number_exits_2(
    app: Path, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert smoke(f"--budget={budget}") == 2
    monkeypatch.setenv("BUDGET", budget)
    assert smoke() == 2
    with pytest.raises(fault.Fault, match="budget"):
        gate.requested()


def tally(*replies: Reply) -> Tally:
    """Of answers to a sample whose golden is `then`, and whose truth nobody knows."""
    accepted = Golden("a", "then", 0.5)
    judged = [compare(Sample("a", ""), accepted, Timed(each, 0.1), 1e-4) for each in replies]
    return Tally.of(judged)


CHANGED = tally(Answer("now", 0.5), Answer("now", 0.5), Answer("then", 0.5))


@pytest.mark.parametrize(
    ("kind", "budget", "is_open"),
    [
        (Gate.GOLDEN, "", False),
        (Gate.GOLDEN, "1", False),
        (Gate.GOLDEN, "2", True),
        (Gate.ERRORS, "1", True),
    ],
)
def test_the_gate_knows_the_budget(
    kind: Gate, budget: str, is_open: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUDGET", budget)
    app = cast(Settings, SimpleNamespace(name="reviews"))
    if is_open:
        gate.check(app, "3f9a2c1", kind, CHANGED, since=0)
        return
    with pytest.raises(Refused, match="changes 2 of 3 labels"):
        gate.check(app, "3f9a2c1", kind, CHANGED, since=0)


@pytest.mark.parametrize(
    ("kind", "replies", "last"),
    [
        (Gate.GOLDEN, [Answer("now", 0.5)], "10:15:21: within the budget: 1 of 2"),
        (Gate.GOLDEN, [Answer("now", 0.5), Failure("no")], None),
        (Gate.ERRORS, [Answer("now", 0.5)], None),
    ],
)
def test_the_gate_says_what_is_left_of_the_budget_where_it_counts(
    kind: Gate,
    replies: list[Reply],
    last: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BUDGET", "2")
    gate.show(tally(*replies), kind, "10:15:21", 0.1)
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == last if last else "budget" not in shown


def test_a_changed_label_that_was_a_near_thing_is_marked(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke()
    out = capsys.readouterr().out
    assert "worse   worse  then 0.5000 → now 0.4120 · truth then · tie: 0.412 to 0.409\n" in out
    assert out.count("tie:") == 3
    assert record.read(app).ties["worse"] == [0.412, 0.409]
    asked = [json.loads(each.body) for each in model.requests if b"top_k" in each.body]
    assert sorted(each["text"] for each in asked) == ["fixed", "unknown", "worse"]
    assert all(each["top_k"] == 2 for each in asked)


def test_a_clear_margin_is_no_tie(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def clear(request: Request) -> Response:
        ranked = [{"label": "now", "score": 0.5}, {"label": "then", "score": 0.5 - MARGIN}]
        return Response(ranked if "top_k" in json.loads(request.body) else ranked[0])

    model.think = clear
    smoke()
    assert "tie:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "otherwise",
    [
        lambda request: Response({"label": "now", "score": 0.412}),
        lambda request: Response({"code": 400, "message": "what is top_k?"}, 400),
        lambda request: Response([{"label": "now", "score": 0.412}]),
    ],
    ids=["ignores", "refuses", "answers one"],
)
def test_a_handler_that_does_not_say_two_marks_nothing_and_is_asked_once(
    app: Path,
    model: FakeModel,
    otherwise: Callable[[Request], Response],
    capsys: pytest.CaptureFixture[str],
) -> None:
    model.think = lambda request: otherwise(request) if b"top_k" in request.body else now(request)
    model.requests.clear()
    assert smoke() == 1
    assert "tie:" not in capsys.readouterr().out
    assert sum(b"top_k" in each.body for each in model.requests) == 1


def test_where_a_sample_failed_no_question_of_ours_is_the_last_one(
    app: Path, model: FakeModel
) -> None:
    model.think = lambda request: Response({}, 503) if request.text == "drift" else now(request)
    model.requests.clear()
    assert smoke() == 1
    assert not any(b"top_k" in each.body for each in model.requests)


def test_a_server_that_goes_away_before_the_ties_leaves_the_verdict(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(request: Request) -> Response:
        if b"top_k" in request.body:
            raise ConnectionAbortedError
        return now(request)

    model.think = broken
    assert smoke() == 1
    assert "3 labels changed" in capsys.readouterr().out
    assert golden.path(app).exists()
