"""`smoke --deep` on the real TorchServe: a handler with one bug is caught, and the bug is named."""

import json
import shutil
from collections.abc import Iterator

import pytest

from tests import tiny_checkpoints
from tests.tiny_app import ROOT, TinyApp

pytestmark = pytest.mark.server

HANDLER = (ROOT / "handler.py").read_text(encoding="utf-8")
# Some are of nearly the same length, and so share a pass.
TEXTS = [
    "the food was very good",
    "bad and cold food",
    "great",
    "not very good but not bad",
    "a great and very very good food",
    "cold",
    "the food was not good and very cold but great",
    "very bad",
    "was it good or was it bad food",
    "the cold food was great but the good food was bad and very very cold " * 2,
]

BUGS = {
    "attention mask forgotten": (
        "self.model(**batch.to(self.device))",
        'self.model(batch["input_ids"], token_type_ids=batch["token_type_ids"])',
        {"list", "order", "padding", "batch"},
        "does the model get the attention_mask?",
    ),
    "results out of order": (
        "logits[chunk] =",
        "logits[sorted(chunk)] =",
        {"list", "order", "batch"},
        "results out of order within a batch",
    ),
    "dropout left on": (
        ".to(self.device).eval()",
        ".to(self.device).train()",
        {"determinism", "parity", "list", "order", "padding", "batch"},
        "is dropout still on, without model.eval()?",
    ),
    "labels shifted": (
        "[names[index] for index in classes]",
        "[names[index] for index in classes[1:] + classes[:1]]",
        {"parity"},
        "each score is right, its label that of class n+1",
    ),
    "sigmoid for softmax": (
        "return logits.softmax(dim=-1)",
        "return logits.sigmoid()",
        {"parity"},
        "each score is the sigmoid of the logits, the pipeline's the softmax",
    ),
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyApp]:
    """The root's handler, serving batches of a tiny model."""
    app = TinyApp(tmp_path_factory.mktemp("deep") / "a b é")
    try:
        shutil.rmtree(app.folder / "torch_model")
        tiny_checkpoints.save_bert(app.folder / "torch_model", num_labels=5)
        app.write("handler.py", HANDLER)
        app.write("model-config.yaml", "batchSize: 8\nmaxBatchDelay: 2\n")
        group = {"group": "great", "expect": "same"}
        rows = [{"id": f"s{number}", "text": text} for number, text in enumerate(TEXTS)]
        rows += [{"id": each, "text": each, **group} for each in ("GREAT food", "great FOOD")]
        app.write("smoke/samples.jsonl", "".join(json.dumps(each) + "\n" for each in rows))
        code, out, err = app.run("redeploy")
        assert code == 0, out + err
        yield app
    finally:
        app.close()


def deep(app: TinyApp) -> tuple[int, str, set[str]]:
    """Exit code, what was printed, and which checks have failed."""
    code, out, err = app.run("smoke", "run", "--deep")
    lines = [line.split() for line in out.splitlines()]
    return code, out + err, {words[1] for words in lines if words[0] == "failed"}


def serve(app: TinyApp, old: str, new: str) -> None:
    """Serve the root's handler with one edit, whose answers are the goldens."""
    assert HANDLER.count(old) == 1
    app.write("handler.py", HANDLER.replace(old, new))
    code, out, err = app.run("reload", GATE="none")
    assert code == 0, out + err


def test_an_honest_handler_passes_every_check(classifier: TinyApp) -> None:
    assert classifier.run("smoke", "accept")[0] == 0
    classifier.write("torch_model/notes.txt", "later than what is served")
    code, out, failed = deep(classifier)
    assert (code, failed) == (0, set()), out
    assert "deep: 7 passed · 12 samples in " in out
    assert "is served, notes.txt changed there" in out


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught_and_named(classifier: TinyApp, bug: str) -> None:
    old, new, checks, hint = BUGS[bug]
    serve(classifier, old, new)
    code, out, failed = deep(classifier)
    assert code == 1
    # Whether a group's answers came in a batch that went wrong is chance.
    assert failed - {"invariance"} == checks, out
    assert hint in out
