"""A staged folder is whole or not there, and no edit of the tree reaches it."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from loop import package, settings, stage
from loop.settings import Settings
from smoke.fault import Fault

WEIGHTS = b"0" * (2 * package.LARGE)


@pytest.fixture
def app(tmp_path: Path) -> Settings:
    (tmp_path / "config.properties").write_text("load_models=a=b.mar\n", encoding="utf-8")
    (tmp_path / "handler.py").write_text("pass\n", encoding="utf-8")
    (tmp_path / "model-config.yaml").write_text("minWorkers: 1\n", encoding="utf-8")
    (tmp_path / "torch_model").mkdir()
    (tmp_path / "torch_model" / "model.safetensors").write_bytes(WEIGHTS)
    found = settings.read(tmp_path)
    settings.link_run_folder(found)
    return found


def staged(app: Settings) -> Path:
    packed = package.contents(app)
    stage.stage(app, packed)
    return stage.folder(app, packed.version)


def test_a_version_holds_what_its_archive_would(app: Settings) -> None:
    folder = staged(app)
    assert sorted(each.name for each in folder.iterdir()) == [
        "MAR-INF",
        "handler.py",
        "model-config.yaml",
        "model.safetensors",
    ]
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
    assert manifest["model"] == {
        "modelName": "b",
        "handler": "handler.py",
        "modelVersion": folder.name,
        "configFile": "model-config.yaml",
    }


def test_a_training_run_that_writes_in_place_does_not_reach_it(app: Settings) -> None:
    folder = staged(app)
    with (app.app / "torch_model" / "model.safetensors").open("r+b") as weights:
        weights.write(b"1")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_weights_are_there_once_for_all_versions(app: Settings) -> None:
    first = staged(app)
    (app.app / "handler.py").write_text("pass  # 2\n", encoding="utf-8")
    second = staged(app)
    assert first != second
    assert (first / "model.safetensors").samefile(second / "model.safetensors")


def test_weights_that_the_server_has_unpacked_are_linked_not_copied(app: Settings) -> None:
    packed = package.contents(app)
    package.remember(app, packed)
    unpacked = app.run / "tmp" / "models" / "ab12"
    (unpacked / "MAR-INF").mkdir(parents=True)
    manifest = {"model": {"modelVersion": packed.version}}
    (unpacked / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    shutil.copy(app.app / "torch_model" / "model.safetensors", unpacked)
    assert (staged(app) / "model.safetensors").samefile(unpacked / "model.safetensors")


def test_a_file_that_changes_meanwhile_is_refused_and_leaves_nothing(
    app: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = stage._place

    def edit(app: Settings, file: Path, hashed: str, target: Path) -> None:
        (app.app / "handler.py").write_text("pass  # changed\n", encoding="utf-8")
        place(app, file, hashed, target)

    monkeypatch.setattr(stage, "_place", edit)
    with pytest.raises(Fault, match="changed while it was copied"):
        staged(app)
    assert list((app.run / "versions").iterdir()) == []


def test_a_full_disk_leaves_nothing(app: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        staged(app)
    assert list((app.run / "versions").iterdir()) == []


def test_sweeping_keeps_what_is_asked_for_and_only_the_weights_that_it_needs(
    app: Settings,
) -> None:
    first = staged(app)
    (app.app / "torch_model" / "model.safetensors").write_bytes(WEIGHTS + b"2")
    second = staged(app)
    stage.sweep(app, keep=[second.name])
    assert stage.staged(app) == {second.name}
    assert not first.exists()
    (stored,) = (app.run / "store").iterdir()
    assert stored.samefile(second / "model.safetensors")
    stage.sweep(app, keep=())
    assert list((app.run / "store").iterdir()) == []
