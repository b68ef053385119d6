"""`python -m smoke.predict`: one text in, the answer as JSON out."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke import fault, golden, predict, samples
from smoke.golden import Golden
from tests.fake_model import REQUEST_ID, FakeModel, Response
from tests.test_smoke_command import smoke


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    with FakeModel() as fake:
        for name in ("APP", "TOKEN", "TOLERANCE", "BUDGET"):
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


@pytest.fixture
def app(tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app with one sample, on a last line without an end, and its golden."""
    folder = tmp_path / "a b é"
    (folder / "smoke").mkdir(parents=True)
    monkeypatch.setenv("APP", str(folder))
    samples.path(folder).write_text('{"id":  "first", "text": "one"}', encoding="utf-8")
    golden.write(folder, [Golden("first", "4 stars", 0.53)], {"device": "cpu"})
    return folder


def saved(app: Path) -> tuple[bytes, bytes]:
    return samples.path(app).read_bytes(), golden.path(app).read_bytes()


def test_a_text_that_is_saved_becomes_a_sample_with_its_answer_as_golden(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["größer", "--save", "big", "--label", "2 stars", "--tag", "umlaut", "--tag", "short"]
    assert ask(*words) == 0
    assert capsys.readouterr().out == '{"label": "2 stars", "score": 0.56}\n'
    before = '{"id":  "first", "text": "one"}\n'
    row = '{"id": "big", "text": "größer", "label": "2 stars", "tags": ["umlaut", "short"]}\n'
    assert samples.path(app).read_text(encoding="utf-8") == before + row
    assert list(golden.read(app).values())[1] == Golden("big", "2 stars", 0.56)
    assert golden.made_with(app) == {"device": "cpu"}
    assert json.loads(model.requests[0].body) == {"text": "größer"}
    assert smoke() == 0


def test_the_first_sample_of_an_app_can_be_saved(
    tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP", str(tmp_path))
    assert ask("x", "--save", "first") == 0
    assert smoke() == 0


def test_an_id_that_is_taken_is_named_with_its_line_before_anything_is_asked(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    before = saved(app)
    assert ask("x", "--save", "first") == 2
    assert 'samples.jsonl:1: the id "first" stands there already' in capsys.readouterr().err
    assert ask("x", "--save", "") == 2
    assert not model.requests
    assert saved(app) == before


@pytest.mark.parametrize(
    ("body", "status"), [({"message": "too long"}, 400), ({"stars": 5}, 200), ([], 200)]
)
def test_what_is_no_answer_is_not_saved(
    app: Path, model: FakeModel, body: object, status: int
) -> None:
    before = saved(app)
    model.think = lambda request: Response(body, status)
    assert ask("x", "--save", "more") == 1
    assert saved(app) == before


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", b"plain\n", {"text": "plain\n"}),
        ("a.json", b'"bare"', {"text": "bare"}),
        ("a.json", b'{"text": "x", "text_pair": ""}', {"text": "x", "text_pair": ""}),
        ("a.json", b'{"data": ["x", "y"]}', None),
        ("a.json", b'["x"]', None),
        ("a.json", b'{"text": 1}', None),
        ("a.json", b"{", None),
        ("a.txt", b"\xff\xfe", None),
        ("a.txt", b"\0", None),
    ],
)
def test_a_file_is_saved_if_it_is_one_plain_text(
    app: Path, tmp_path: Path, name: str, content: bytes, texts: dict[str, str] | None
) -> None:
    before = saved(app)
    file = tmp_path / name
    file.write_bytes(content)
    assert ask("-f", str(file), "--save", "more") == (2 if texts is None else 0)
    if texts is None:
        assert saved(app) == before
    else:
        added = samples.read(app)[-1]
        assert (added.text, added.text_pair) == (texts["text"], texts.get("text_pair"))


@pytest.mark.parametrize(
    "words", [["--label", "x"], ["--tag", "x"], ["--save", "x", "--top-k", "2"]]
)
def test_options_of_a_sample_that_make_none_are_wrong_usage(app: Path, words: list[str]) -> None:
    before = saved(app)
    assert ask("text", *words) == 2
    assert saved(app) == before


def test_saving_that_is_cut_short_can_be_done_again(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def killed(aside: Path, target: Path) -> Path:
        if target == samples.path(app):
            raise KeyboardInterrupt
        return replace(aside, target)

    before = saved(app)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        assert ask("x", "--save", "more") == 130
    assert saved(app)[0] == before[0]
    assert ask("x", "--save", "more") == 0
    assert [each.id for each in samples.read(app)] == list(golden.read(app)) == ["first", "more"]


def test_samples_that_are_private_or_elsewhere_stay_so(app: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jsonl"
    samples.path(app).rename(elsewhere)
    elsewhere.chmod(0o600)
    samples.path(app).symlink_to(elsewhere)
    assert ask("x", "--save", "more") == 0
    assert samples.path(app).is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    assert len(samples.read(app)) == 2
