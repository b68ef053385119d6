"""What a workflow is made of, and what is refused before any server is asked; no server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from loop import contents, ready, reload, server, settings, swap, workflow
from loop.management import Management
from loop.settings import Settings
from smoke import endpoint
from smoke.fault import Fault, Unanswered
from tests.tiny_app import ROOT

SPEC = """\
models:
  min-workers: 1
  stars:
    url: stars.mar
dag:
  text: [stars, answer]
  stars: [answer]
"""
HANDLER = """\
def text(data, context):
    return data


def answer(data, context):
    return data
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Settings]:
    """A workflow over the model of another app, which is linked and not copied."""
    model, joined = tmp_path / "model", tmp_path / "joined"
    for folder in (model / "torch_model", model / "model_store", joined / "model_store"):
        folder.mkdir(parents=True)
    write(model, "config.properties", "load_models=stars=stars.mar\n")
    write(model, "handler.py", "def handle(data, context):\n    return data\n")
    write(model, "torch_model/model.safetensors", "weights")
    (joined / "model_store" / "stars.mar").symlink_to("../../model/model_store/stars.mar")
    write(joined, "config.properties", "load_models=w=w.war\n")
    write(joined, "workflow_spec.yaml", SPEC)
    write(joined, "workflow_handler.py", HANDLER)
    found = settings.read(joined)
    yield found
    found.link.unlink(missing_ok=True)


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def edit(app: Settings, name: str, old: str, new: str) -> None:
    text = (app.app / name).read_text(encoding="utf-8")
    assert old in text
    write(app.app, name, text.replace(old, new))


def test_a_war_in_load_models_makes_an_app_a_workflow(app: Settings) -> None:
    assert app.is_workflow
    assert app.inference_url.endswith("/wfpredict/w")
    assert app.archive == app.app / "model_store" / "w.war"
    assert workflow.apps(app) == [app.app.parent / "model"]


def test_an_edit_of_function_spec_or_model_is_another_version(app: Settings) -> None:
    versions = [contents.of(app).version]
    for file, old, new in (
        ("workflow_handler.py", "return data", "return  data"),
        ("workflow_spec.yaml", "min-workers: 1", "min-workers: 2"),
        ("../model/handler.py", "return data", "return  data"),
    ):
        edit(app, file, old, new)
        versions.append(contents.of(app).version)
    assert len(set(versions)) == 4


@pytest.mark.parametrize(
    ("file", "old", "new", "where", "what"),
    [
        ("spec.yaml", "  stars: [answer]", "  stars: [answer", "spec.yaml:7", "not YAML"),
        ("spec.yaml", "dag:", "dags:", "spec.yaml", "no mapping `dag:`"),
        ("spec.yaml", "min-workers", "min-wokers", "spec.yaml:2", "write `min-wokers:`"),
        ("spec.yaml", "url: stars.mar", "url: a/b.mar", "spec.yaml:3", "write `url: FILE.mar`"),
        ("spec.yaml", "url: stars.mar", "url: moon.mar", "spec.yaml:3", "ln -s"),
        ("spec.yaml", "[stars, answer]", "stars", "spec.yaml:6", "write `text: [NODE, …]`"),
        ("spec.yaml", "stars: [answer]", "stars: [text]", "spec.yaml:", "text → stars → text"),
        ("spec.yaml", "[stars, answer]", "[answer]", "spec.yaml:7", "text and stars would be"),
        ("spec.yaml", "stars, answer]", "stars, answers]", "spec.yaml:6", "def answers(data, cont"),
        ("handler.py", "def answer(", "def answers(", "spec.yaml:6", "def answer(data, context)"),
        ("handler.py", "def answer(data, ", "def answer(", "handler.py:5", "take 2 arguments"),
        ("handler.py", "def text(", "def text((", "handler.py:1", "mend that line"),
    ],
)
def test_what_cannot_work_is_refused_with_its_line_and_the_cure(
    app: Settings, file: str, old: str, new: str, where: str, what: str
) -> None:
    edit(app, f"workflow_{file}", old, new)
    with pytest.raises(Fault) as refused:
        contents.of(app)
    assert f"workflow_{where}" in str(refused.value)
    assert what in str(refused.value)


def test_a_link_to_what_no_app_builds_is_refused(app: Settings) -> None:
    edit(app, "../model/config.properties", "stars.mar", "other.mar")
    with pytest.raises(Fault, match=r"spec\.yaml:3: .* which no app builds"):
        contents.of(app)


def test_what_only_a_model_has_is_refused_by_name(app: Settings) -> None:
    with pytest.raises(Fault, match=r"config\.properties:1: w is a workflow.*make workflow"):
        settings.read_model(app.app)


def test_a_workflow_has_a_url_and_no_version(tmp_path: Path) -> None:
    url = "http://127.0.0.1:8080/wfpredict/w"
    assert endpoint.find(tmp_path, url, None, None).url == url
    with pytest.raises(Fault, match="a workflow has no versions"):
        endpoint.find(tmp_path, url, None, "1")


def test_a_reason_reaches_bash_as_one_word_that_nothing_in_it_is_run_of(
    app: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = '/home/it\'s $(echo run)/config.properties:3 `echo run` "keeps" the server'
    monkeypatch.setattr(reload, "needs_redeploy", lambda _: reason)
    swap.plan(app)
    script = f'{capsys.readouterr().out}\nprintf %s "$COLD"'
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == reason


@pytest.mark.parametrize(
    ("verb", "file", "gate", "code"),
    [
        ("workflow", "config.properties", "", 2),
        ("workflow", "", "gat", 2),
        ("workflow", "workflow_spec.yaml", "", 4),
        ("redeploy", "workflow_spec.yaml", "", 4),
    ],
    ids=["of a model", "with no such gate", "with a bad tree", "a bad tree redeployed"],
)
def test_wrong_usage_is_one_thing_and_a_tree_that_cannot_work_another(
    app: Settings, verb: str, file: str, gate: str, code: int
) -> None:
    if file == "config.properties":
        edit(app, file, "w=w.war", "w=w.mar")
    elif file:
        edit(app, file, "stars, answer]", "stars, answers]")
    done = bin_(app, verb, GATE=gate)
    assert done.returncode == code
    assert ("refused: nothing was touched" in done.stderr) == (code == 4)


@pytest.mark.parametrize("code", [3, 130])
@pytest.mark.parametrize("verb", ["workflow", "redeploy"])
def test_a_server_that_does_not_answer_is_no_refusal_and_neither_is_ctrl_c(
    app: Settings, tmp_path: Path, verb: str, code: int
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # The first look at the server ends so; all else is done.
    looks = f'case "$*" in *loop.plan | *loop.swap*plan) exit {code} ;; esac'
    python.write_text(f'#!/bin/bash\n{looks}\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    done = bin_(app, verb, VENV=str(python.parents[1]))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def bin_(app: Settings, verb: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of bin/ to its end."""
    kept = {key: value for key, value in os.environ.items() if key not in ("GATE", "GPU", "WARM")}
    return subprocess.run(
        [ROOT / "bin" / f"{verb}.sh"],
        env={**kept, **environment, "APP": str(app.app)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Workflows:
    """A management API that knows workflows, and nothing else."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def workflows(self) -> set[str]:
        return self.names

    def unregister_workflow(self, name: str) -> None:
        self.names.remove(name)


def test_only_the_candidate_that_we_have_left_word_of_is_taken_away(app: Settings) -> None:
    app.run.mkdir()
    found = Workflows("w", "w-english", "w-1a2b3c4")
    server.record(app, server.Record(1, 0.0, "v", previous="p", candidate="w-1a2b3c4"))
    for _ in range(2):
        swap._take_away(app, cast("Management", found))
        assert found.names == {"w", "w-english"}
    assert server.recorded(app) == server.Record(1, 0.0, "v", previous="p")


def test_a_start_without_an_answer_ends_and_shows_that_it_lives(
    app: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ready, "START_SECONDS", 0.2)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with pytest.raises(Unanswered, match="no answer within"):
        swap.register_first(app, psutil.Process())
    assert "start: loading the model (0 s)" in capsys.readouterr().err
