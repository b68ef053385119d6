"""`python -m smoke` and `pytest smoke`: exit codes, goldens, files left, against a fake server."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from smoke import __main__ as command
from smoke import fault, golden, jsonl, samples
from tests.fake_model import FakeModel, Request, Response, rate

ROOT = Path(__file__).parent.parent
TEXTS = {"first": "one", "zweites": "zwei ü", "third": "three\n"}


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel() as fake:
        yield fake


@pytest.fixture
def app(tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app in a folder of an awkward name, its server running, no goldens yet."""
    folder = tmp_path / "a b é"
    (folder / ".run").mkdir(parents=True)
    started = {"url": model.url, "key_file": None}
    (folder / ".run" / "endpoint.json").write_text(json.dumps(started), encoding="utf-8")
    lines = [json.dumps({"id": id_, "text": text}) for id_, text in TEXTS.items()]
    samples.path(folder).parent.mkdir()
    samples.path(folder).write_text("\n".join(lines), encoding="utf-8")
    for name in ("URL", "TOKEN", "TOLERANCE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APP", str(folder))
    return folder


def smoke(*words: str) -> int:
    """Run the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["smoke", *words])
        with pytest.raises(SystemExit) as exit_:
            fault.run("smoke", command.main)
    return int(exit_.value.code or 0)


def results(app: Path) -> list[dict[str, Any]]:
    """What the last run has left on each sample."""
    lines = (app / ".run" / "smoke" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


def pytest_smoke() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "smoke", "-p", "no:cacheprovider", "-v"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def wrong(request: Request) -> Response:
    """What a handler that mixes up its labels answers."""
    body = rate(request).body
    return Response({**body, "label": "1 star" if request.text == "one" else body["label"]})


def failing(request: Request) -> Response:
    """What a handler that cannot take one text answers."""
    refusal = {"code": 503, "message": "Prediction failed"}
    return Response(refusal, 503) if request.text == "one" else rate(request)


def test_the_same_answers_exit_0_with_one_line(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke("accept") == 0
    capsys.readouterr()
    assert smoke("run") == 0
    out, err = capsys.readouterr()
    assert out.startswith("smoke: 3 same · 3 samples in ")
    assert out.count("\n") == 1
    assert err == ""


def test_without_goldens_a_run_exits_1_and_names_accept(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke() == 1
    out = capsys.readouterr().out
    assert "0 same · 3 new" in out
    assert f"next: make accept 'APP={app}'" in out


@pytest.mark.parametrize("think", [wrong, failing])
def test_a_changed_label_or_a_failure_exits_1(app: Path, model: FakeModel, think: object) -> None:
    assert smoke("accept") == 0
    model.think = think  # type: ignore[assignment]
    assert smoke() == 1


def test_a_score_beyond_the_tolerance_exits_1(
    app: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert smoke("accept") == 0
    model.think = lambda request: Response(
        {**rate(request).body, "score": rate(request).body["score"] + 0.001}
    )
    assert smoke() == 1
    assert smoke("--tolerance", "0.01") == 0
    monkeypatch.setenv("TOLERANCE", "0.01")
    assert smoke() == 0


@pytest.mark.parametrize("think", [rate, wrong, failing])
def test_a_run_never_writes_goldens(app: Path, model: FakeModel, think: object) -> None:
    model.think = think  # type: ignore[assignment]
    smoke()
    assert not golden.path(app).exists()
    assert smoke("accept") == (1 if think is failing else 0)
    before = golden.path(app).read_bytes() if golden.path(app).exists() else None
    model.think = wrong
    smoke()
    after = golden.path(app).read_bytes() if golden.path(app).exists() else None
    assert after == before


def test_accept_writes_one_golden_a_sample_in_their_order(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke("accept") == 0
    assert "accept: 3 new · 0 changed · 0 removed · 0 unchanged" in capsys.readouterr().out
    assert list(golden.read(app)) == list(TEXTS)


def served_with(app: Path, url: str, version: str) -> None:
    """Leave the word that a server leaves."""
    served = app / ".run" / "served"
    served.mkdir(parents=True, exist_ok=True)
    left = {"url": url, "version": version}
    (app / ".run" / "endpoint.json").write_text(json.dumps(left), encoding="utf-8")
    about = {"version": version, "device": "cpu" if version == "a" else "cuda"}
    (served / f"{version}.json").write_text(json.dumps(about), encoding="utf-8")


def test_goldens_say_what_they_were_made_with_and_a_comparison_with_others_says_so(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    served_with(app, model.url, "a")
    assert smoke("accept") == 0
    assert golden.made_with(app) == {"version": "a", "device": "cpu"}
    assert smoke() == 0
    assert "made with" not in capsys.readouterr().out
    served_with(app, model.url, "b")
    assert smoke() == 0
    said = "the goldens were made with version a, now b; device cpu, now cuda\n"
    assert said in capsys.readouterr().out
    # Nothing has changed, so there is nothing new to review in git.
    assert smoke("accept") == 0
    assert golden.made_with(app)["version"] == "a"
    model.think = wrong
    assert smoke("accept") == 0
    assert golden.made_with(app)["version"] == "b"


def test_accept_says_what_changed_and_drops_what_has_no_sample(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke("accept")
    with golden.path(app).open("a", encoding="utf-8") as file:
        file.write('{"id": "gone", "label": "x", "score": 1}\n')
    assert smoke() == 0
    assert "without a sample: gone" in capsys.readouterr().err
    model.think = wrong
    assert smoke("accept") == 0
    assert "accept: 0 new · 1 changed · 1 removed · 2 unchanged" in capsys.readouterr().out
    assert smoke() == 0


def test_accept_writes_nothing_if_a_sample_fails(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke("accept")
    before = golden.path(app).read_bytes()
    model.think = failing
    assert smoke("accept") == 1
    assert golden.path(app).read_bytes() == before
    assert "1 of 3 samples failed" in capsys.readouterr().err


def test_ctrl_c_while_accepting_leaves_the_old_goldens(
    app: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke("accept")
    before = golden.path(app).read_bytes()
    model.think = wrong

    def interrupted(row: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(jsonl, "encode", interrupted)
    assert smoke("accept") == 130
    assert golden.path(app).read_bytes() == before


@pytest.fixture
def stopped(app: Path, model: FakeModel) -> int:
    """A run of 300 samples that was stopped on its way. Returns how many had been asked."""
    lines = [json.dumps({"id": f"s{n}", "text": f"text {n:03}"}) for n in range(300)]
    samples.path(app).write_text("\n".join(lines), encoding="utf-8")
    assert smoke("accept") == 0
    model.requests.clear()

    def stop(request: Request) -> Response:
        if len(model.requests) == 100:
            signal.raise_signal(signal.SIGINT)
        return rate(request)

    model.think = stop
    assert smoke("--threads", "1") == 130
    model.think = rate
    return len(model.requests)


def test_a_run_that_was_stopped_goes_on_where_it_was(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], stopped: int
) -> None:
    assert 100 <= stopped < 300
    said = capsys.readouterr().err
    assert "of 300: go on with `make smoke" in said
    assert "RESUME=1" in said
    model.requests.clear()
    assert smoke("--resume") == 0
    # What was in flight when it stopped is asked again.
    assert 300 - stopped <= len(model.requests) <= 300 - stopped + 20
    assert "300 same" in capsys.readouterr().out
    assert [row["id"] for row in results(app)] == [f"s{n}" for n in range(300)]
    # It is over now.
    assert smoke("--resume") == 2
    assert "no run to go on with" in capsys.readouterr().err


@pytest.mark.usefixtures("stopped")
def test_a_run_does_not_go_on_with_other_samples(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model.requests.clear()
    with samples.path(app).open("a", encoding="utf-8") as file:
        file.write('\n{"id": "one-more", "text": "x"}')
    assert smoke("--resume") == 2
    assert "samples changed since" in capsys.readouterr().err
    # At most the one that was in flight.
    assert len(model.requests) <= 1


@pytest.mark.usefixtures("stopped")
def test_half_a_line_of_a_run_that_was_killed_is_asked_again(app: Path) -> None:
    part = app / ".run" / "smoke" / "results.part"
    whole = part.read_bytes()
    part.write_bytes(whole[:-7])
    assert smoke("--resume") == 0
    assert len(results(app)) == 300


def test_ctrl_c_ends_at_once_while_the_server_hangs(app: Path, model: FakeModel) -> None:
    arrived, answered = threading.Event(), threading.Event()

    def hang(request: Request) -> Response:
        arrived.set()
        answered.wait(30)
        return rate(request)

    model.think = hang
    process = subprocess.Popen(
        [sys.executable, "-m", "smoke", "accept"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # A shell that runs tests in the background leaves SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert arrived.wait(10)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    answered.set()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not golden.path(app).exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--tolerance", "nan"],
        ["--tolerance", "-1"],
        ["--tolerance", "much"],
        ["--threads", "0"],
        ["--app", "/nowhere"],
        ["--url", "127.0.0.1:8080"],
        ["dance"],
    ],
)
def test_wrong_usage_exits_2(app: Path, words: list[str]) -> None:
    assert smoke(*words) == 2


def test_a_broken_golden_exits_2_and_names_the_line(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke("accept")
    with golden.path(app).open("a", encoding="utf-8") as file:
        file.write("{oops\n")
    assert smoke() == 2
    assert "golden.jsonl:4: not JSON" in capsys.readouterr().err


def test_a_server_that_is_gone_exits_3(app: Path, model: FakeModel) -> None:
    model.shutdown()
    model.server_close()
    assert smoke() == 3
    (app / ".run" / "endpoint.json").unlink()
    assert smoke() == 3


def test_the_results_say_it_all_and_junit_where_it_is_wanted(
    app: Path, model: FakeModel, tmp_path: Path
) -> None:
    smoke("accept")
    model.think = failing
    smoke("--junit", str(tmp_path / "new" / "junit.xml"))
    rows = results(app)
    assert [row["verdict"] for row in rows] == ["failed", "same", "same"]
    assert rows[0]["failure"]["message"] == "Prediction failed"
    assert rows[1]["answer"]["label"] == rows[1]["golden"]["label"]
    suite = ET.parse(tmp_path / "new" / "junit.xml").getroot()[0]  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("errors")) == ("3", "1")
    smoke()
    assert (app / ".run" / "smoke" / "junit.xml").exists()


def test_a_version_is_asked_where_one_is_named(app: Path, model: FakeModel) -> None:
    smoke("--version", "3f9a2c1")
    assert model.requests[0].path == "/predictions/reviews/3f9a2c1"


@pytest.mark.parametrize("think", [rate, wrong, failing])
def test_pytest_smoke_gives_the_verdicts_of_the_command(
    app: Path, model: FakeModel, think: object
) -> None:
    smoke("accept")
    model.think = think  # type: ignore[assignment]
    model.requests.clear()
    done = pytest_smoke()
    assert len(model.requests) == len(TEXTS)
    expected = smoke()
    assert done.returncode == expected
    for row in results(app):
        outcome = "PASSED" if row["verdict"] == "same" else "FAILED"
        assert f"[{row['id']}] {outcome}" in done.stdout
    assert expected == (0 if think is rate else 1)


def test_pytest_smoke_without_a_server_exits_3_and_says_so(app: Path) -> None:
    (app / ".run" / "endpoint.json").unlink()
    done = pytest_smoke()
    assert done.returncode == 3
    assert "no server is running" in done.stdout + done.stderr


def test_pytest_smoke_with_a_broken_line_exits_2_and_names_it(app: Path) -> None:
    golden.path(app).write_text("{oops\n", encoding="utf-8")
    done = pytest_smoke()
    assert done.returncode == 2
    assert "golden.jsonl:1: not JSON" in done.stdout + done.stderr


def test_any_text_can_be_shown_on_any_terminal(app: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smoke"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        encoding="ascii",
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "zwei \\xfc" in done.stdout
