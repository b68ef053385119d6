"""Logs that read well, and the cause that hides in them."""

from pathlib import Path

import pytest

from loop import logs

TRACEBACK = """\
Traceback (most recent call last):
  File "/env/site-packages/ts/model_loader.py", line 108, in load
    initialize_fn(service.context)
  File "/tmp/models/ab12/handler.py", line 61, in initialize
    self.load_labels()
  File "/tmp/models/ab12/handler.py", line 87, in load_labels
    return open("labels.txt")
           ^^^^^^^^^^^^^^^^^^
FileNotFoundError: [Errno 2] No such file or directory: 'labels.txt'
"""


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (
            "2026-11-20T12:31:36,159 [INFO ] W-9000-bert_67e27c3-stdout MODEL_LOG - hello - there",
            "12:31:36.159 bert_67e27c3:9000    INFO  hello - there",
        ),
        (
            '2026-11-20T12:31:36,648 [INFO ] epollEventLoopGroup-3-1 ACCESS_LOG - "GET /ping" 200',
            '12:31:36.648 access               INFO  "GET /ping" 200',
        ),
        (
            "2026-11-20T12:31:36,648 [DEBUG] W-9000-bert_1 org.pytorch.serve.wlm.Worker - state",
            "12:31:36.648 server               DEBUG state",
        ),
        ("no record at all", "no record at all"),
    ],
)
def test_a_record_reads_time_who_level_message(record: str, shown: str) -> None:
    assert logs.readable(record + "\n", colour=False) == shown


def test_errors_are_red_where_there_is_colour() -> None:
    record = "2026-11-20T12:31:36,648 [ERROR] main org.x - bad"
    assert logs.readable(record, colour=True).startswith("\033[31m")
    assert "\033" not in logs.readable(record, colour=False)


def test_following_goes_on_in_the_file_of_the_next_server(tmp_path: Path) -> None:
    path = tmp_path / "ts_log.log"
    path.write_text("one\n", encoding="utf-8")
    with path.open(encoding="utf-8") as log:
        lines = logs.follow(path, log)
        assert next(lines) == "one\n"
        path.rename(tmp_path / "old.log")
        path.write_text("two\nthree\n", encoding="utf-8")
        assert [next(lines), next(lines)] == ["two\n", "three\n"]
