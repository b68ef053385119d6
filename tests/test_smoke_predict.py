"""`python -m smoke.predict`: one text in, the answer as JSON out."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke import fault, predict
from tests.fake_model import REQUEST_ID, FakeModel, Response


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    with FakeModel() as fake:
        for name in ("APP", "TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("URL", fake.url)
        yield fake


def ask(*words: str) -> int:
    """Run the command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict", *words])
        with pytest.raises(SystemExit) as exit_:
            fault.run("predict", predict.main)
    return int(exit_.value.code or 0)


def test_a_text_goes_out_as_it_is_and_the_answer_comes_on_one_line(
    model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("größer") == 0
    assert model.requests[0].body == "größer".encode()
    assert model.requests[0].headers["Content-Type"] == "text/plain; charset=utf-8"
    assert capsys.readouterr().out == '{"label": "2 stars", "score": 0.56}\n'


def test_an_answer_is_indented_on_a_terminal(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert ask("x") == 0
    assert terminal.getvalue().startswith('{\n  "label"')


def test_an_answer_that_is_not_json_is_shown_as_it_came(
    model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model.think = lambda request: Response(b"five stars")
    assert ask("x") == 0
    assert capsys.readouterr().out == "five stars\n"


def test_an_empty_text_is_for_the_handler_to_judge(model: FakeModel) -> None:
    assert ask("") == 0
    assert model.requests[0].body == b""


def test_a_text_that_begins_with_a_dash_stands_behind_two(model: FakeModel) -> None:
    assert ask("--", "-1 star") == 0
    assert model.requests[0].body == b"-1 star"


def test_a_dash_reads_stdin_as_bytes(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n")))
    model.think = lambda request: Response({})
    assert ask("-") == 0
    assert model.requests[0].body == b"\xff\n"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("a.txt", "text/plain; charset=utf-8"), ("a.json", "application/json")],
)
def test_a_file_is_sent_whole_under_its_type(
    model: FakeModel, tmp_path: Path, name: str, content_type: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b'{"text": "x"}\n')
    assert ask("-f", str(file)) == 0
    assert model.requests[0].body == b'{"text": "x"}\n'
    assert model.requests[0].headers["Content-Type"] == content_type


def test_a_file_that_is_not_there_exits_2(
    model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("-f", "/nowhere.txt") == 2
    assert "predict: /nowhere.txt: cannot be read" in capsys.readouterr().err


def test_a_version_goes_into_the_url(model: FakeModel) -> None:
    assert ask("--version", "1.0", "x") == 0
    assert model.requests[0].path == "/predictions/reviews/1.0"


def test_top_k_goes_into_a_json_body_since_the_query_would_be_dropped(
    model: FakeModel, tmp_path: Path
) -> None:
    model.think = lambda request: Response(b"[]")
    assert ask("--top-k", "2", "größer") == 0
    assert json.loads(model.requests[0].body) == {"data": "größer", "top_k": 2}
    file = tmp_path / "input.json"
    file.write_text('{"text": "x", "text_pair": "y"}', encoding="utf-8")
    assert ask("--top-k", "2", "-f", str(file)) == 0
    assert json.loads(model.requests[1].body) == {"text": "x", "text_pair": "y", "top_k": 2}


def test_top_k_for_an_input_that_cannot_carry_it_exits_2(model: FakeModel, tmp_path: Path) -> None:
    file = tmp_path / "input.txt"
    file.write_bytes(b"\xff")
    assert ask("--top-k", "2", "-f", str(file)) == 2
    assert not model.requests


def test_an_error_exits_1_with_status_words_and_request_id(
    model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.loads('{"code": 400, "message": "the text is empty"}')
    model.think = lambda request: Response(body, 400)
    assert ask("") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"predict: 400 the text is empty (x-request-id {REQUEST_ID})")


@pytest.mark.parametrize("words", [[], ["-f", "x", "y"], ["--top-k", "two", "x"]])
def test_wrong_usage_exits_2(model: FakeModel, words: list[str]) -> None:
    assert ask(*words) == 2


def test_no_server_exits_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("URL", raising=False)
    assert ask("--app", str(tmp_path), "x") == 3
