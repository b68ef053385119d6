"""A workflow on the real TorchServe: deployed, asked, replaced, refused, and gone."""

import os
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.tiny_app import TinyApp, management, wait_for

pytestmark = pytest.mark.server

SPEC = """\
models:
  min-workers: 1
  max-workers: 1
  tiny:
    url: tiny.mar
dag:
  text: [tiny]
  tiny: [answer]
"""
HANDLER = """\
import json
import time


def text(data, context):
    if data is None:
        return None
    time.sleep(0.01)
    return [data[0]["body"]["text"] if isinstance(data[0]["body"], dict) else data[0]["body"]]


def answer(data, context):
    if data is None:
        return None
    time.sleep(0.01)
    said = json.loads(data[0]["body"])
    return [{"label": "joined " + said["label"], "score": said["score"]}]
"""
FUNCTIONS = "workflow_handler.py"


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyApp]:
    """A workflow over the model of another app, deployed once."""
    folder = tmp_path_factory.mktemp("workflow")
    model, app = TinyApp(folder / "model é"), TinyApp(folder / "a b é")
    model.replace("else body\n", "else bytes(body).decode()\n")
    shutil.rmtree(app.folder / "torch_model")
    (app.folder / "handler.py").unlink()
    (app.folder / "model_store").mkdir()
    (app.folder / "model_store" / "tiny.mar").symlink_to("../../model é/model_store/tiny.mar")
    config = (app.folder / "config.properties").read_text(encoding="utf-8")
    app.write("config.properties", config.replace("tiny=tiny.mar", "joined=joined.war"))
    app.write("workflow_spec.yaml", SPEC)
    app.write(FUNCTIONS, HANDLER)
    try:
        code, out, err = app.run("workflow")
        assert code == 0, out + err
        assert "/wfpredict/joined answers" in out
        yield app
    finally:
        app.close()
        model.close()


def edit(app: TinyApp, old: str, new: str) -> None:
    assert old in HANDLER
    app.write(FUNCTIONS, HANDLER.replace(old, new))


def test_a_workflow_is_predicted_smoked_and_shown_like_an_app(joined: TinyApp) -> None:
    answer = joined.ask()
    assert answer is not None
    assert str(answer["label"]).startswith("joined ")
    assert joined.run("smoke", "accept")[0] == 0
    assert joined.run("smoke")[0] == 0
    code, out, _ = joined.run("status")
    assert code == 0
    assert "node       tiny" in out
    assert "= your tree" in out
    code, out, err = joined.run("models")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["model", "joined__tiny"]
    code, _, err = joined.run("metrics", "--once")
    assert code == 2
    assert "joined is a workflow, not a model" in err


def test_nothing_changed_is_said_and_nothing_is_done(joined: TinyApp) -> None:
    pid, workers = joined.pid, nodes(joined)
    code, out, _ = joined.run("workflow")
    assert code == 0
    assert "nothing has changed" in out
    assert (joined.pid, nodes(joined)) == (pid, workers)


def nodes(app: TinyApp) -> list[object]:
    """The workers of all nodes."""
    return [each["workers"] for each in management(app).nodes()]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("import time\n", "import time\nimport nope\n", f"{FUNCTIONS}:3 in <module>: import nope"),
        ("def answer(", "def answers(", "workflow_spec.yaml:8: answer is no model"),
        ('said["score"]}]', 'said["scores"]}]', f"{FUNCTIONS}:17 in answer"),
    ],
    ids=["load", "spec", "answer"],
)
def test_a_workflow_that_fails_is_refused_and_the_one_that_serves_is_not_touched(
    joined: TinyApp, old: str, new: str, cause: str
) -> None:
    workers = nodes(joined)
    edit(joined, old, new)
    code, _, err = joined.run("workflow")
    joined.write(FUNCTIONS, HANDLER)
    assert code == 4, err
    assert cause in err
    assert nodes(joined) == workers
    assert management(joined).workflows() == {"joined"}
    left = {each.name for each in joined.archive.parent.iterdir()}
    assert left == {"joined.war", "joined.war.served", "tiny.mar"}


def test_an_edit_takes_the_place_of_what_serves_on_the_same_server(joined: TinyApp) -> None:
    pid = joined.pid
    edit(joined, "joined ", "new ")
    code, out, err = joined.run("workflow")
    assert code == 0, out + err
    answer = joined.ask()
    assert answer is not None
    assert str(answer["label"]).startswith("new ")
    assert joined.pid == pid
    assert management(joined).workflows() == {"joined"}


def test_an_interrupted_swap_leaves_what_serves_and_no_half_archive(joined: TinyApp) -> None:
    before = joined.ask()
    edit(joined, "import time\n", "import time\n\ntime.sleep(1)\n")
    process = joined.popen("workflow")
    wait_for(lambda: any("-" in each.name for each in joined.archive.parent.glob("*.war")))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    joined.write(FUNCTIONS, HANDLER)
    left = {each.name for each in joined.archive.parent.iterdir()}
    assert joined.ask() == before
    assert management(joined).workflows() == {"joined"}
    assert left == {"joined.war", "joined.war.served", "tiny.mar"}


def test_stop_leaves_no_worker_and_no_unpacked_workflow(joined: TinyApp) -> None:
    assert joined.run("stop")[0] == 0
    assert joined.pid is None
    assert list((joined.folder / ".run" / "tmp").iterdir()) == []
