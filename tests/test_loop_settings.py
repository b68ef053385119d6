"""config.properties: read once, faults with their line, and what the loop makes of it."""

from pathlib import Path

import pytest

from loop import settings
from smoke.fault import Fault


def write(folder: Path, *lines: str) -> settings.Settings:
    (folder / "config.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return settings.read(folder)


def test_load_models_names_endpoint_and_archive(tmp_path: Path) -> None:
    app = write(tmp_path, "load_models=bert=my.mar", "inference_address=http://127.0.0.1:5000/")
    assert app.inference_url == "http://127.0.0.1:5000/predictions/bert"
    assert app.archive == tmp_path / "model_store" / "my.mar"


def test_what_is_not_set_has_torchserves_own_default(tmp_path: Path) -> None:
    app = write(tmp_path, "load_models=bert=bert.mar")
    assert [address.port for address in app.addresses] == [8080, 8081, 8082]
    assert app.tokens
    assert app.workers == 1


@pytest.mark.parametrize("value", ["", "bert.mar", "a=a.mar,b=b.mar", "all", "a=../a.mar"])
def test_load_models_that_names_no_single_model_is_refused_with_its_line(
    tmp_path: Path, value: str
) -> None:
    app = write(tmp_path, "# comment", f"load_models={value}")
    with pytest.raises(Fault, match=r"config\.properties:2: load_models"):
        app.name  # noqa: B018 - reading it is what fails


@pytest.mark.parametrize("value", ["127.0.0.1:8080", "http://127.0.0.1", "http://h:x", "unix:/a"])
def test_an_address_without_host_and_port_is_refused_with_its_line(
    tmp_path: Path, value: str
) -> None:
    app = write(tmp_path, "", "load_models=a=a.mar", f"management_address={value}")
    with pytest.raises(Fault, match=r"config\.properties:3: management_address"):
        app.addresses  # noqa: B018 - reading it is what fails


def test_a_key_with_two_values_is_refused_naming_both_lines(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"config\.properties:3: load_models .* line 1"):
        write(tmp_path, "load_models=a=a.mar", "", "load_models=b=b.mar")


def test_continued_lines_are_counted(tmp_path: Path) -> None:
    app = write(tmp_path, "vmargs=-Xmx1g \\", "  -Xms1g", "job_queue_size=many")
    assert app.properties["vmargs"] == "-Xmx1g -Xms1g"
    with pytest.raises(Fault, match=r"config\.properties:3: job_queue_size=many"):
        app.number("job_queue_size", 1)


def test_a_missing_app_or_config_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no such app"):
        settings.read(tmp_path / "nowhere")
    with pytest.raises(Fault, match=r"config\.properties does not exist: copy"):
        settings.read(tmp_path)


def test_a_config_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_bytes(b"load_models=\xff")
    with pytest.raises(Fault, match="save it as UTF-8"):
        settings.read(tmp_path)


def test_workers_are_those_of_model_config_or_else_of_the_config(tmp_path: Path) -> None:
    lines = ("load_models=a=a.mar", "default_workers_per_model=3")
    assert write(tmp_path, *lines).workers == 3
    (tmp_path / "model-config.yaml").write_text("minWorkers: 1\nmaxWorkers: 2\n", encoding="utf-8")
    assert write(tmp_path, *lines).workers == 2
    (tmp_path / "model-config.yaml").write_text("a: [\n", encoding="utf-8")
    with pytest.raises(Fault, match=r"model-config\.yaml:1:5: not YAML"):
        write(tmp_path, *lines).workers  # noqa: B018 - reading it is what fails


def test_the_server_sees_the_run_folder_by_a_short_ascii_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long é " * 12)
    folder.mkdir()
    app = write(folder, "load_models=a=a.mar")
    settings.link_run_folder(app)
    try:
        assert app.link.resolve() == folder / ".run"
        assert str(app.link).isascii()
        assert " " not in str(app.link)
        assert len(str(app.tmp / ".ts.sock.9000")) < 107
    finally:
        app.link.unlink()


def test_two_apps_share_no_link(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert write(tmp_path / "a", "x=1").link != write(tmp_path / "b", "x=1").link


def test_a_links_folder_that_others_may_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "links"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(settings, "LINKS", shared)
    with pytest.raises(Fault, match="not a private folder"):
        settings.link_run_folder(write(tmp_path, "load_models=a=a.mar"))
