"""A version is the content hash of everything that is packed, and of nothing else."""

import os
import zipfile
from pathlib import Path

import pytest

from loop import archive, package, settings
from smoke.fault import Fault


@pytest.fixture
def app(tmp_path: Path) -> settings.Settings:
    (tmp_path / "config.properties").write_text("load_models=a=a.mar\n", encoding="utf-8")
    (tmp_path / "handler.py").write_text("pass\n", encoding="utf-8")
    (tmp_path / "torch_model").mkdir()
    (tmp_path / "torch_model" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "torch_model" / "model.safetensors").write_bytes(b"0" * package.LARGE)
    return settings.read(tmp_path)


def version(app: settings.Settings) -> str:
    return package.contents(app).version


@pytest.mark.parametrize(
    "name",
    [
        "handler.py",
        "torch_model/config.json",
        "torch_model/model.safetensors",
        "torch_model/index_to_name.json",
        "model-config.yaml",
        "requirements.txt",
    ],
)
def test_a_change_of_anything_packed_is_another_version(app: settings.Settings, name: str) -> None:
    before = version(app)
    (app.app / name).write_bytes(b"1" * package.LARGE)
    assert version(app) != before


def test_touching_a_file_or_changing_another_is_the_same_version(app: settings.Settings) -> None:
    before = version(app)
    os.utime(app.app / "handler.py", (0, 0))
    (app.app / "README.md").write_text("hello", encoding="utf-8")
    (app.app / "torch_model" / "checkpoint-500").mkdir()
    (app.app / "torch_model" / ".cache").write_text("", encoding="utf-8")
    assert version(app) == before


def test_large_files_are_read_once(app: settings.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = version(app)
    read: list[str] = []
    hash_ = package.hash_file

    def noting(file: Path) -> str:
        read.append(file.name)
        return hash_(file)

    monkeypatch.setattr(package, "hash_file", noting)
    (app.app / "handler.py").write_text("other\n", encoding="utf-8")
    assert version(app) != before
    assert read == ["handler.py", "config.json"]


def test_a_large_file_rewritten_in_place_is_read_again(app: settings.Settings) -> None:
    before = version(app)
    weights = app.app / "torch_model" / "model.safetensors"
    with weights.open("r+b") as file:
        file.write(b"1")
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert version(app) != before


def test_what_changed_since_a_version_is_named(app: settings.Settings) -> None:
    packed = package.contents(app)
    package.remember(app, packed)
    (app.app / "handler.py").write_text("other\n", encoding="utf-8")
    (app.app / "requirements.txt").write_text("x\n", encoding="utf-8")
    now = package.contents(app)
    assert package.changed(app, now, packed.version) == ["handler.py", "requirements.txt"]
    assert package.changed(app, now, "unknown") == []


def test_a_missing_checkpoint_says_how_to_make_one(app: settings.Settings) -> None:
    (app.app / "torch_model" / "model.safetensors").unlink()
    with pytest.raises(Fault, match=r"no weights in .*torch_model: make them with `make model`"):
        package.contents(app)


def test_an_archive_that_is_cut_short_counts_as_none(tmp_path: Path) -> None:
    archive = tmp_path / "a.mar"
    assert package.built_version(archive) is None
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelVersion": "abc"}}')
    assert package.built_version(archive) == "abc"
    archive.write_bytes(archive.read_bytes()[:-30])
    assert package.built_version(archive) is None


def test_two_files_that_would_be_one_in_the_archive_are_refused(app: settings.Settings) -> None:
    (app.app / "torch_model" / "handler.py").write_text("pass\n", encoding="utf-8")
    with pytest.raises(Fault, match=r"handler\.py and .*torch_model/handler\.py would be one file"):
        package.contents(app)


def test_the_archiver_gets_paths_that_no_comma_can_split(app: settings.Settings) -> None:
    packed = package.contents(app)
    words = archive.arguments(app, packed)
    assert "torch_model/config.json,torch_model/model.safetensors" in words
    (app.app / "torch_model" / "a,b.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Fault, match="rename it"):
        package.contents(app)
