"""What TorchServe's own log tells of a version's workers."""

from pathlib import Path

import pytest

from loop import settings
from loop.frontend import Frontend

THREAD = "org.pytorch.serve.wlm.WorkerThread"


class Log:
    """An app's ts_log.log, as TorchServe writes it."""

    def __init__(self, folder: Path) -> None:
        (folder / "config.properties").write_text("load_models=a.b=a.mar\n", encoding="utf-8")
        self.app = settings.read(folder)
        settings.link_run_folder(self.app)
        self.path = self.app.run / "logs" / "ts_log.log"
        self.path.touch()

    def write(self, worker: str, message: str, end: str = "\n") -> None:
        with self.path.open("a", encoding="utf-8") as log:
            log.write(f"2026-11-20T12:31:36,159 [DEBUG] {worker} {THREAD} - {message}{end}")

    def change(self, worker: str, before: str, after: str) -> None:
        self.write(worker, f"{worker} State change {before} -> {after}")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_a_worker_s_state_is_its_last_one(log: Log) -> None:
    frontend = Frontend(log.app, "1f")
    assert frontend.states() == []
    log.change("W-9001-a.b_1f", "null", "WORKER_STARTED")
    assert frontend.states() == ["WORKER_STARTED"]
    log.change("W-9001-a.b_1f", "WORKER_STARTED", "WORKER_MODEL_LOADED")
    log.change("W-9002-a.b_1f", "null", "WORKER_STARTED")
    assert sorted(frontend.states()) == ["WORKER_MODEL_LOADED", "WORKER_STARTED"]


def test_other_versions_and_models_do_not_count(log: Log) -> None:
    frontend = Frontend(log.app, "1f")
    log.change("W-9001-a.b_1f0", "null", "WORKER_STOPPED")
    log.change("W-9001-axb_1f", "null", "WORKER_STOPPED")
    assert frontend.states() == []


def test_the_late_end_of_an_earlier_worker_of_the_version_does_not_count(log: Log) -> None:
    log.change("W-9001-a.b_1f", "null", "WORKER_STARTED")
    frontend = Frontend(log.app, "1f")
    log.change("W-9001-a.b_1f", "WORKER_SCALED_DOWN", "WORKER_STOPPED")
    log.change("W-9002-a.b_1f", "null", "WORKER_STARTED")
    assert frontend.states() == ["WORKER_STARTED"]


def test_a_line_that_is_half_written_is_read_when_it_is_whole(log: Log) -> None:
    frontend = Frontend(log.app, "1f")
    worker = "W-9001-a.b_1f"
    log.write(worker, f"{worker} State change null -> WORKER_MOD", end="")
    assert frontend.states() == []
    with log.path.open("a", encoding="utf-8") as rest:
        rest.write("EL_LOADED\n")
    assert frontend.states() == ["WORKER_MODEL_LOADED"]


def test_a_log_that_begins_anew_is_read_from_its_start(log: Log) -> None:
    log.write("main", "x" * 1000)
    frontend = Frontend(log.app, "1f")
    log.path.write_text("", encoding="utf-8")
    log.change("W-9001-a.b_1f", "null", "WORKER_STARTED")
    assert frontend.states() == ["WORKER_STARTED"]


def test_a_worker_is_busy_from_the_request_to_the_response(log: Log) -> None:
    frontend = Frontend(log.app, "1f")
    assert frontend.says_busy() is None
    sent = "Flushing req.cmd PREDICT repeats 1 to backend at: 1"
    for worker in ("W-9001-a.b_1f", "W-9002-a.b_1f"):
        log.write(worker, sent)
    log.write("W-9002-a.b_1f", "Backend response time: 3")
    assert frontend.says_busy() is True
    log.write("W-9001-a.b_1f", "Backend response time: 3")
    assert frontend.says_busy() is False
