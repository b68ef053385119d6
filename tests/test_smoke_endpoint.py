"""Where a sample is sent, and with which token."""

import json
from pathlib import Path
from typing import Any

import pytest

from smoke import endpoint
from smoke.fault import Fault, Unanswered

URL = "http://127.0.0.1:8080/predictions/reviews"


def started(app: Path, key: object = "secret") -> Path:
    """Leave what a started server leaves."""
    key_file = app / "key_file.json"
    key_file.write_text(json.dumps({"inference": {"key": key}}), encoding="utf-8")
    leave(app, {"url": URL, "key_file": str(key_file)})
    return key_file


def leave(app: Path, content: Any) -> None:
    (app / ".run").mkdir(exist_ok=True)
    (app / ".run" / "endpoint.json").write_text(json.dumps(content), encoding="utf-8")


def test_without_a_url_the_server_of_the_app_is_asked_with_its_key(tmp_path: Path) -> None:
    started(tmp_path)
    assert endpoint.find(tmp_path, None, None, None) == endpoint.Endpoint(URL, "secret")


def test_a_token_that_is_given_beats_the_key_of_the_server(tmp_path: Path) -> None:
    started(tmp_path)
    assert endpoint.find(tmp_path, None, "mine", None) == endpoint.Endpoint(URL, "mine")


def test_a_url_that_is_given_never_gets_the_key_of_the_server(tmp_path: Path) -> None:
    started(tmp_path)
    assert endpoint.find(tmp_path, "http://other/predictions/x", None, None).token is None


def test_a_server_without_tokens_is_asked_without_one(tmp_path: Path) -> None:
    leave(tmp_path, {"url": URL, "key_file": None})
    assert endpoint.find(tmp_path, None, None, None).token is None


def test_a_version_is_one_path_segment(tmp_path: Path) -> None:
    assert endpoint.find(tmp_path, URL, None, "1/ü").url == f"{URL}/1%2F%C3%BC"


def test_a_version_in_the_url_and_another_beside_it_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="names a version already"):
        endpoint.find(tmp_path, f"{URL}/1.0", None, "2.0")


def test_a_version_at_kserves_url_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="knows no versions"):
        endpoint.find(tmp_path, "http://host/v1/models/x:predict", None, "2.0")


def test_no_server_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match="make redeploy"):
        endpoint.find(tmp_path, None, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080/predictions/x",
        "localhost",
        "http://127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "http://127.0.0.1:8080/predictions",
        "http://127.0.0.1:8080/predictions/a/b/c",
        "http://127.0.0.1:8080/models/x",
        "http://127.0.0.1:8080/v1/models/x",
        "http://127.0.0.1:8080/v1/models/x:explain",
        "http://127.0.0.1:8080/v2/models/x/infer",
        "http:///predictions/x",
        "http://[::1/predictions/x",
        f"{URL}?top_k=2",
        "file:///predictions/x",
    ],
)
def test_a_url_that_names_no_model_is_answered_with_the_form_to_write(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(Fault, match="write http://HOST:PORT/predictions/NAME"):
        endpoint.find(tmp_path, url, None, None)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"{URL}/",
        f"{URL}/1.0",
        "https://host/behind/a/proxy/predictions/x",
        "http://host/v1/models/x:predict",
        "https://host/behind/a/proxy/v1/models/x:predict",
    ],
)
def test_a_url_that_names_a_model_is_taken(tmp_path: Path, url: str) -> None:
    assert endpoint.find(tmp_path, url, None, None).url == url.rstrip("/")


@pytest.mark.parametrize("content", [[], {"inference": {}}, {"inference": None}])
def test_a_key_file_without_a_key_is_named(tmp_path: Path, content: object) -> None:
    key_file = started(tmp_path)
    key_file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Fault, match=r"key_file\.json"):
        endpoint.find(tmp_path, None, None, None)


def test_a_key_file_that_is_gone_is_named(tmp_path: Path) -> None:
    started(tmp_path).unlink()
    with pytest.raises(Fault, match=r"key_file\.json"):
        endpoint.find(tmp_path, None, None, None)
