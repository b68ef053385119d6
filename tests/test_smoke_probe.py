"""What the kubelet is told."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke import probe
from smoke.fault import Fault, Unanswered
from tests.fake_model import FakeModel, Request, Response


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    """A model that is served, and the bundle beside it."""
    for name in ("APP", "URL", "TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with FakeModel() as fake:
        (tmp_path / "smoke").mkdir()
        (tmp_path / ".run").mkdir()
        sample = {"id": "a", "text": "good"}
        (tmp_path / "smoke" / "samples.jsonl").write_text(json.dumps(sample), encoding="utf-8")
        address = {"url": fake.url, "key_file": None}
        (tmp_path / ".run" / "endpoint.json").write_text(json.dumps(address), encoding="utf-8")
        monkeypatch.setenv("APP", str(tmp_path))
        yield fake


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["probe", "--seconds", "0.2", *words])
    return probe.main()


def test_a_label_is_an_answer(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch) == 0
    assert [each.text for each in model.requests] == ["good"]


def test_one_sample_is_read_whatever_the_others_are(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "smoke" / "samples.jsonl"
    path.write_text('{"id": "a", "text": "good"}\n{oops\n', encoding="utf-8")
    assert said(monkeypatch) == 0


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e30", "soon"])
def test_a_time_that_is_none_is_named_with_the_cure(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    with pytest.raises(Fault, match=f'seconds "{seconds}": .*: give one such as 10'):
        said(monkeypatch, "--seconds", seconds)


@pytest.mark.parametrize(
    "response", [Response({"message": "Prediction failed"}, 503), Response({"status": "Healthy"})]
)
def test_a_server_that_only_calls_itself_healthy_is_alive_and_not_ready(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, response: Response
) -> None:
    model.think = lambda request: response
    assert said(monkeypatch) == 1
    assert said(monkeypatch, "--alive") == 0


def test_a_server_that_accepts_and_says_nothing_is_neither(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()

    def think(request: Request) -> Response:
        done.wait(5)
        return Response({})

    model.think = think
    assert said(monkeypatch) == 1
    with pytest.raises(Unanswered, match="timed out"):
        said(monkeypatch, "--alive")
    done.set()


def test_nothing_that_listens_is_neither(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.shutdown()
    model.server_close()
    for words in ((), ("--alive",)):
        with pytest.raises(Unanswered):
            said(monkeypatch, *words)
