"""A handler in a process of its own: it finds what a worker finds, and says what a worker says."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from loop import server, settings, solo, warm
from loop.process import is_alive
from tests.tiny_app import HANDLER, ROOT, TinyApp

pytestmark = pytest.mark.server

# Answers with what it finds, or fails in the way that the text says.
TELLING = (
    HANDLER.replace(
        "return [self.answer(",
        """found = [self.found(context, row["body"]) for row in data]
        return found if "found" in str(data) else [self.answer(""",
    )
    .replace(
        "    def answer(self, body):",
        """    def found(self, context, body):
        import os, sys
        folder = os.path.realpath(context.system_properties["model_dir"])
        properties = {**context.system_properties, "model_dir": ""}
        toolkit = sorted({name.split(".")[0] for name in sys.modules} & {"loop", "smoke", "tests"})
        headers = context.get_all_request_header(0)
        known = ("body", "Content-Type", "Content-Length", "explain", "url_path")
        environment = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "LC_ALL", "TS_DECODE_INPUT_REQUEST")
        return {
            "body": repr(body),
            # TorchServe adds the folder in which it has linked a folder model, too.
            "path": [each for each in sys.path[1:] if "/tmp/models/" not in each],
            "first": os.path.realpath(sys.path[0]) == folder,
            "folder": os.getcwd() == folder,
            "files": sorted(name for name in os.listdir() if not name.startswith("__")),
            "context": [context.model_name, properties, context.model_yaml_config],
            "model": {**context.manifest["model"], "modelVersion": ""},
            "headers": {name: headers[name] for name in known},
            "id": len(context.get_request_id(0)),
            "environment": [os.environ.get(name) for name in environment],
            "toolkit": toolkit,
        }

    def answer(self, body):""",
    )
    .replace(
        "        with torch",
        """        if text == "key":
            {}["nope"]
        if text == "deep":
            self.tokenizer(5.5)
        if text == "chain":
            try:
                int("x")
            except ValueError as error:
                raise RuntimeError("cannot count") from error
        if text.startswith("loud"):
            raise RuntimeError(text)
        if text == "exit":
            import os
            os._exit(3)
        if text == "crash":
            __import__("ctypes").string_at(0)
        if text == "hang":
            __import__("time").sleep(600)
        with torch""",
    )
)


@pytest.fixture(scope="module")
def telling(served: TinyApp) -> TinyApp:
    return reloaded(served, TELLING)


def forks(app: TinyApp) -> int:
    """How often the warm process has forked."""
    return (app.settings.run / "warm" / "log").read_text(encoding="utf-8").count(" for ")


def reloaded(app: TinyApp, handler: str) -> TinyApp:
    app.write("handler.py", handler)
    code, out, err = app.run("reload", GATE="none")
    assert code == 0, out + err
    return app


def failed(app: TinyApp, text: str) -> str:
    """Have a request fail; returns its id."""
    code, _, err = app.run("predict", text)
    assert code == 1, err
    return str(re.findall(r"x-request-id ([0-9a-f-]+)", err)[0])


def debug(app: TinyApp, verb: str, *words: str, say: str) -> str:
    """What the debugger says to these lines."""
    done = subprocess.run(
        [ROOT / "bin" / f"{verb}.sh", *words, "--pdb"],
        env=app.environment(),
        input=say,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


def workers_of_one_batch() -> list[psutil.Process]:
    return [
        each for each in psutil.process_iter() if "solo_worker.py" in " ".join(cmdline_of(each))
    ]


def cmdline_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def question(app: TinyApp, name: str, content: bytes) -> str:
    path = app.folder / name
    path.write_bytes(content)
    return str(path)


def test_try_prints_what_predict_prints_for_a_text_a_file_and_the_best_labels(
    telling: TinyApp,
) -> None:
    before = forks(telling)
    asked = [
        ("good food",),
        ("found: é",),
        ("--top-k", "2", "found"),
        ("-f", question(telling, "a.json", b'{"text": "found", "more": [1, null]}')),
        ("-f", question(telling, "a.txt", b"found: \xe9 in Latin-1")),
    ]
    for words in asked:
        code, out, err = telling.run("predict", *words)
        assert code == 0, err
        assert telling.run("try", *words)[:2] == (0, out)
    assert forks(telling) == before + len(asked), "it was not forked from the warm process"


def test_without_a_server_try_prints_the_same_and_starts_none(
    telling: TinyApp, tiny_app: TinyApp
) -> None:
    shutil.copytree(
        telling.folder / "torch_model", tiny_app.folder / "torch_model", dirs_exist_ok=True
    )
    tiny_app.write("handler.py", TELLING)
    code, out, err = tiny_app.run("try", "found")
    assert code == 0, err
    assert out == telling.run("predict", "found")[1]
    assert server.find(tiny_app.settings) is None
    assert warm.find(tiny_app.settings) == {}
    assert list((tiny_app.settings.run / "solo").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "key",
            r"503 Prediction failed: KeyError: 'nope'\n  handler\.py:\d+ in answer: {}\[",
        ),
        ("exit", r"ended itself while answering: exit code 3.*\n  handler\.py:\d+: .*_exit\(3\)"),
        ("crash", r"crashed while answering: Segmentation fault\n  handler\.py:\d+ in answer"),
    ],
)
def test_try_says_why_there_is_no_answer(telling: TinyApp, text: str, told: str) -> None:
    code, out, err = telling.run("try", text)
    assert (code, out) == (1, "")
    assert f"asked about {text}\n" in err
    assert re.search(f"^try: .*{told}", err, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ('{}["nope"]', r"KeyError: 'nope'\n  handler\.py:\d+ in handle: "),
        ("None", r"the handler returned None: .*\n  handler\.py:\d+ in handle: def "),
        ("[]", r"the handler returned 0 answers for 1 request\(s\)\n  handler\.py:\d+ in handle"),
        ("[{1}]", r"the handler returned a set in an answer.*\n  handler\.py:\d+ in handle"),
    ],
)
def test_a_handler_that_silences_all_loggers_does_not_hide_why(
    telling: TinyApp, returned: str, told: str
) -> None:
    silent = """import logging.config
        logging.config.dictConfig({"version": 1})
        self.tokenizer ="""
    telling.write("handler.py", HANDLER.replace("self.tokenizer =", silent, 1))
    telling.replace('[self.answer(row["body"]) for row in data]', returned)
    code, out, err = telling.run("try", "good")
    assert (code, out) == (1, "")
    assert re.search(f"^try: 503 [^:]*: {told}", err, flags=re.MULTILINE), err
    telling.write("handler.py", TELLING)


@pytest.mark.parametrize("entry", ["functools.partial(respond)", "Caller()"])
def test_an_entry_that_is_no_function_is_called_and_told_of(telling: TinyApp, entry: str) -> None:
    handler = f"""\
import functools


def respond(data, context):
    return None if data and "none" in str(data) else [str(row["body"]) for row in data or ()]


class Caller:
    def __call__(self, data, context):
        return respond(data, context)


handle = {entry}
"""
    telling.write("handler.py", handler)
    assert telling.run("try", "good")[:2] == (0, "good\n")
    code, _, err = telling.run("try", "none")
    assert code == 1
    assert "try: 503 Invalid model predict output: the handler returned None" in err
    telling.write("handler.py", TELLING)


@pytest.mark.parametrize("warm_or_not", ["on", "off"])
def test_what_a_handler_starts_ends_with_it(telling: TinyApp, warm_or_not: str) -> None:
    start = """import subprocess
        none = subprocess.DEVNULL
        child = subprocess.Popen(["sleep", "333"], stdout=none, stderr=none, start_new_session=True)
        print("child", child.pid)
        self.tokenizer ="""
    telling.replace("self.tokenizer =", start)
    before = forks(telling)
    code, _, err = telling.run("try", "good", WARM=warm_or_not)
    child = int(re.findall(r"^child (\d+)$", err, flags=re.MULTILINE)[0])
    alive = [each for each in psutil.process_iter() if each.pid == child and is_alive(each)]
    for each in alive:
        each.kill()
    assert (code, alive) == (0, [])
    assert forks(telling) == before + (warm_or_not == "on")
    telling.write("handler.py", TELLING)


def test_what_a_killed_command_has_left_goes_and_what_is_not_ours_stays(tiny_app: TinyApp) -> None:
    settings.link_run_folder(tiny_app.settings)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    folder = tiny_app.settings.link / "solo"
    left = folder / f"{gone.pid}-abcdefgh"
    left.mkdir(parents=True)
    (folder / "notes.txt").touch()
    hangs = [sys.executable, "-c", "import time; time.sleep(333)"]
    with subprocess.Popen(hangs, env={**os.environ, "TEMP": str(left)}) as orphan:
        with solo.scratch(tiny_app.settings) as made:
            found = {*folder.iterdir()}
        was_alive = is_alive(psutil.Process(orphan.pid))
        orphan.kill()
    assert found == {made, folder / "notes.txt"}
    assert not was_alive


def test_a_process_that_was_ended_from_outside_is_told_as_such(telling: TinyApp) -> None:
    process = telling.popen("try", "hang")
    assert process.stderr is not None
    assert any("asked about hang" in line for line in process.stderr)
    workers_of_one_batch()[0].kill()
    said = process.stderr.read()
    assert process.wait(10) == 1
    assert "try: the process was ended from outside while answering: Killed\n" in said
    assert "TorchServe" not in said


@pytest.mark.parametrize(
    ("place", "doing"),
    [
        (".eval()\n", "loading"),
        ('text = body["text"] if isinstance(body, dict) else body\n', "answering"),
    ],
)
def test_a_handler_that_hangs_is_given_up_like_a_workers(
    telling: TinyApp, place: str, doing: str
) -> None:
    before = (telling.folder / "handler.py").read_text(encoding="utf-8")
    telling.replace(place, f"{place}        import time; time.sleep(60)\n")
    telling.write("model-config.yaml", "startupTimeout: 2\nresponseTimeout: 2\n")
    try:
        code, out, err = telling.run("try", "good")
        assert (code, out) == (1, "")
        assert f"it was still {doing} when TorchServe would have ended it" in err
        assert "import time; time.sleep(60)" in err
    finally:
        telling.write("handler.py", before)
        (telling.folder / "model-config.yaml").unlink()


def test_control_characters_of_a_request_reach_no_terminal(telling: TinyApp) -> None:
    err = telling.run("try", "loud \x1b[31m é")[2]
    assert "RuntimeError: loud \\x1b[31m é\n" in err
    assert "\x1b" not in err.split("\ntry: ")[1]
    out = debug(telling, "try", "loud \x1b[31m é", say="q\n")
    assert out.startswith("RuntimeError: loud \\x1b[31m é\n")


def test_try_and_pdb_where_the_model_does_not_load(telling: TinyApp) -> None:
    edited = TELLING.replace("self.tokenizer =", 'wanted = "x"; {}[wanted]; self.tokenizer =')
    telling.write("handler.py", edited)
    code, _, err = telling.run("try", "good")
    assert code == 1
    assert re.search(
        r"^try: tiny does not load: KeyError: 'x'\n  handler\.py:8 in initi", err, re.M
    )
    assert "'x'" in debug(telling, "try", "good", say="p wanted\nq\n").split("(Pdb)")[1]
    telling.write("handler.py", TELLING)


def test_replay_asks_the_version_that_failed_whatever_the_tree_is_now(telling: TinyApp) -> None:
    first = failed(telling, "key")
    last = failed(telling, "chain")
    telling.replace('{}["nope"]', "pass")
    for words, told in [((first,), "KeyError: 'nope'"), ((), "ValueError: invalid literal")]:
        code, out, err = telling.run("replay", *words)
        assert (code, out) == (1, "")
        assert f"replay: 503 Prediction failed: {told}" in err
    assert telling.run("why", last)[0] == 0
    code, _, err = telling.run("replay", "no-such-id")
    assert code == 2
    assert "no-such-id" in err
    telling.write("handler.py", TELLING)


@pytest.mark.parametrize(
    ("text", "raised", "line"),
    [
        ("key", "KeyError: 'nope'", '{}["nope"]'),
        ("deep", "ValueError: text input", "self.tokenizer(5.5)"),
        ("chain", "ValueError: invalid literal", 'int("x")'),
    ],
)
def test_pdb_stands_in_the_users_own_code_where_the_first_exception_was_raised(
    telling: TinyApp, text: str, raised: str, line: str
) -> None:
    out = debug(telling, "replay", failed(telling, text), say="p text\nq\n")
    assert out.startswith(raised)
    assert re.search(r"^> .*/handler\.py\(\d+\)answer\(\)\n-> " + re.escape(line), out, re.M)
    assert f"(Pdb) {text!r}\n" in out


def test_replay_prints_the_answer_where_there_is_one_now(telling: TinyApp) -> None:
    flag = telling.folder / "flag"
    reloaded(
        telling,
        TELLING.replace('text == "key"', f"not __import__('os').path.exists({str(flag)!r})"),
    )
    request = failed(telling, "good food")
    flag.touch()
    code, out, err = telling.run("replay", request, "--pdb")
    assert code == 0
    assert out == telling.run("predict", "good food")[1]
    assert "replay: nothing was raised: there is no frame to stand in\n" in err


def test_replay_says_that_an_input_was_not_kept(telling: TinyApp) -> None:
    telling.write("model-config.yaml", "handler:\n  log_inputs: false\n")
    reloaded(telling, TELLING)
    code, out, err = telling.run("replay", failed(telling, "key"))
    assert (code, out) == (2, "")
    assert "log_inputs: false" in err
    (telling.folder / "model-config.yaml").unlink()


@pytest.mark.parametrize(
    ("number", "whom"), [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)]
)
def test_ctrl_c_and_a_polite_kill_leave_nothing_behind(
    telling: TinyApp, number: signal.Signals, whom: Callable[[int, int], None]
) -> None:
    process = telling.popen("try", "hang")
    assert process.stderr is not None
    assert any("asked about hang" in line for line in process.stderr)
    whom(process.pid, number)
    assert process.wait(10) == 128 + number
    deadline = time.monotonic() + 5
    while workers_of_one_batch() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers_of_one_batch() == []
    assert list((telling.settings.run / "solo").iterdir()) == []


def test_warm_is_on_or_off(telling: TinyApp) -> None:
    code, _, err = telling.run("try", "good", WARM="maybe")
    assert (code, err) == (2, "try: WARM=maybe is neither on nor off: use 1 or 0\n")


def test_pdb_and_the_text_cannot_both_come_from_stdin(telling: TinyApp) -> None:
    code, _, err = telling.run("try", "-", "--pdb")
    assert code == 2
    assert "-f FILE" in err
