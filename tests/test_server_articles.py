"""What people type who follow an article, or the README of an app: real curl, and what it gets.

One server has the five apps, each with a tiny checkpoint in the app's own layout. `pytest -n 0 -s`
with this file prints each command with its answer.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests import tiny_checkpoints
from tests.tiny_app import ROOT, TinyApp
from train import adapter, layout, recipe

pytestmark = pytest.mark.server

EXAMPLES = ("sentiment", "cola", "news", "torchscript")
NAMES = ("sentiment", "cola", "news", "tickets")
TEXT = "Stopped back by the place , and the food was not good"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyApp]:
    """The root app, served with tokens; the archives of the others lie beside its own."""
    app = TinyApp(tmp_path_factory.mktemp("articles") / "a b é")
    copy(ROOT, app.folder)
    configure(app)
    (app.folder / "model_store").mkdir()
    for name in EXAMPLES:
        example = app.folder / ".examples" / name
        copy(ROOT / "examples" / name, example)
        code, _, err = app.run("archive", APP=str(example))
        assert code == 0, err
        (archive,) = (example / "model_store").glob("*.mar")
        archive.rename(app.folder / "model_store" / archive.name)
    try:
        deploy(app, '-H "$(bin/token.sh management)"')
        yield app
    finally:
        app.close()


@pytest.fixture(scope="module")
def without_tokens(app: TinyApp) -> TinyApp:
    """The same server as the articles have it."""
    configure(app, "disable_token_authorization=true")
    deploy(app)
    return app


def copy(example: Path, folder: Path) -> None:
    """Make an app like one of ours, with a tiny checkpoint in its layout and with its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.properties", "handler.py", "model-config.yaml"):
        shutil.copy(example / name, folder / name)
    labels = dict(enumerate(adapter.metrics(example)["labels"]))
    words = {"model_max_length": tiny_checkpoints.MAX_TOKENS}
    saved = folder / ".saved"
    tiny_checkpoints.save_family(saved, "BERT", words, id2label=labels)
    shutil.rmtree(folder / "torch_model", ignore_errors=True)
    (folder / "torch_model").mkdir()
    model = AutoModelForSequenceClassification.from_pretrained(saved)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    layout.write(model, tokenizer, folder / "torch_model", recipe.read(example).weights)


def configure(app: TinyApp, *lines: str) -> None:
    app.write_config("load_models=reviews=reviews.mar", "metrics_mode=prometheus", *lines)


def deploy(app: TinyApp, header: str = "") -> None:
    """Start the server, and register the other four as an article does."""
    code, out, err = app.run("redeploy")
    assert code == 0, out + err
    for name in NAMES:
        said = shell(
            app,
            f'curl {header} -X POST "http://127.0.0.1:8081/models?url={name}.mar'
            '&initial_workers=1&synchronous=true"',
        )
        assert "registered with 1 initial workers" in said, said


def shell(app: TinyApp, command: str) -> str:
    """Run a command as it is written, but for the port: on that of this app with the same use."""
    ported = re.sub(
        r"(?<=127\.0\.0\.1:)\d+", lambda found: str(app.ports[int(found[0][-1])]), command
    )
    run = ported.replace("curl ", "curl -sS -m 20 ").replace(
        "bin/", f"{shlex.quote(str(ROOT))}/bin/"
    )
    ended = subprocess.run(
        ["bash", "-euc", run],  # noqa: S607 - the user's own
        cwd=app.folder,
        env=app.environment(),
        capture_output=True,
        text=True,
    )
    print(f"\n$ {command}\n{' '.join(ended.stdout.split())}")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def written(readme: Path) -> list[tuple[str, str]]:
    """The curl commands in the blocks of a README, with what comes before each in its block.

    The second of each pair is the answer that the README promises: the comment below, if any.
    """
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```sh\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL):
        before = ""
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("# ") and found:
                found[-1] = (found[-1][0], line.removeprefix("# "))
            elif line.startswith("curl"):
                found.append((before + line, ""))
            elif line.startswith("echo"):
                before += f"{line}\n"
    return found


READMES = [ROOT / "README.md", *(ROOT / "examples" / name / "README.md" for name in EXAMPLES)]
WRITTEN = [pair for readme in READMES for pair in written(readme)]


@pytest.mark.parametrize(("command", "promised"), WRITTEN)
def test_a_command_of_a_readme_gets_the_answer_that_it_promises(
    app: TinyApp, command: str, promised: str
) -> None:
    answer = json.loads(shell(app, command))
    assert "code" not in answer, answer
    if promised:
        # The scores are cut short there.
        assert shape(answer) == shape(json.loads(promised.replace("…", "")))


def shape(value: Any) -> Any:
    """An answer without what differs from model to model."""
    if isinstance(value, dict):
        return {name: each if name == "status" else type(each) for name, each in value.items()}
    return [shape(each) for each in value]


LABELS = {
    name: adapter.metrics(app)["labels"]
    for name, app in zip(
        ("reviews", *NAMES), (ROOT, *(ROOT / "examples" / each for each in EXAMPLES)), strict=True
    )
}
LISTED = f'-H "Content-Type: application/json" -d \'{{"data": ["{TEXT}"]}}\''
SENT = (
    LISTED,
    "-T text.txt",
    "-F data=@text.txt",
    f'-d "data={TEXT}"',
    f'--data-urlencode "data={TEXT}"',
    f'-X POST -H "Content-Type: text/plain" -d "{TEXT}"',
)


@pytest.mark.parametrize("name", LABELS)
def test_each_way_to_send_a_text_gets_the_same_answer(without_tokens: TinyApp, name: str) -> None:
    without_tokens.write("text.txt", TEXT)
    url = f"http://127.0.0.1:8080/predictions/{name}"
    answers = [json.loads(shell(without_tokens, f"curl {url} {how}")) for how in SENT]
    (several,) = answers.pop(0)
    assert answers == [several] * len(answers)
    first = several[0] if isinstance(several, list) else several
    assert first["label"] in LABELS[name]


def test_a_bare_d_never_reaches_the_handler_which_says_what_to_add(without_tokens: TinyApp) -> None:
    url = "http://127.0.0.1:8080/predictions/reviews"
    for text in (TEXT, "fish & chips", "a = b"):
        answer = json.loads(shell(without_tokens, f'curl {url} -d "{text}"'))
        assert answer["code"] == 400
        assert 'with curl -d, add -H "Content-Type: text/plain"' in answer["message"]


def test_the_server_and_its_models_are_asked_after(without_tokens: TinyApp) -> None:
    assert json.loads(shell(without_tokens, "curl http://127.0.0.1:8080/ping")) == {
        "status": "Healthy"
    }
    listed = json.loads(shell(without_tokens, "curl http://127.0.0.1:8081/models"))
    assert {each["modelName"] for each in listed["models"]} == {"reviews", *NAMES}
    (described,) = json.loads(shell(without_tokens, "curl http://127.0.0.1:8081/models/news"))
    assert described["workers"][0]["status"] == "READY"
    assert "ts_inference_requests_total" in shell(
        without_tokens, "curl http://127.0.0.1:8082/metrics"
    )


def test_a_second_version_is_registered_made_the_default_and_scaled(
    without_tokens: TinyApp,
) -> None:
    app = without_tokens
    app.write("text.txt", TEXT)
    archive_as_the_article_does(app, version="2.0")
    models = "http://127.0.0.1:8081/models"
    prediction = "curl http://127.0.0.1:8080/predictions/sentiment"
    said = shell(
        app, f'curl -X POST "{models}?url=sentiment-2.mar&initial_workers=1&synchronous=true"'
    )
    assert "Version: 2.0 registered with 1 initial workers" in said
    assert "Default" in shell(app, f'curl -X PUT "{models}/sentiment/2.0/set-default"')
    (described,) = json.loads(shell(app, f"curl {models}/sentiment"))
    assert described["modelVersion"] == "2.0"
    assert json.loads(shell(app, f"{prediction} -T text.txt")).keys() == {"label", "score"}
    said = shell(app, f'curl -X PUT "{models}/sentiment?min_worker=2&synchronous=true"')
    assert "Workers scaled to 2" in said
    (described,) = json.loads(shell(app, f"curl {models}/sentiment"))
    assert len(described["workers"]) == 2


def archive_as_the_article_does(app: TinyApp, version: str) -> None:
    """Archive sentiment with the command in its README, but for the version and the file's name."""
    folder = app.folder / ".examples" / "sentiment"
    readme = (ROOT / "examples" / "sentiment" / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"`(torch-model-archiver [^`]*)`", readme)
    build = folder / "by hand"
    shutil.copytree(folder / "torch_model", build)
    shutil.copy(folder / "handler.py", build)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-euc", command.replace("--version 1.0", f"--version {version}")],  # noqa: S607
        cwd=build,
        env={**os.environ, "PATH": path},
        check=True,
    )
    (build / "sentiment.mar").rename(app.folder / "model_store" / "sentiment-2.mar")
