"""Each app under examples/ is whole, fits together, and keeps out of the others' way; no server."""

from pathlib import Path

import pytest
import yaml

from loop import checkpoint as served
from loop import settings, workflow
from smoke import golden, samples
from train import adapter, data, recipe
from train.merge import merge

ROOT = Path(__file__).parents[1]
PROMISED = {
    "sentiment": {"pytorch_model.bin", "config.json", "vocab.txt"},
    "cola": {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"},
    "news": {"news.pth", "config.json", "vocab.txt"},
    "torchscript": {
        *("tickets.pt", "tokenizer.json", "tokenizer_config.json"),
        "index_to_name.json",
    },
}
APPS = [ROOT, *(ROOT / "examples" / name for name in PROMISED)]
WORKFLOW = ROOT / "examples" / "workflow"
EXAMPLES = pytest.mark.parametrize("app", APPS[1:], ids=lambda app: app.name)


@EXAMPLES
def test_an_app_shows_its_commands_on_one_screen(app: Path) -> None:
    readme = (app / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(readme) < 60
    assert f"make redeploy smoke APP=examples/{app.name}" in " ".join(readme)
    found = settings.read(app)
    assert any(found.inference_url in line or "-T ticket" in line for line in readme)


@EXAMPLES
def test_one_handler_serves_all_apps(app: Path) -> None:
    assert (app / "handler.py").readlink() == Path("../../handler.py")
    assert (app / "handler.py").resolve() == ROOT / "handler.py"


def test_no_two_apps_share_a_name_or_a_port() -> None:
    found = [settings.read(app) for app in (*APPS, WORKFLOW)]
    assert len({each.name for each in found}) == len(found)
    ports = [address.port for each in found for address in each.addresses]
    assert len(set(ports)) == 3 * len(found)


def test_news_has_the_ports_that_its_clients_know() -> None:
    news = settings.read(ROOT / "examples" / "news")
    assert [address.port for address in news.addresses] == [5000, 5001, 5002]


@EXAMPLES
def test_an_adapter_was_learnt_from_the_data_beside_it(app: Path) -> None:
    learnt = adapter.metrics(app)
    found = data.load(str(app / "data"))
    assert learnt["data"]["sha256"] == found.digest
    assert learnt["labels"] == found.labels
    assert len(found.train) >= 300


@EXAMPLES
def test_no_text_is_learnt_from_and_asked_about(app: Path) -> None:
    found = data.load(str(app / "data"))
    learnt = {" ".join(each.text.lower().split()) for each in found.train}
    asked = [each.text for each in found.validation]
    asked += [each.text for each in samples.read(app)]
    assert not [text for text in asked if " ".join(text.lower().split()) in learnt]


@EXAMPLES
def test_samples_are_labelled_with_the_apps_classes_and_have_goldens(app: Path) -> None:
    found = samples.read(app)
    assert 24 <= len(found) <= 40
    assert {each.label for each in found} == set(adapter.metrics(app)["labels"])
    goldens = golden.read(app)
    assert set(goldens) == {each.id for each in found}


@EXAMPLES
def test_a_model_is_made_in_the_layout_of_its_app(app: Path, tmp_path: Path) -> None:
    for name in ("adapter", "data", "handler.py", "model-config.yaml"):
        (tmp_path / name).symlink_to(app / name)
    merge(tmp_path)
    assert {each.name for each in served.files(tmp_path)} == PROMISED[app.name]
    made = (tmp_path / "torch_model" / recipe.read(app).weights).stat().st_ino
    merge(tmp_path)
    assert (tmp_path / "torch_model" / recipe.read(app).weights).stat().st_ino == made


def test_every_class_of_cola_is_answered() -> None:
    config = yaml.safe_load((ROOT / "examples/cola/model-config.yaml").read_text("utf-8"))
    assert config["handler"]["top_k"] == len(adapter.metrics(ROOT / "examples/cola")["labels"])


def test_news_calls_its_score_a_probability() -> None:
    config = yaml.safe_load((ROOT / "examples/news/model-config.yaml").read_text("utf-8"))
    assert config["handler"]["score"] == "probability"


def test_packages_of_torchscript_are_installed_for_it() -> None:
    app = ROOT / "examples" / "torchscript"
    assert settings.read(app).flag("install_py_dep_per_model")
    assert (app / "requirements.txt").is_file()


def test_the_workflow_joins_models_of_other_apps_and_has_goldens_for_its_samples() -> None:
    assert workflow.apps(settings.read(WORKFLOW)) == [ROOT / "examples" / "sentiment", ROOT]
    assert set(golden.read(WORKFLOW)) == {each.id for each in samples.read(WORKFLOW)}
    readme = (WORKFLOW / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 60
    assert settings.read(WORKFLOW).inference_url in readme
