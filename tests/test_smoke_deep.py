"""`smoke --deep`: what it asks, what it compares, what it makes of it; against a fake server."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from smoke import __main__ as command
from smoke import fault, samples
from smoke.client import Answer, Failure
from smoke.deep import hints, pipeline, reference, texts
from smoke.deep.check import Asked, Difference, differences
from smoke.deep.reference import Reference, Said
from smoke.samples import Sample
from smoke.suite import Suite
from tests.fake_model import FakeModel, Request, Response, rate
from tests.tiny_checkpoints import MAX_TOKENS, save_bert, save_headless_bert

TEXTS = {f"s{number}": "x" * (3 + number % 7) for number in range(12)}


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(answer) as fake:
        yield fake


@pytest.fixture
def app(tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app that the fake model serves, and a pipeline that agrees with it."""
    folder = tmp_path / "a b é"
    (folder / ".run").mkdir(parents=True)
    (folder / "torch_model").mkdir()
    started = {"url": model.url, "key_file": None}
    (folder / ".run" / "endpoint.json").write_text(json.dumps(started), encoding="utf-8")
    samples.path(folder).parent.mkdir()
    write(folder, [{"id": id_, "text": text} for id_, text in TEXTS.items()])
    for name in ("URL", "TOKEN", "TOLERANCE", "CHANGED_SINCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP", str(folder))
    monkeypatch.setattr(reference, "CHILD", child(AGREES))
    return folder


def write(app: Path, rows: list[dict[str, str]]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    samples.path(app).write_text(lines, encoding="utf-8")


def child(code: str) -> tuple[str, ...]:
    """A process in the place of the one that imports transformers."""
    return (sys.executable, "-c", code)


AGREES = """if True:
    import json, sys
    texts = json.load(sys.stdin)["texts"]
    said = [
        {"label": f"{len(text) % 5 + 1} stars", "score": 0.5 + len(text) % 50 / 100,
         "logits": [0.0] * 5, "is_cut": False}
        for text, _ in texts
    ]
    print("chatter")
    print(json.dumps({"labels": [f"{i} stars" for i in range(1, 6)], "limit": 9, "answers": said}))
"""


def one(text: str) -> object:
    return rate(Request("", {}, text.encode())).body


def answer(request: Request) -> Response:
    """Answer one text, or a list of them."""
    asked = json.loads(request.body)
    if isinstance(asked, list):
        return Response([one(each["text"]) for each in asked])
    return Response(one(asked["text"]))


def deep(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, str]]:
    """Accept, then run in this process: exit code, and the line on each check."""
    code = 0
    for verb in (("accept",), ("run", "--deep")):
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["smoke", *verb, *words])
            with pytest.raises(SystemExit) as exit_:
                fault.run("smoke", command.main)
        code = int(exit_.value.code or 0)
    out = capsys.readouterr().out
    print(out)
    lines = [line.split(maxsplit=2) for line in out.splitlines() if line[0] in "pf-"]
    return code, {name: f"{tag} {rest}" for tag, name, rest in lines} | {"": out}


def test_a_model_that_answers_the_same_however_it_is_asked_passes(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    code, checks = deep(capsys)
    assert code == 0
    passed = {name for name, line in checks.items() if line.startswith("passed")}
    assert passed == {"determinism", "parity", "list", "order", "padding", "batch"}
    assert checks["invariance"].startswith("- not checked: no two that were answered share a group")
    assert "deep: 6 passed · 1 not checked · 12 samples in " in checks[""]


def test_without_the_option_nothing_more_is_asked(app: Path, model: FakeModel) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["smoke", "run"])
        with pytest.raises(SystemExit):
            fault.run("smoke", command.main)
    assert len(model.requests) == len(TEXTS)


def test_smoke_itself_imports_no_torch() -> None:
    code = "import sys, smoke.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_handler_that_takes_no_lists_is_asked_at_once_all_the_same(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    # One answer for each of three classes, whatever it is asked.
    model.think = lambda request: Response([one("a"), one("bb"), one("ccc")])
    _, checks = deep(capsys, "--tolerance", "1")
    assert "not checked: the handler takes no list of texts" in checks["list"]
    assert not {"order", "padding"} & checks.keys()
    assert checks["batch"].startswith("passed")


def test_kserve_s_protocol_takes_lists_as_instances(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def kserve(request: Request) -> Response:
        asked = json.loads(request.body)["instances"]
        return Response({"predictions": [one(each["text"]) for each in asked]})

    model.think = kserve
    url = model.url.replace("/predictions/reviews", "/v1/models/reviews:predict")
    code, checks = deep(capsys, "--url", url)
    assert code == 0
    assert checks["order"].startswith("passed 12 samples")


def test_a_list_in_another_order_fails_and_says_so(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def reverse(request: Request) -> Response:
        response = answer(request)
        return Response(response.body[::-1]) if isinstance(response.body, list) else response

    model.think = reverse
    code, checks = deep(capsys)
    assert code == 1
    assert checks["list"].startswith("failed")
    assert checks["batch"].startswith("passed")
    assert hints.ORDER in checks[""]
    # Of the first eight, the third has the answer of the sixth.
    assert "s2  1 stars 0.5500 · in a list 4 stars 0.5800" in checks[""]


def test_a_handler_that_fails_on_texts_of_different_length_is_told_to_pad(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def unpadded(request: Request) -> Response:
        asked = json.loads(request.body)
        if isinstance(asked, list) and len({len(each["text"]) for each in asked}) > 1:
            return Response({"message": "Prediction failed"}, 503)
        return answer(request)

    model.think = unpadded
    code, checks = deep(capsys)
    assert code == 1
    assert checks["list"].startswith("failed 12 of 12")
    assert "in a list 503 Prediction failed" in checks[""]
    assert hints.FAILS in checks[""]


def test_what_differs_from_one_time_to_the_next_blames_nothing_else(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def drifting(request: Request) -> Response:
        return Response({"label": "1 stars", "score": 0.5 + len(model.requests) * 1e-5})

    model.think = drifting
    code, checks = deep(capsys)
    assert code == 1
    assert checks["determinism"].startswith("failed 12 of 12")
    assert "is dropout still on" in checks[""]
    assert checks["parity"].startswith("failed")
    assert hints.UNSTEADY in checks[""]


def test_a_group_that_expects_the_same_fails_with_two_labels(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = {"group": "g", "expect": "same"}
    rows = [{"id": text, "text": text, **group} for text in ("aaa", "bbb", "cccc")]
    rows += [{"id": "other", "text": "dd", "group": "g"}]
    write(app, rows)
    code, checks = deep(capsys)
    assert code == 1
    assert checks["invariance"].startswith("failed 1 of 3 samples")
    assert "cccc  5 stars 0.5400 · aaa 4 stars 0.5300" in checks[""]
    assert hints.MODEL in checks[""]


def test_what_is_not_answered_alone_is_left_out_and_said(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(request: Request) -> Response:
        asked = json.loads(request.body)
        if isinstance(asked, dict) and asked["text"] == TEXTS["s1"]:
            return Response({"message": "no"}, 503)
        return answer(request)

    model.think = failing
    code, checks = deep(capsys)
    assert code == 1
    assert checks["parity"].startswith("passed 10 samples")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('print(\'{"unchecked": "it is TorchScript"}\')', "it is TorchScript"),
        ("import sys; sys.exit('no module torch')", "ended with 1: no module torch"),
    ],
    ids=["said", "died"],
)
def test_a_checkpoint_without_pipeline_is_no_failure(
    app: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    said: str,
) -> None:
    monkeypatch.setattr(reference, "CHILD", child(code))
    exit_code, checks = deep(capsys)
    assert exit_code == 0
    assert checks["parity"].startswith("- not checked: ")
    assert said in checks["parity"]


def test_what_was_compared_is_said_where_it_may_not_be_what_is_served(
    app: Path,
    model: FakeModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, checks = deep(capsys, "--url", model.url)
    assert f"that {model.url} serves the same is not known" in checks["parity"]
    monkeypatch.setenv("CHANGED_SINCE", "model.safetensors")
    _, checks = deep(capsys)
    assert "model.safetensors changed there" in checks["parity"]


def test_the_pipeline_is_asked_again_only_when_the_checkpoint_changes(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app / "torch_model" / "config.json").write_text("{}", encoding="utf-8")
    some = list(Suite(app).samples())
    first = reference.ask(app, some)
    monkeypatch.setattr(reference, "CHILD", child("raise SystemExit(1)"))
    assert reference.ask(app, some) == first
    (app / "torch_model" / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(reference.UncheckedError):
        reference.ask(app, some)


def test_of_many_samples_some_are_checked_and_always_the_same(app: Path) -> None:
    write(app, [{"id": str(number), "text": "x"} for number in range(1001)])
    suite = Suite(app)
    chosen = texts.chosen(suite)
    assert 150 < len(chosen) <= texts.MOST
    assert chosen == texts.chosen(suite)
    assert int(chosen[-1].id) > 990


LABELS = ("a", "b", "c", "d")
LOGITS = ((0.1, 2.0, -1.0, 0.0), (3.0, 0.2, 0.1, -2.0), (0.0, 0.1, 0.2, 1.7))
SAMPLES = (Sample("one", "x"), Sample("two", "y"), Sample("three", "z", "pair"))


def told(cut: tuple[bool, ...] = (False, False, False)) -> Reference:
    """What a pipeline says of the samples above."""
    said = []
    for logits, is_cut in zip(LOGITS, cut, strict=True):
        scores = torch.tensor(logits).softmax(-1).tolist()
        best = scores.index(max(scores))
        said.append(Said(Answer(LABELS[best], scores[best]), logits, is_cut))
    return Reference(LABELS, 9, tuple(said))


Change = Callable[[int, Answer], Answer]
FUNCTIONS = {
    "the sigmoid": lambda logits: logits.sigmoid(),
    "the log of the softmax": lambda logits: logits.log_softmax(-1),
    "none": lambda logits: logits,
}


def named(index: int, answer: Answer, step: int) -> Answer:
    return Answer(LABELS[(LABELS.index(answer.label) + step) % 4], answer.score)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda i, each: named(i, each, 1), "its label that of class n+1"),
        (lambda i, each: named(i, each, 3), "its label that of class n-1"),
        (lambda i, each: named(i, each, 1 + i % 2), hints.EXCHANGED),
        (lambda i, each: Answer("LABEL_0", each.score), hints.UNKNOWN_LABELS),
        (lambda i, each: Answer(each.label, 0.3) if i == 2 else each, hints.PAIR),
        (lambda i, each: Answer(each.label, 0.3) if i == 1 else each, "limit 9 tokens"),
        (lambda i, each: Answer(each.label, 0.3), None),
    ],
    ids=["next", "last", "exchanged", "unknown", "pair", "cut", "nothing"],
)
def test_a_hint_on_parity_fits_all_of_the_evidence(change: Change, hint: str | None) -> None:
    known = told(cut=(False, True, False))
    pairs = zip(SAMPLES, known.said, strict=True)
    asked: Asked = {each: change(i, said.answer) for i, (each, said) in enumerate(pairs)}
    assert_hint(asked, known, hint)


def test_texts_that_differ_since_they_are_long_are_told_so() -> None:
    known = told()
    texts = [Sample("short", "x"), Sample("long", "x y z"), Sample("middling", "x y")]
    pairs = zip(texts, known.said, strict=True)
    asked = {each: Answer(said.answer.label, said.answer.score) for each, said in pairs}
    asked[texts[1]] = Answer(asked[texts[1]].label, 0.3)
    assert_hint(asked, known, "only the longest texts differ")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_function_of_the_logits_is_recognised(name: str) -> None:
    known, asked = told(), {}
    for sample, said in zip(SAMPLES, known.said, strict=True):
        scores = FUNCTIONS[name](torch.tensor(said.logits)).tolist()
        asked[sample] = Answer(said.answer.label, max(scores))
    assert_hint(asked, known, f"each score is {name} of the logits, the pipeline's the softmax")


def assert_hint(asked: Asked, known: Reference, hint: str | None) -> None:
    others = [(each, said.answer) for each, said in zip(asked, known.said, strict=True)]
    found = differences(asked, others, "pipeline", 1e-4)
    assert found
    given = hints.of_parity(found, asked, known, 1e-4)
    assert given == hint or (hint and given and hint in given)


def test_a_difference_in_the_fourth_digit_is_put_down_to_rounding() -> None:
    alone, other = Answer("a", 0.5), Answer("a", 0.5004)
    found = {"list": [Difference(SAMPLES[0], alone, other, "in a list")]}
    hint = hints.of_batches(found, {SAMPLES[0]: alone}, {"list": [(SAMPLES[0], other)]}, 1e-4, ())
    assert hint == hints.ROUNDING


def test_padding_is_blamed_only_for_what_is_right_alone() -> None:
    alone, other = Answer("a", 0.5), Answer("b", 0.9)
    found = {"list": [Difference(SAMPLES[0], alone, other, "in a list")]}
    others = {"list": [(SAMPLES[0], other)]}
    asked = {SAMPLES[0]: alone}
    assert hints.of_batches(found, asked, others, 1e-4, ()) == hints.MASK
    assert hints.of_batches(found, asked, others, 1e-4, SAMPLES[:1]) is None


def test_texts_that_differ_in_capitals_alone_point_to_the_tokenizer() -> None:
    assert hints.of_groups([("Good", "GOOD")], None) == hints.CASE
    assert hints.of_groups([("Good", "Great")], None) is None
    assert hints.of_groups([("Good", "GOOD")], False) == hints.FIRST


def test_a_failure_is_never_the_same() -> None:
    asked = {SAMPLES[0]: Answer("a", 0.5)}
    assert differences(asked, [(SAMPLES[0], Failure("no"))], "again", 1)


def test_the_pipeline_cuts_names_and_joins_as_a_handler_has_to(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m", num_labels=3)
    names = {str(number): f"{number} stars" for number in range(3)}
    (folder / "index_to_name.json").write_text(json.dumps(names), encoding="utf-8")
    asked = [("good", None), ("good", "bad"), ("bad " * 50, None)]
    said = pipeline.classify(folder, asked)
    assert said["labels"] == ["0 stars", "1 stars", "2 stars"]
    assert said["limit"] == MAX_TOKENS
    assert [each["is_cut"] for each in said["answers"]] == [False, False, True]
    assert said["answers"][0]["score"] != said["answers"][1]["score"]


def test_a_bare_state_dict_is_loaded_and_torchscript_is_not(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m", num_labels=3)
    (expected,) = pipeline.classify(folder, [("good", None)])["answers"]
    model = pipeline.load(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "weights.pth")
    (said,) = pipeline.classify(folder, [("good", None)])["answers"]
    assert said["label"] == expected["label"]
    assert said["score"] == pytest.approx(expected["score"], abs=1e-6)
    (folder / "config.json").rename(folder / "kept")
    with pytest.raises(pipeline.UncheckedError, match=r"no config\.json"):
        pipeline.load(folder)
    (folder / "weights.pth").unlink()
    scripted: Any = torch.jit.script(torch.nn.Linear(1, 1))
    scripted.save(str(folder / "model.pt"))
    with pytest.raises(pipeline.UncheckedError, match="is TorchScript"):
        pipeline.load(folder)


def test_a_checkpoint_without_a_head_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(pipeline.UncheckedError, match="no weights for classifier"):
        pipeline.load(save_headless_bert(tmp_path / "m"))
