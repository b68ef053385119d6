"""Whatever classifier a user brings is served as transformers itself would have it.

One server, into which each kind is brought by a reload. `pytest -n 0 -s` with this file prints how
far the answers of each kind lie from those of transformers' pipeline.
"""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from transformers import pipeline
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from loop import reload, settings, warm
from loop.gate import Gate
from smoke import endpoint
from tests import tiny_checkpoints as checkpoints
from tests.tiny_app import ROOT, TinyApp

pytestmark = pytest.mark.server

TOLERANCE = 1e-5
LONG = "not the best place , yet not the worst either and very cold " * 3
TEXTS: list[Any] = [
    "good",
    LONG,
    "the waiter was rude and the bill was wrong",
    "what a lovely evening with Ünïcode 🎉 music !",
    "we left hungry",
    LONG + "good",
    "the food was great , the soup cold",
]
PAIRS: list[Any] = [
    {"text": "the food was great", "text_pair": "the soup was bad"},
    {"text": "good", "text_pair": LONG},
]


@dataclass(frozen=True)
class Kind:
    """A checkpoint: its family, more of its tokenizer's and model's arguments, its files."""

    family: str
    words: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    layout: tuple[Callable[[Path], None], ...] = ()


LIMITED = {"model_max_length": checkpoints.MAX_TOKENS}
RIGHT_PADDED = {"padding_side": "right"}
LEFT_PADDED = {"padding_side": "left"}
MULTI_LABEL = {"problem_type": "multi_label_classification"}
KINDS = {
    # Files of weights.
    "BERT": Kind("BERT"),
    "BERT, sharded": Kind("BERT", layout=(checkpoints.shard,)),
    "BERT, .bin and vocab.txt": Kind(
        "BERT", layout=(checkpoints.to_bin, checkpoints.to_old_tokenizer)
    ),
    "BERT, sharded .bin": Kind("BERT", layout=(checkpoints.to_sharded_bin,)),
    "BERT, state_dict": Kind("BERT", layout=(checkpoints.to_state_dict,)),
    "BERT, TorchScript": Kind("BERT", LIMITED, layout=(checkpoints.to_torchscript,)),
    # Families.
    "DistilBERT": Kind("DistilBERT"),
    "ELECTRA": Kind("ELECTRA"),
    "RoBERTa": Kind("RoBERTa"),
    "RoBERTa, vocab.json and merges.txt": Kind("RoBERTa", layout=(checkpoints.to_old_tokenizer,)),
    "RoBERTa, state_dict": Kind("RoBERTa", layout=(checkpoints.to_state_dict,)),
    "XLM-R": Kind("XLM-R"),
    "XLM-R, sentencepiece": Kind("XLM-R", layout=(checkpoints.to_sentencepieces,)),
    "DeBERTa": Kind("DeBERTa"),
    "DeBERTa-v2": Kind("DeBERTa-v2"),
    "DeBERTa-v3, sentencepiece": Kind("DeBERTa-v3", layout=(checkpoints.to_sentencepieces,)),
    # The side of the padding.
    "BERT, left": Kind("BERT", LEFT_PADDED),
    "XLNet": Kind("XLNet", LIMITED),
    # Models that cannot have texts share a pass.
    "FNet": Kind("FNet"),
    "BART": Kind("BART"),
    # Decoders: their own way of padding, the tokenizer's, or none.
    "GPT-2": Kind("GPT-2"),
    "GPT-2, padding in the model": Kind("GPT-2", config={"pad_token_id": 0}),
    "GPT-2, padding with a word": Kind("GPT-2", config={"pad_token_id": 65}),
    "GPT-2, left": Kind("GPT-2", LEFT_PADDED, {"pad_token_id": 0}),
    "Llama": Kind("Llama"),
    "Llama, eos": Kind("Llama", {"add_eos_token": True}),
    "Llama, padding of its own": Kind("Llama", config={"pad_token_id": 0}),
    "Llama, padding that is no token": Kind("Llama", config={"pad_token_id": -1}),
    "Llama, right": Kind("Llama", RIGHT_PADDED | {"pad_token": "</s>"}, {"pad_token_id": 2}),
    "Llama, sharded .bin": Kind("Llama", layout=(checkpoints.to_sharded_bin,)),
    "Qwen2": Kind("Qwen2"),
    "Qwen2, left": Kind("Qwen2", LEFT_PADDED, {"pad_token_id": 0}),
    # Types of problem.
    "BERT, multi-label": Kind("BERT", config=MULTI_LABEL),
    "RoBERTa, one label": Kind("RoBERTa", config={"num_labels": 1}),
    "DeBERTa-v3, regression": Kind(
        "DeBERTa-v3", config={"num_labels": 1, "problem_type": "regression"}
    ),
}


@pytest.fixture(autouse=True, scope="module")
def _no_progress() -> Iterator[None]:
    """transformers' bars would hide the figures."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    yield
    enable_progress_bar()  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def _same_warm_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """To import all anew for each family, as a reload does, would take most of the time."""
    monkeypatch.setattr(warm, "architecture", lambda _: "bert")


@pytest.fixture(scope="module")
def app(served: TinyApp) -> TinyApp:
    """The served app with the handler that users copy."""
    served.write("handler.py", (ROOT / "handler.py").read_text(encoding="utf-8"))
    return served


@pytest.mark.parametrize("name", KINDS)
def test_the_server_answers_what_the_pipeline_does(app: TinyApp, tmp_path: Path, name: str) -> None:
    alone, together = differences(app, tmp_path / "checkpoint", KINDS[name])
    print(f"\n{name:40}{alone:10.1e}{together:10.1e}", end=" ")
    assert max(alone, together) <= TOLERANCE, (
        f"{name}: the largest difference is {alone:.1e} alone and {together:.1e} in company"
    )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("BERT", "**batch.to(self.device)", "**{**batch, 'attention_mask': None}"),
        ("GPT-2, padding in the model", 'padding_side = "right"', 'padding_side = "left"'),
        ("Llama, padding of its own", ".convert_ids_to_tokens(pad)", ".eos_token"),
    ],
    ids=["no attention mask", "padding on the left", "other padding"],
)
def test_a_handler_that_pads_wrongly_is_found_out(
    app: TinyApp, tmp_path: Path, name: str, old: str, new: str
) -> None:
    app.replace(old, new)
    try:
        alone, together = differences(app, tmp_path / "checkpoint", KINDS[name])
    finally:
        app.replace(new, old)
    assert alone <= TOLERANCE
    assert together > 100 * TOLERANCE


def differences(app: TinyApp, folder: Path, kind: Kind) -> tuple[float, float]:
    """Have a kind served; the largest difference of a score, asked alone and all in one request."""
    config = {"num_labels": 3, **kind.config}
    checkpoints.save_family(folder, kind.family, kind.words, **config)
    expected = pipeline_says(folder, TEXTS + PAIRS)
    assert spread(expected) > 0.1, "all texts score the same: equality would prove little"
    for change in kind.layout:
        change(folder)
    shutil.rmtree(app.folder / "torch_model")
    folder.rename(app.folder / "torch_model")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as warned:
        reload.reload(settings.as_started(app.settings), Gate.ERRORS)
    assert warned.getvalue() == ""
    alone = [ask(app, [text])[0] for text in TEXTS + PAIRS]
    return difference(alone, expected), difference(ask(app, TEXTS + PAIRS), expected)


def pipeline_says(folder: Path, texts: list[Any]) -> list[dict[str, float]]:
    """The score of each label for each text or pair, by transformers, one at a time."""
    classify = pipeline("text-classification", str(folder), dtype=torch.float32)
    cut = {"truncation": True, "max_length": checkpoints.MAX_TOKENS}
    said = (classify(text, top_k=None, **cut) for text in texts)
    return [{each["label"]: each["score"] for each in answer} for answer in said]


def ask(app: TinyApp, texts: list[Any]) -> list[dict[str, float]]:
    """The score of each label for each text or pair, by the server, in one request."""
    found = endpoint.find(app.folder, None, None, None)
    headers = {"Authorization": f"Bearer {found.token}"}
    body = {"data": texts, "top_k": 9}
    response = requests.post(found.url, json=body, headers=headers, timeout=30)
    assert response.status_code == 200, response.text
    return [{each["label"]: each["score"] for each in said} for said in response.json()]


def difference(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> float:
    """The largest between two scores of the same label for the same text."""
    assert [each.keys() for each in ours] == [each.keys() for each in theirs]
    pairs = zip(ours, theirs, strict=True)
    return max(abs(a[label] - b[label]) for a, b in pairs for label in a)


def spread(scores: list[dict[str, float]]) -> float:
    """How far apart the scores of one label are, over all texts."""
    label = next(iter(scores[0]))
    return max(each[label] for each in scores) - min(each[label] for each in scores)
