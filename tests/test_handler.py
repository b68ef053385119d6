"""What handler.py promises to those who serve a model with it, and to those who ask one.

Every request goes through TorchServe's own loader, codec and service: only the server in Java and
the socket are missing.
"""

import io
import json
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from ts.model_loader import TsModelLoader
from ts.protocol import otf_message_handler as codec

from tests.tiny_checkpoints import (
    MAX_TOKENS,
    save_bert,
    save_distilbert,
    save_gpt2,
    save_headless_bert,
    save_roberta,
)
from train import layout

TEXT = "the food was very good"
LONG = "bad and cold " * MAX_TOKENS
TEXTS = [LONG, "good", "great food but cold", LONG + TEXT, "a", TEXT, "bad"] * 3

Request = list[tuple[str, str, bytes]]
"""The parameters of one request: name, content type and value of each."""


@dataclass(frozen=True)
class Reply:
    """What TorchServe's server is told to answer to one request."""

    status: int
    phrase: str
    content_type: str
    body: Any


class Worker:
    """A worker of TorchServe with the handler and a checkpoint loaded."""

    def __init__(
        self,
        model_dir: Path,
        settings: str = "",
        gpu: int | None = None,
        envelope: str | None = None,
    ) -> None:
        (model_dir / "MAR-INF").mkdir(exist_ok=True)
        manifest = {"model": {"configFile": "model-config.yaml", "modelVersion": "1f2e"}}
        (model_dir / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
        (model_dir / "model-config.yaml").write_text(settings, encoding="utf-8")
        self.service = TsModelLoader().load(
            "tiny", str(model_dir), "handler.py", gpu, 8, envelope, metrics_cache=Mock()
        )
        self.service.set_cl_socket(None)

    def ask(self, *requests: Request) -> list[Reply]:
        """Answer one batch of requests; their ids are request-0, request-1 and so on."""
        message = io.BytesIO(encode(requests))
        batch = codec._retrieve_inference_msg(SimpleNamespace(recv=message.read))
        return decode(bytes(self.service.predict(batch)))


def encode(requests: tuple[Request, ...]) -> bytes:
    """A batch as the server writes it to the socket."""

    def sized(value: bytes) -> bytes:
        return struct.pack("!i", len(value)) + value

    end = struct.pack("!i", -1)
    message = b""
    for number, request in enumerate(requests):
        message += sized(f"request-{number}".encode()) + end
        for name, content_type, value in request:
            message += sized(name.encode()) + sized(content_type.encode()) + sized(value)
        message += end
    return message + end


def decode(message: bytes) -> list[Reply]:
    """The replies that the server reads from the socket."""
    stream = io.BytesIO(message)

    def integer() -> int:
        return int(struct.unpack("!i", stream.read(4))[0])

    def text() -> str:
        return stream.read(integer()).decode("utf-8")

    assert (integer(), text()) == (200, "Prediction success")
    replies = []
    while (length := integer()) >= 0:
        stream.read(length)
        content_type, status, phrase = text(), integer(), text()
        for _ in range(2 * integer()):
            text()
        replies.append(Reply(status, phrase, content_type, json.loads(text())))
    return replies


def plain(text: str) -> Request:
    return [("body", "text/plain", text.encode("utf-8"))]


def as_json(value: Any) -> Request:
    return [("body", "application/json", json.dumps(value).encode("utf-8"))]


def form(**fields: str) -> Request:
    return [(name, "", value.encode("utf-8")) for name, value in fields.items()]


def pipeline_says(model_dir: Path, texts: Any) -> Any:
    """Every label of every text with its score, best first, as transformers has them."""
    classify = pipeline("text-classification", str(model_dir))
    return classify(texts, top_k=None, truncation=True, max_length=MAX_TOKENS)


def same(ours: Any, theirs: Any) -> bool:
    """Whether two lists of answers have the same labels, in order, and scores within 1e-5."""
    assert [answer["label"] for answer in ours] == [answer["label"] for answer in theirs]
    expected = pytest.approx([answer["score"] for answer in theirs], abs=1e-5)
    return bool([answer["score"] for answer in ours] == expected)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"), num_labels=3)


@pytest.fixture(scope="module")
def worker(bert: Path) -> Worker:
    return Worker(bert)


# What it answers


@pytest.mark.parametrize("save", [save_bert, save_distilbert, save_roberta, save_gpt2])
def test_it_answers_what_the_pipeline_does(save: Callable[..., Path], tmp_path: Path) -> None:
    save(tmp_path, num_labels=3)
    replies = Worker(tmp_path).ask(*(as_json({"text": text, "top_k": 3}) for text in TEXTS[:7]))
    # One text at a time, because the pipeline does not pad for GPT-2.
    expected = [pipeline_says(tmp_path, text) for text in TEXTS[:7]]
    assert all(same(reply.body, answer) for reply, answer in zip(replies, expected, strict=True))


@pytest.mark.parametrize(
    "config",
    [
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        {"num_labels": 1},
        {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 2, "problem_type": "regression"},
        {"num_labels": 2, "problem_type": "single_label_classification"},
    ],
    ids=str,
)
def test_its_scores_follow_the_type_of_problem(config: dict[str, Any], tmp_path: Path) -> None:
    save_bert(tmp_path, **config)
    (reply,) = Worker(tmp_path).ask(as_json({"text": TEXT, "top_k": 9}))
    assert same(reply.body, pipeline_says(tmp_path, TEXT))


def test_a_pair_is_classified_together(worker: Worker, bert: Path) -> None:
    pair = {"text": TEXT, "text_pair": "bad food"}
    old = {"data": pair["text"], "text_pair": pair["text_pair"]}
    replies = worker.ask(
        as_json({**pair, "top_k": 3}), form(**pair, top_k="3"), as_json({**old, "top_k": 3})
    )
    expected = pipeline_says(bert, pair)
    assert all(same(reply.body, expected) for reply in replies)
    assert worker.ask(plain(TEXT))[0].body != expected[0]


@pytest.mark.parametrize(
    "request_",
    [
        plain(TEXT),
        [("body", "", TEXT.encode())],
        as_json(TEXT),
        as_json({"text": TEXT}),
        as_json({"data": TEXT}),
        form(data=TEXT),
        [("data", "text/plain", TEXT.encode())],
        [("data", "application/octet-stream", TEXT.encode())],
        [("model_name", "", b"tiny"), *plain(TEXT)],
    ],
    ids=str,
)
def test_a_text_may_come_in_many_ways(worker: Worker, bert: Path, request_: Request) -> None:
    (reply,) = worker.ask(request_)
    assert (reply.status, reply.content_type) == (200, "application/json")
    assert same([reply.body], pipeline_says(bert, TEXT)[:1])


@pytest.mark.parametrize(
    "body",
    [
        [TEXT, {"text": "good", "text_pair": "bad"}, {"data": "cold"}],
        {"data": [TEXT, {"text": "good", "text_pair": "bad"}, "cold"]},
    ],
    ids=str,
)
def test_a_list_is_answered_with_a_plain_list(worker: Worker, bert: Path, body: Any) -> None:
    (reply,) = worker.ask(as_json(body))
    texts = [TEXT, {"text": "good", "text_pair": "bad"}, "cold"]
    assert reply.content_type == "application/json"
    assert same(reply.body, [pipeline_says(bert, text)[0] for text in texts])


def test_instances_are_answered_with_predictions(worker: Worker, bert: Path) -> None:
    pair = {"text": "good", "text_pair": "bad"}
    (reply,) = worker.ask(as_json({"instances": [{"data": TEXT}, pair, "cold"]}))
    assert reply.body.keys() == {"predictions"}
    expected = [pipeline_says(bert, text)[0] for text in (TEXT, pair, "cold")]
    assert same(reply.body["predictions"], expected)


def test_torchserves_kserve_envelope_may_stand_in_between(bert: Path, worker: Worker) -> None:
    """It hands over the one instance of one request, in place of a request's fields."""
    instance = as_json({"instances": [{"text": TEXT}]})
    (enveloped,) = Worker(bert, envelope="kserve").ask(instance)
    assert enveloped.body == worker.ask(instance)[0].body


def test_a_list_of_one_is_still_a_list(worker: Worker) -> None:
    lone, listed = worker.ask(as_json(TEXT), as_json([TEXT]))
    assert listed.body == [lone.body]


@pytest.mark.parametrize("top_k", [1, 2, 3, 99])
def test_top_k_gives_so_many_labels_best_first(worker: Worker, bert: Path, top_k: int) -> None:
    expected = pipeline_says(bert, TEXT)[:top_k]
    query = [("top_k", "", str(top_k).encode()), *plain(TEXT)]
    options = {"top_k": top_k}
    one, queried, formed, several = worker.ask(
        as_json({"text": TEXT, **options}),
        query,
        form(data=TEXT, top_k=str(top_k)),
        as_json({"data": [TEXT, TEXT], **options}),
    )
    for answer in (one.body, queried.body, formed.body, *several.body):
        assert same(answer, expected)


def test_the_company_and_order_of_texts_change_no_answer(worker: Worker) -> None:
    alone = [worker.ask(plain(text))[0].body for text in TEXTS]
    batched = [reply.body for reply in worker.ask(*map(plain, TEXTS))]
    assert same(batched, alone)
    (listed,) = worker.ask(as_json(TEXTS))
    assert same(listed.body, alone)


def test_an_empty_text_is_a_text(worker: Worker, bert: Path) -> None:
    empty, named = worker.ask(plain(""), as_json({"text": ""}))
    assert same([empty.body, named.body], pipeline_says(bert, "")[:1] * 2)


def test_an_empty_text_of_which_a_tokenizer_makes_nothing_fails_alone(tmp_path: Path) -> None:
    save_gpt2(tmp_path, num_labels=3)
    refused, answered = Worker(tmp_path).ask(plain(""), plain(TEXT))
    assert (refused.status, answered.status) == (400, 200)
    assert "a text is empty" in refused.body["message"]


# Where texts are cut


@pytest.mark.parametrize("save", [save_bert, save_roberta])
def test_what_goes_beyond_the_model_is_cut(save: Callable[..., Path], tmp_path: Path) -> None:
    save(tmp_path, num_labels=3)
    worker = Worker(tmp_path)
    long, longer = worker.ask(plain(LONG), plain(LONG + TEXT))
    assert long.body == pytest.approx(longer.body)
    assert same([long.body], pipeline_says(tmp_path, LONG)[:1])
    pair = {"text": LONG, "text_pair": LONG}
    assert same([worker.ask(as_json(pair))[0].body], pipeline_says(tmp_path, pair)[:1])


def test_the_tokenizers_own_cut_and_padding_are_overruled(tmp_path: Path) -> None:
    save_bert(tmp_path, num_labels=3)
    expected = pipeline_says(tmp_path, LONG)[:1]
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    direction = {"direction": "Right"}
    tokenizer["truncation"] = {
        "max_length": 6,
        "strategy": "LongestFirst",
        "stride": 0,
        **direction,
    }
    padding = {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]", "pad_to_multiple_of": None}
    tokenizer["padding"] = {"strategy": {"Fixed": 9}, **padding, **direction}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    worker = Worker(tmp_path)
    assert same([worker.ask(plain(LONG))[0].body], expected)
    handler = worker.service._entry_point.__self__
    _, inputs = handler.preprocess([{"body": "good"}])
    assert len(inputs[0]["input_ids"]) == len(["[CLS]", "good", "[SEP]"])


# What it refuses

BAD: list[tuple[str, Request]] = [
    ("not UTF-8", [("body", "text/plain", b"caf\xe9")]),
    ("not UTF-8", [("body", "", b"caf\xe9")]),
    ("not UTF-8", [("data", "", b"caf\xe9")]),
    ("not UTF-8", [("body", "application/json", b'"\\ud800"')]),
    ("not UTF-8", [("body", "application/json", b'"caf\xe9"')]),
    ("not JSON", [("body", "application/json", b'{"text": ')]),
    ("not JSON", [("body", "application/json", b"")]),
    ("recursion", [("body", "application/json", b"[" * 100_000)]),
    ("list is empty", as_json([])),
    ("list is empty", as_json({"instances": []})),
    ("null", as_json(None)),
    ("null", as_json({"text": None})),
    ("item 2 has null", as_json([TEXT, None])),
    ("int", as_json(5)),
    ("item 1 has float", as_json({"data": [1.5]})),
    ("bool", as_json({"text": True})),
    ("item 1 has list", as_json([[TEXT]])),
    ("neither", as_json({})),
    ("neither", as_json({"sentence": TEXT})),
    ("neither", as_json({"instances": TEXT})),
    ("dict", as_json({"data": {"text": TEXT}})),
    ("item 2 has neither", as_json([TEXT, {"body": TEXT}])),
    ("neither", as_json({"text_pair": TEXT})),
    ("int", as_json({"text": TEXT, "text_pair": 5})),
    ("null", as_json({"text": TEXT, "text_pair": None})),
    ("top_k", as_json({"text": TEXT, "top_k": 0})),
    ("top_k", as_json({"text": TEXT, "top_k": -1})),
    ("top_k", as_json({"text": TEXT, "top_k": 1.0})),
    ("top_k", as_json({"text": TEXT, "top_k": True})),
    ("top_k", as_json({"text": TEXT, "top_k": None})),
    ("top_k", form(data=TEXT, top_k="many")),
    ("top_k", [("top_k", "", b""), *plain(TEXT)]),
    ("text/plain", []),  # this is all that `curl -d TEXT` leaves
    ("text/plain", form(**{"the food was good ": "", " cheap": ""})),
]


@pytest.mark.parametrize(("reason", "bad"), BAD, ids=lambda value: str(value)[:60])
def test_a_bad_request_fails_alone_and_learns_why(
    worker: Worker, reason: str, bad: Request
) -> None:
    before, refused, after = worker.ask(plain(TEXT), bad, as_json(["good", "bad"]))
    assert (refused.status, refused.phrase) == (400, "Bad Request")
    assert refused.content_type == "application/json"
    assert (refused.body["code"], refused.body["type"]) == (400, "BadRequest")
    assert reason in refused.body["message"]
    assert "Accepted: " in refused.body["message"]
    assert (before.status, after.status) == (200, 200)
    assert same([before.body], [worker.ask(plain(TEXT))[0].body])
    assert len(after.body) == 2


def test_json_nested_at_the_edge_of_the_stack_fails_alone(worker: Worker) -> None:
    for depth in range(800, 1001, 20):
        nested = [("body", "application/json", b"[" * depth + b"]" * depth)]
        refused, good = worker.ask(nested, plain(TEXT))
        assert (refused.status, good.status) == (400, 200)


def test_a_batch_of_bad_requests_is_answered_too(worker: Worker) -> None:
    assert [reply.status for reply in worker.ask(as_json(1), as_json([]))] == [400, 400]


# What it loads


def test_a_headless_checkpoint_is_refused_by_the_names_of_its_gaps(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no weights for classifier\.bias, classifier\.weight"):
        Worker(save_headless_bert(tmp_path))


def test_a_head_of_another_size_is_refused(tmp_path: Path) -> None:
    save_bert(tmp_path, num_labels=3)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {"0": "bad", "1": "good"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(RuntimeError, match="size"):
        Worker(tmp_path)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "m.pth", "m.pt", "m.safetensors"])
def test_weights_may_come_in_any_layout(bert: Path, tmp_path: Path, weights: str) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert)
    words = AutoTokenizer.from_pretrained(bert)
    layout.write(model, words, tmp_path, weights)
    replies = Worker(tmp_path).ask(*(as_json({"text": text, "top_k": 3}) for text in TEXTS[:7]))
    expected = [pipeline_says(bert, text) for text in TEXTS[:7]]
    assert all(same(reply.body, answer) for reply, answer in zip(replies, expected, strict=True))


def test_a_bare_state_dict_is_read_by_its_config(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "weights.pt")
    (reply,) = Worker(tmp_path).ask(plain(TEXT))
    assert same([reply.body], pipeline_says(bert, TEXT)[:1])
    del state["classifier.weight"]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(RuntimeError, match=r"weights\.pt: no weights for classifier\.weight"):
        Worker(tmp_path)


def test_a_torchscript_model_may_take_less_and_answer_a_tuple(bert: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(bert, return_dict=False).eval()
    words = AutoTokenizer.from_pretrained(bert)
    inputs = words([TEXT, "good"], padding=True, return_tensors="pt")
    traced: Any = torch.jit.trace(model, (inputs["input_ids"], inputs["attention_mask"]))  # type: ignore[no-untyped-call]
    traced.save(str(tmp_path / "traced.pt"))
    words.save_pretrained(tmp_path)
    shutil.copy(bert / "config.json", tmp_path)
    (reply,) = Worker(tmp_path).ask(plain(TEXT))
    assert same([reply.body], pipeline_says(bert, TEXT)[:1])


def test_of_several_files_of_weights_one_must_be_meant(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path, dirs_exist_ok=True)
    (tmp_path / "optimizer.pt").touch()  # beside its own weights, transformers' are meant
    assert Worker(tmp_path).ask(plain(TEXT))[0].status == 200
    (tmp_path / "model.safetensors").rename(tmp_path / "rng_state.pth")
    with pytest.raises(RuntimeError, match=r"optimizer\.pt, rng_state\.pth: keep one"):
        Worker(tmp_path)


def test_an_app_may_answer_all_classes_and_name_the_score(bert: Path) -> None:
    worker = Worker(bert, "handler:\n  top_k: 3\n  score: probability\n")
    all_, one = worker.ask(plain(TEXT), as_json({"text": TEXT, "top_k": 1}))
    assert [set(each) for each in all_.body] == [{"label", "probability"}] * 3
    expected = pipeline_says(bert, TEXT)
    assert [each["label"] for each in all_.body] == [each["label"] for each in expected]
    assert [each["label"] for each in one.body] == [expected[0]["label"]]


def test_labels_come_from_the_config(tmp_path: Path) -> None:
    save_bert(tmp_path, id2label={0: "schlecht", 1: "größer"})
    assert labels(Worker(tmp_path)) == {"schlecht", "größer"}


def test_index_to_name_comes_before_the_config(tmp_path: Path) -> None:
    save_bert(tmp_path, num_labels=2)
    (tmp_path / "index_to_name.json").write_text('{"1": "größer", "0": "schlecht"}', "utf-8")
    assert labels(Worker(tmp_path)) == {"schlecht", "größer"}


def labels(worker: Worker) -> set[str]:
    (reply,) = worker.ask(as_json({"text": TEXT, "top_k": 9}))
    return {answer["label"] for answer in reply.body}


@pytest.mark.parametrize(
    "names",
    ['{"0": "bad"}', '{"0": "a", "1": "b", "2": "c"}', '{"1": "a", "2": "b"}', '["0", "1"]', "{"],
)
def test_labels_that_do_not_fit_the_classes_are_refused(names: str, tmp_path: Path) -> None:
    save_bert(tmp_path, num_labels=2)
    (tmp_path / "index_to_name.json").write_text(names, "utf-8")
    with pytest.raises(RuntimeError, match=r"index_to_name\.json"):
        Worker(tmp_path)


def test_a_checkpoint_in_half_precision_is_computed_in_full(tmp_path: Path) -> None:
    save_bert(tmp_path, num_labels=3)
    half = AutoModelForSequenceClassification.from_pretrained(tmp_path).to(torch.bfloat16)
    half.save_pretrained(tmp_path)
    handler = Worker(tmp_path).service._entry_point.__self__
    assert {weights.dtype for weights in handler.model.parameters()} == {torch.float32}


def test_workers_share_the_cores(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for settings, threads in {
        "": 6,
        "minWorkers: 2": 3,
        "minWorkers: 1\nmaxWorkers: 3": 2,
        "maxWorkers: 7": 1,
    }.items():
        Worker(bert, settings)
        assert torch.get_num_threads() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    Worker(bert, "maxWorkers: 6")
    assert torch.get_num_threads() == 4


def test_an_assigned_gpu_that_is_not_there_is_reported_and_done_without(
    bert: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (reply,) = Worker(bert, gpu=1).ask(plain(TEXT))
    assert reply.status == 200
    assert "GPU 1 is assigned, but torch finds no CUDA" in caplog.text


def test_loading_draws_no_progress_bar(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Worker(bert)
    assert capfd.readouterr().err == ""


# What it logs


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="handler")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "handler"]


def test_an_input_is_logged_once_with_the_id_of_its_request(
    worker: Worker, log: Callable[[], list[str]]
) -> None:
    worker.ask(plain("größer\n\u2028😀\x1b[2J"), as_json({"text": "a", "text_pair": "é"}))
    assert log() == [
        r"request request-0: 'größer\n\u2028😀\x1b[2J'",
        "request request-1: {'text': 'a', 'text_pair': 'é'}",
    ]


def test_a_logged_input_is_cut(worker: Worker, log: Callable[[], list[str]]) -> None:
    worker.ask(plain("x" * 1000))
    (line,) = log()
    assert line == "request request-0: '" + "x" * 199


def test_a_refused_input_is_logged_with_the_reason(
    worker: Worker, log: Callable[[], list[str]]
) -> None:
    worker.ask(as_json([5]))
    assert log() == [
        "request request-0: [5]",
        "request request-0 refused: item 1 has int where a text is expected",
    ]


def test_inputs_stay_out_of_the_log_on_demand(bert: Path, log: Callable[[], list[str]]) -> None:
    worker = Worker(bert, "handler:\n  log_inputs: false\n")
    secrets: list[Request] = [plain("secret"), as_json({"secret": 1}), as_json(["secret", None])]
    secrets.append([("body", "application/json", b'{"secret": ')])
    worker.ask(*secrets)
    assert log()
    assert not any("secret" in line for line in log())


# What it counts


def counted(worker: Worker) -> list[tuple[str, float, list[str]]]:
    """What the handler has told TorchServe's metrics: name, value and labels of each."""
    calls = worker.service.context.metrics.mock_calls
    return [
        (args[0], args[1], [str(each) for each in options.get("dimensions") or args[-2]])
        for name, args, options in calls
        if name in ("add_counter", "add_time") and args[0].startswith("handler_")
    ]


def test_a_batch_is_counted_by_its_answers_with_tokens_and_padding(bert: Path) -> None:
    worker = Worker(bert)
    worker.ask(plain("good"), as_json([TEXT, "bad food"]), as_json([5]))
    version = "ModelVersion:1f2e"
    (requests, refused, tokens, padding, seconds) = counted(worker)
    assert requests == ("handler_requests_total", 2, [version, "Status:2XX"])
    assert refused == ("handler_requests_total", 1, [version, "Status:4XX"])
    # Each text has two special tokens. The short ones share a pass, and one is padded.
    assert tokens == ("handler_tokens_total", 3 + 7 + 4, [version])
    assert padding == ("handler_padding_total", 1, [version])
    assert seconds[0] == "handler_seconds"
    assert 0 < seconds[1] < 10


def test_a_batch_that_fails_is_counted_too(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(bert)
    monkeypatch.setattr(worker.service._entry_point.__self__, "inference", lambda _: 1 / 0)
    with pytest.raises(AssertionError):
        worker.ask(plain("good"), plain("bad"))
    assert counted(worker)[0] == (
        "handler_requests_total",
        2,
        ["ModelVersion:1f2e", "Status:5XX"],
    )
    assert len(counted(worker)) == 4


def test_without_metrics_a_batch_is_answered_all_the_same(bert: Path) -> None:
    worker = Worker(bert)
    handler = worker.service._entry_point.__self__
    context = Mock(spec=["get_request_id", "get_request_header", "set_response_content_type"])
    context.get_request_header.return_value = {}
    (answer,) = handler.handle([{"body": b"good"}], context)
    assert answer.keys() == {"label", "score"}


def test_metrics_that_cannot_be_told_cost_no_answer(
    bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(bert)
    handler = worker.service._entry_point.__self__
    context = MagicMock()
    context.get_request_header.return_value = None
    context.metrics.add_counter.side_effect = ValueError("no such metric")
    (answer,) = handler.handle([{"body": b"good"}], context)
    assert answer.keys() == {"label", "score"}
    assert "this batch is not counted: ValueError('no such metric')" in caplog.text
