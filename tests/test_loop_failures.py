"""What has failed: as forked workers record it, and as the log tells of others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loop import errors, failures, recorder, settings
from loop.settings import Settings
from smoke.client import Failure as Reply

ID = "11111111-2222-3333-4444-55555555555"
# Two workers at a time, as TorchServe logs them.
SAID = [
    (9000, "[PID]41"),
    (9001, "[PID]42"),
    (9000, "Backend received inference at: 1"),
    (9001, "Backend received inference at: 1"),
    (9000, f"request {ID}1: 'good'"),
    (9001, "Invoking custom service failed."),
    (9000, "Invoking custom service failed."),
    (9001, "Traceback (most recent call last):"),
    (9000, "Traceback (most recent call last):"),
    (9001, '  File "/m/handler.py", line 5, in a'),
    (9000, '  File "/m/handler.py", line 6, in b'),
    (9001, "    first()"),
    (9000, "    second()"),
    (9001, "KeyError: 'one'"),
    (9000, "KeyError: 'two'"),
    (9001, "Backend received inference at: 2"),
    (9001, "all is well"),
]
LOG = "".join(
    f"2026-11-21T12:00:01,{milliseconds:03} [WARN ] W-{worker}-tiny_aaa-stdout MODEL_LOG - {said}\n"
    for milliseconds, (worker, said) in enumerate(SAID)
)


@pytest.fixture
def app(tmp_path: Path) -> Settings:
    (tmp_path / "config.properties").write_text("load_models=tiny=tiny.mar\n", encoding="utf-8")
    found = settings.read(tmp_path)
    settings.link_run_folder(found)
    (found.run / "warm").mkdir()
    return found


def row(**more: Any) -> dict[str, Any]:
    fixed = {"version": "aaa", "worker": "9000", "pid": 41, "requests": [], "messages": []}
    return {"time": time.time(), "seconds": 0.1, **fixed, **more}


def test_the_logs_of_two_workers_are_told_apart(app: Settings) -> None:
    (app.logs / "model_log.log").write_text(LOG, encoding="utf-8")
    one, two = failures.everything(app)
    assert str(one.cause) == "KeyError: 'one'\n  handler.py:5 in a: first()"
    assert (one.worker, one.pid, one.requests) == ("9001", 42, [])
    assert str(two.cause) == "KeyError: 'two'\n  handler.py:6 in b: second()"
    # The handler had logged whose request it was.
    assert (two.worker, two.requests) == ("9000", [f"{ID}1"])


def test_what_a_fork_has_recorded_is_not_told_again_from_the_log(app: Settings) -> None:
    (app.logs / "model_log.log").write_text(LOG, encoding="utf-8")
    both = failures.everything(app)
    recorded = row(requests=["a"], messages=["KeyError: 'two'"], time=both[1].time - 0.2)
    recorder.append(app.run, recorded)
    assert [each.requests for each in failures.everything(app)] == [["a"], []]
    # The same process number, on another day.
    recorder.append(app.run, row(requests=["b"], messages=["KeyError: 'two'"], pid=42))
    assert len(failures.everything(app)) == 3


def test_each_request_has_its_own_cause_and_samples_are_grouped_by_it(app: Settings) -> None:
    since = time.time()
    for number, words in enumerate(["KeyError: 'one'", "KeyError: 'two'", "KeyError: 'one'"]):
        recorder.append(app.run, row(requests=[str(number)], messages=[words]))
    failed = {f"s{i}": Reply("Prediction failed", 503, str(i)) for i in range(3)}
    failed["s3"] = Reply("Model version: 9 does not exist for model: x", 404, "3")
    told = failures.by_cause(app, failed, since)
    assert "KeyError: 'one'\n  samples: s0, s2\n" in told
    assert "KeyError: 'two'\n  samples: s1\n" in told
    assert "404 Model version: 9" in told
    assert "`make status`" in told


def test_of_a_load_no_request_is_told(app: Settings) -> None:
    since = time.time()
    recorder.append(app.run, row(is_load=True, messages=["KeyError: 'x'"]))
    reply = Reply("Worker died.", 500, "unknown")
    assert failures.of_replies(app, [reply], since)[reply].what == "500 Worker died."


def test_a_line_that_is_half_written_is_passed_over(app: Settings) -> None:
    recorder.append(app.run, row(messages=["KeyError: 'x'"]))
    with (app.run / recorder.FAILURES).open("a", encoding="utf-8") as file:
        file.write('{"time": 1')
    assert len(failures.recorded(app)) == 1


def test_the_list_does_not_grow_without_end(app: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "LARGEST", 1000)
    for _ in range(100):
        recorder.append(app.run, row(messages=["KeyError: 'x'"]))
    sizes = [(app.run / each).stat().st_size for each in (recorder.FAILURES, recorder.FORMER)]
    assert max(sizes) < 1500
    assert failures.recorded(app)


def test_the_list_is_nobody_elses_to_read(app: Settings) -> None:
    recorder.append(app.run, row())
    assert (app.run / recorder.FAILURES).stat().st_mode & 0o077 == 0


def test_an_input_comes_back_as_it_was() -> None:
    batch = [
        {
            "requestId": b"1",
            "headers": [{"name": b"a", "value": b"\xff"}],
            "parameters": [
                {"name": "body", "contentType": "", "value": bytearray(b"\xff\x00")},
                {"name": "body", "contentType": "application/json", "value": {"bytes": ["é", 1]}},
            ],
        }
    ]
    assert recorder.decode(recorder.encode(batch)) == batch


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("os._exit(3)", "the worker ended itself while answering: exit code 3, and no exception"),
        ("os.kill(os.getpid(), 9)", "the worker was killed while answering"),
        ("os.abort()", "the worker crashed while answering: Aborted"),
        ("time.sleep(60)", "the worker was still answering after"),
    ],
)
def test_a_worker_that_does_not_live_to_tell_is_told_of(
    app: Settings, monkeypatch: pytest.MonkeyPatch, ending: str, told: str
) -> None:
    monkeypatch.setattr(recorder, "TIMEOUT_SECONDS", 0.0)
    code = f"""\
import os, sys, time
from pathlib import Path
from loop.recorder import Recorder
made = Recorder(Path({str(app.run)!r}), "9000")
made._begin(lambda: made._row("/m", requests=["a"]))
print("at it", flush=True)
{ending}
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end = os.pidfd_open(process.pid)
        if "sleep" in ending:
            recorder.ask(app.run, process.pid, end)
            process.kill()
        status = process.wait(timeout=10)
        os.close(end)
    recorder.close(app.run, process.pid, status)
    (failure,) = failures.recorded(app)
    assert failure.cause.what.startswith(told)
    assert failure.requests == ["a"]
    assert not list((app.run / "warm").iterdir())


def test_a_worker_that_was_retired_at_its_work_is_no_failure(app: Settings) -> None:
    (app.run / "warm" / "doing.7").write_text(
        json.dumps(row(model_dir=str(app.app))), encoding="utf-8"
    )
    (app.run / "warm" / "stack.7").write_text('File "x", line 1 in f', encoding="utf-8")
    recorder.close(app.run, 7, -signal.SIGKILL)
    assert failures.recorded(app) == []


def test_errors_are_told_whole_once_and_without_what_the_jvm_makes_of_them(
    app: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (app.logs / "model_log.log").write_text(LOG, encoding="utf-8")
    jvm = """\
2026-11-21T12:00:01,100 [ERROR] W-9000-tiny_aaa org.pytorch.serve.wlm.WorkerThread - Worker error
2026-11-21T12:00:09,000 [ERROR] main org.pytorch.serve.ModelServer - something else
java.lang.IllegalStateException: so
\tat a.b(C.java:1)
"""
    (app.logs / "ts_log.log").write_text(LOG + jvm, encoding="utf-8")
    errors.tell(app, 10, follow=False)
    told = capsys.readouterr().out
    assert told.count("Traceback") == 2
    assert "Worker error" not in told
    assert "server" in told
    assert told.count("something else") == 1
    assert "java.lang.IllegalStateException: so\n" in told


def test_an_error_with_the_same_cause_is_a_line(
    app: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        recorder.append(app.run, row(messages=["KeyError: 'one'"]))
    errors.tell(app, 10, follow=False)
    told = capsys.readouterr().out
    assert told.count("KeyError: 'one', once more") == 2
    assert told.count("\n    KeyError: 'one'\n") == 1


def test_a_worker_that_ends_is_seen_without_reading_what_was_before(app: Settings) -> None:
    recorder.append(app.run, row(end={"status": 3, "killed": False}))
    ends = failures.Ends(app, "aaa")
    assert ends.first() is None
    recorder.append(app.run, row(answer=[503, "Prediction failed"]))
    recorder.append(app.run, row(is_load=True))
    recorder.append(app.run, row(version="bbb"))
    assert ends.first() is None
    recorder.append(app.run, row(requests=["x"]))
    found = ends.first()
    assert found is not None
    assert found.requests == ["x"]
    assert ends.first() is None


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("application/json", b"{nope", "send JSON"),
        ("application/json", b'{"text": "x"}', ""),
        ("text/plain", b"\xff", "send UTF-8"),
        ("text/plain", b"x", ""),
        ("image/png", b"\xff", ""),
    ],
)
def test_a_body_that_is_not_what_it_says_is_told(kind: str, body: bytes, told: str) -> None:
    parameter = {"name": "body", "contentType": kind, "value": body}
    batch = [{"requestId": b"1", "headers": [], "parameters": [parameter]}]
    given = row(messages=["ZeroDivisionError: no"], batch=recorder.encode(batch))
    assert failures.Failure(**given).cause.cure.startswith(told)
    assert bool(failures.Failure(**given).cause.cure) == bool(told)
