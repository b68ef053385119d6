"""`python -m smoke` and `pytest smoke`: exit codes, goldens, files left, against a fake server."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from smoke import __main__ as command
from smoke import fault, golden, jsonl, lock, proposal, record, samples
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


def interrupted(*_: object) -> Any:
    """What Ctrl-C does to whatever is at work."""
    raise KeyboardInterrupt


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

    monkeypatch.setattr(jsonl, "encode", interrupted)
    assert smoke("accept") == 130
    assert golden.path(app).read_bytes() == before


def signal_after(
    model: FakeModel,
    count: int,
    think: Callable[[Request], Response] = rate,
    number: signal.Signals = signal.SIGINT,
) -> None:
    """Send this process a signal when it has asked so many samples more."""
    model.requests.clear()

    def answer(request: Request) -> Response:
        if len(model.requests) == count:
            signal.raise_signal(number)
        return think(request)

    model.think = answer


def hangs_up(request: Request) -> Response:
    """What comes of a server that dies: of some texts, nothing; of one, a status."""
    if request.text.endswith("7"):
        raise ConnectionResetError
    return Response({"message": "down"}, 503) if request.text == "text 003" else rate(request)


@pytest.fixture
def stopped(app: Path, model: FakeModel) -> int:
    """A run of 300 samples that was stopped on its way. Returns how many had been asked."""
    lines = [json.dumps({"id": f"s{n}", "text": f"text {n:03}"}) for n in range(300)]
    samples.path(app).write_text("\n".join(lines), encoding="utf-8")
    assert smoke("accept") == 0
    signal_after(model, 100)
    assert smoke("--threads", "1") == 130
    model.think = rate
    return len(model.requests)


def resumable(app: Path) -> int:
    """How many samples the run that was stopped has results of."""
    return (app / ".run" / "smoke" / "results.part").read_bytes().count(b"\n") - 1


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
def test_a_run_that_goes_on_tells_its_own_time_and_when_the_first_began(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, now = resumable(app), time.time()
    capsys.readouterr()
    assert smoke("--resume") == 0
    assert f"300 same · {300 - before} of 300 samples in " in capsys.readouterr().out
    assert record.read(app).began < now
    suite = ET.parse(app / ".run" / "smoke" / "junit.xml").getroot()[0]  # noqa: S314 - our own file
    assert suite.get("time") is None


@pytest.mark.usefixtures("stopped")
def test_a_run_that_was_stopped_does_not_go_on_with_another_version(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    served_with(app, model.url, "a")
    signal_after(model, 100)
    assert smoke("--threads", "1") == 130
    served_with(app, model.url, "b")
    assert smoke("--resume") == 2
    assert "of another run: version, device changed since" in capsys.readouterr().err
    served_with(app, model.url, "a")
    model.think = rate
    assert smoke("--resume") == 0


@pytest.mark.usefixtures("stopped")
def test_what_no_response_came_for_is_asked_again(app: Path, model: FakeModel) -> None:
    signal_after(model, 200, hangs_up)
    assert smoke("--threads", "1") == 130
    model.think = rate
    model.requests.clear()
    assert smoke("--resume") == 1
    asked = {each.text for each in model.requests}
    assert {"text 007", "text 017"} < asked
    assert not {"text 001", "text 003"} & asked
    assert [row["id"] for row in results(app) if row["verdict"] != "same"] == ["s3"]
    assert {row["id"] for row in results(app)} == {f"s{n}" for n in range(300)}


@pytest.mark.usefixtures("stopped")
def test_a_run_that_gets_no_answer_leaves_the_one_that_was_stopped(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke("--url", "http://127.0.0.1:9/predictions/x") == 3
    assert smoke("--resume") == 0
    assert "300 same" in capsys.readouterr().out


def test_a_polite_kill_leaves_a_run_that_can_go_on(
    app: Path, model: FakeModel, stopped: int
) -> None:
    signal_after(model, 150, number=signal.SIGTERM)
    assert smoke("--threads", "1") == 143
    assert 128 <= resumable(app) < 300
    model.think = rate
    assert smoke("--resume") == 0


def test_a_run_that_is_stopped_before_it_has_told_can_go_on(
    app: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke("accept")
    with monkeypatch.context() as patch:
        patch.setattr(record, "write", interrupted)
        assert smoke() == 130
    model.requests.clear()
    assert smoke("--resume") == 0
    assert not model.requests
    assert record.read(app).resumed == 3


def test_how_to_go_on_names_all_that_it_takes(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str], stopped: int
) -> None:
    signal_after(model, 150)
    smoke("--threads", "1", "--tolerance", "0.0123456789", "--budget", "2")
    assert "BUDGET=2 TOLERANCE=0.0123456789 RESUME=1`" in capsys.readouterr().err


def test_one_run_at_a_time_and_the_other_is_told_whose_turn_it_is(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke("accept")
    with lock.asking(app, "smoke"):
        assert smoke() == 2
    said = capsys.readouterr().err
    assert f"smoke: smoke (pid {os.getpid()}) is asking the samples of {app}: end that" in said
    assert smoke() == 0


def switching(app: Path, model: FakeModel) -> Callable[[Request], Response]:
    """What comes while a reload makes version b live half-way."""

    def think(request: Request) -> Response:
        if request.text == "one":
            served_with(app, model.url, "b")
        return rate(request)

    return think


def test_the_answers_of_two_versions_are_not_accepted(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    served_with(app, model.url, "a")
    model.think = switching(app, model)
    for words in (["accept"], ["accept", "--only", "first"]):
        served_with(app, model.url, "a")
        assert smoke(*words) == 1
        assert "has changed while it was asked (version a, now b;" in capsys.readouterr().err
        assert not golden.path(app).exists()
    assert not list(samples.path(app).parent.glob(".golden*"))


def test_a_run_of_two_versions_says_so_and_proposes_nothing(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    served_with(app, model.url, "a")
    model.think = switching(app, model)
    assert smoke() == 1
    assert "has changed while it was asked (version a, now b;" in capsys.readouterr().err
    assert not proposal.path(app).exists()
    assert record.read(app).served_with == {}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_at_once_while_the_server_hangs(
    app: Path, model: FakeModel, number: signal.Signals
) -> None:
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
        # A shell that runs tests in the background leaves SIGINT ignored, and nohup SIGHUP.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert arrived.wait(10)
    process.send_signal(number)
    _, err = process.communicate(timeout=5)
    answered.set()
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert list(samples.path(app).parent.iterdir()) == [samples.path(app)]


def test_under_nohup_a_closed_terminal_ends_nothing(app: Path, model: FakeModel) -> None:
    process: subprocess.Popen[bytes]

    def hang_up(request: Request) -> Response:
        process.send_signal(signal.SIGHUP)
        return rate(request)

    model.think = hang_up
    process = subprocess.Popen(
        [sys.executable, "-m", "smoke", "accept", "--threads", "1"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.wait(10) == 0


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
