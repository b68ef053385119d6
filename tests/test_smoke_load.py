"""`python -m smoke.load.start`: what it takes, what Locust tells of a server, and how it ends."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smoke.fault import Fault
from smoke.load import start
from smoke.load.start import Figures
from tests.fake_model import FakeModel, Request, Response, rate

ROOT = Path(__file__).parent.parent


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app in a folder of an awkward name, whose server is named with URL."""
    folder = tmp_path / "a b é"
    (folder / "smoke").mkdir(parents=True)
    rows = [{"id": "single", "text": "größer"}, {"id": "pair", "text": "a", "text_pair": "b"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "smoke" / "samples.jsonl").write_text(lines, encoding="utf-8")
    for name in ("URL", "TOKEN", "UNANSWERED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP", str(folder))
    monkeypatch.setenv("USERS", "2")
    monkeypatch.setenv("TIME", "1s")
    return folder


def begin(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "smoke.load.start", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def run(*words: str, **environment: str) -> tuple[int, str, str]:
    """Run the command: exit code, stdout, stderr."""
    with begin(*words, **environment) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def refusing_pairs(request: Request) -> Response:
    refusal = {"code": 503, "message": "Prediction failed"}
    return Response(refusal, 503) if b"text_pair" in request.body else rate(request)


@pytest.mark.parametrize("users", ["abc", "0", "-1", "1.5", "²"])
def test_users_that_are_no_number_are_named_with_the_cure(
    app: Path, monkeypatch: pytest.MonkeyPatch, users: str
) -> None:
    monkeypatch.setenv("USERS", users)
    with pytest.raises(Fault, match=f'USERS "{users}": .*: give one such as 16'):
        start.locust([])


@pytest.mark.parametrize("time", ["5 parsecs", "0", "0s", "1.5s", "30s5m", "-1s", "s"])
def test_a_time_that_is_none_is_named_with_the_cure(
    app: Path, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    monkeypatch.setenv("TIME", time)
    with pytest.raises(Fault, match=f'TIME "{time}": .*: give one such as 30s'):
        start.locust([])


@pytest.mark.parametrize("time", ["30", "30s", "5m", "1h30m", "1h5s"])
def test_a_time_that_locust_takes_is_taken(
    app: Path, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    monkeypatch.setenv("TIME", time)
    assert time in start.locust([])


def test_what_the_user_says_to_locust_comes_last_and_wins(app: Path) -> None:
    assert start.locust(["--users", "3"])[-2:] == ["--users", "3"]
    assert "--users" not in start.locust(["--worker", "--master-host", "there"])


def test_the_summary_is_one_line() -> None:
    times = {"p50": 98.0, "p95": 190.0, "p99": 230.0, "worst": 311.4}
    assert start.summary(Figures(16, 420, 0, 3.0, times), False) == (
        "load: 420 requests in 3.0 s, 16 at a time · 140.0 a second"
        " · p50 98 ms, p95 190 ms, p99 230 ms, worst 311 ms · all answered"
    )
    assert start.summary(Figures(16, 420, 2, 3.0, times), False).endswith(" · 2 failed")
    assert "no answer" in start.summary(Figures(16, 0, 0, 0.0, {}), False)


def test_nothing_that_others_import_replaces_python_s_sockets() -> None:
    modules = "smoke.load.start, smoke.__main__, loop.explain"
    code = f"import sys, {modules}; sys.exit('gevent' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_every_sample_is_asked_as_smoke_asks_it_and_a_report_is_left(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    with FakeModel() as model:
        code, out, err = run(URL=model.url)
        bodies = {request.body for request in model.requests}
        tokens = {request.headers["Authorization"] for request in model.requests}
        count = len(model.requests)
    assert (code, err) == (0, "")
    # One more has been asked before, to see whether anybody is there.
    assert f"load: {count - 1} requests in " in out
    assert "2 at a time" in out
    assert out.endswith(f"all answered\nreport: {app}/.run/load.html\n")
    assert [json.loads(body) for body in sorted(bodies)] == [
        {"text": "a", "text_pair": "b"},
        {"text": "größer"},
    ]
    assert tokens == {"Bearer secret"}
    assert "secret" not in (app / ".run" / "load.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("processes", [1, 2])
def test_what_fails_exits_1_and_is_counted(app: Path, tmp_path: Path, processes: int) -> None:
    words = ["--processes", str(processes)] if processes > 1 else []
    left = tmp_path / "unanswered.json"
    with FakeModel(refusing_pairs) as model:
        code, out, err = run(*words, URL=model.url, UNANSWERED=str(left))
        pairs = sum(b"text_pair" in request.body for request in model.requests)
    assert (code, err) == (1, "")
    assert f"failed  {pairs} requests  503 Prediction failed\n        pair\n" in out
    assert f" · {pairs} failed\n" in out
    assert json.loads(left.read_text(encoding="utf-8"))["times"] == {"pair": pairs}


def test_words_that_are_never_the_same_share_their_lines(app: Path) -> None:
    numbers = itertools.count()

    def think(_: Request) -> Response:
        return Response({"code": 503, "message": f"no row {next(numbers)}"}, 503)

    with FakeModel(think) as model:
        code, out, _ = run(URL=model.url)
        # One more has been asked before.
        number = len(model.requests) - 1
    assert code == 1
    assert number > 200
    assert out.count("failed  ") == 101
    assert f"failed  {number - 100} requests  (other words)\n" in out
    page = (app / ".run" / "load.html").read_text(encoding="utf-8")
    assert page.count("no row ") < 300


def test_an_answer_without_a_label_is_a_failure(app: Path) -> None:
    with FakeModel(lambda request: Response({"score": 0.5})) as model:
        code, out, _ = run(URL=model.url)
    assert code == 1
    assert 'requests  200 not {"label", "score"}' in out


def test_ctrl_c_ends_it_with_the_figures_and_the_report_and_nothing_stays(app: Path) -> None:
    with FakeModel() as model:
        process = begin(URL=model.url, TIME="60s")
        while len(model.requests) < 10:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        asked = len(model.requests)
        time.sleep(0.2)
        assert len(model.requests) == asked
    assert "load: " in out
    assert err == ""
    assert (app / ".run" / "load.html").exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_server_that_is_not_there_exits_3(app: Path) -> None:
    code, _, err = run()
    assert code == 3
    assert "load: no server is running for this app" in err
    code, _, err = run(URL="http://127.0.0.1:9/predictions/x")
    assert code == 3
    assert "nothing answers at" in err


def test_wrong_usage_exits_2(app: Path) -> None:
    assert run(USERS="abc")[0] == 2
    path = app / "smoke" / "samples.jsonl"
    for line, text in enumerate(("{oops\n", '{"id": "a", "text": "good"}\n{oops\n'), 1):
        path.write_text(text, encoding="utf-8")
        with FakeModel() as model:
            code, _, err = run(URL=model.url)
        assert code == 2
        assert err.startswith(f"load: {path}:{line}: not JSON")
        assert err.count("\n") == 1


def test_a_report_that_cannot_be_written_exits_2_after_the_figures(app: Path) -> None:
    (app / ".run" / "load.html").mkdir(parents=True)
    with FakeModel() as model:
        code, out, err = run(URL=model.url)
    assert code == 2
    assert " · all answered" in out
    assert "load.html: cannot be written" in err
