"""Immutable folders to serve from, one per version: what a reload registers.

TorchServe links to a folder model, so a worker that it starts again reads the folder again: an edit
of the user's tree must not reach it. Large files enter a store once, under their hash, and the
versions link them from there, never from torch_model/, where a training run may rewrite a file in
place.

    .run/versions/VERSION/   what the archive of that version would hold
    .run/store/HASH          a large file
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from model_archiver.manifest_components.manifest import Manifest, RuntimeType
from model_archiver.manifest_components.model import Model

from loop import package
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import Fault


def stage(app: Settings, packed: Contents) -> None:
    """Make the folder of a version, whole or not at all; it may be there already.

    Raises:
        Fault: a file has changed since `packed` was computed.
        OSError: the disk is full, or may not be written.
    """
    final = folder(app, packed.version)
    if final.is_dir():
        return
    aside = final.with_suffix(".aside")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        (aside / "MAR-INF").mkdir(parents=True)
        (aside / "MAR-INF" / "MANIFEST.json").write_text(manifest(app, packed), encoding="utf-8")
        for file in packed.files:
            _place(app, file, packed.hashes[file.name], aside / file.name)
        aside.rename(final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def folder(app: Settings, version: str) -> Path:
    """The folder of a version, as the server sees it."""
    return app.link / "versions" / version


def staged(app: Settings) -> set[str]:
    """The versions that have a folder."""
    with contextlib.suppress(FileNotFoundError):
        return {each.name for each in (app.run / "versions").iterdir() if not each.suffix}
    return set()


def sweep(app: Settings, keep: Collection[str]) -> None:
    """Remove all folders but those of the versions to keep, and what only those had in the store.

    What cannot be removed now is left for the next time.
    """
    for each in _entries(app.run / "versions"):
        if each.name not in keep:
            shutil.rmtree(each, ignore_errors=True)
    for each in _entries(app.run / "store"):
        with contextlib.suppress(OSError):
            if each.suffix or each.stat().st_nlink == 1:
                each.unlink()


def _entries(parent: Path) -> list[Path]:
    return list(parent.iterdir()) if parent.is_dir() else []


def manifest(app: Settings, packed: Contents) -> str:
    """The manifest that the archiver writes."""
    model = Model(
        app.archive.stem,
        serialized_file=None,
        handler=packed.handler.name,
        model_version=packed.version,
        requirements_file=packed.requirements and packed.requirements.name,
        config_file=packed.config and packed.config.name,
    )
    return json.dumps(Manifest(RuntimeType.PYTHON.value, model).manifest_dict)


def _place(app: Settings, file: Path, hashed: str, target: Path) -> None:
    if file.stat().st_size < package.LARGE:
        shutil.copyfile(file, target)
        _check(target, hashed, file)
        return
    stored = app.run / "store" / hashed
    if not stored.exists():
        stored.parent.mkdir(exist_ok=True)
        _store(app, file, hashed, stored)
    _link(stored, target)


def _store(app: Settings, file: Path, hashed: str, stored: Path) -> None:
    aside = stored.with_suffix(".aside")
    aside.unlink(missing_ok=True)
    try:
        unpacked = _unpacked(app, hashed)
        if unpacked is None:
            _copy(file, aside)
            _check(aside, hashed, file)
        else:
            _link(unpacked, aside)
        # All versions share it: a handler that writes into its model folder must not.
        aside.chmod(0o444)
        aside.rename(stored)
    finally:
        aside.unlink(missing_ok=True)


def _check(copy: Path, hashed: str, source: Path) -> None:
    """See that a copy is what was hashed: its source may have been saved in between."""
    if package.hash_file(copy) != hashed:
        raise Fault(f"{source} changed while it was copied", "run it again")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Not every file system has hard links.
        shutil.copyfile(source, target)


def _unpacked(app: Settings, hashed: str) -> Path | None:
    """The same file as the server has unpacked it from its archive: as good as a copy, and free."""
    for manifest in (app.run / "tmp" / "models").glob("*/MAR-INF/MANIFEST.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            version = json.loads(manifest.read_text(encoding="utf-8"))["model"]["modelVersion"]
            for name, each in package.hashes_of(app, version).items():
                if each == hashed:
                    return manifest.parents[1] / name
    return None


def _copy(file: Path, target: Path) -> None:
    """Copy a file; a file system that can share the blocks of two files does."""
    command = ["cp", "--reflink=auto", "--", str(file), str(target)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        # This cp knows no reflinks; if the trouble is another, this says which.
        shutil.copyfile(file, target)
