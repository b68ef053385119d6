"""What is packed for an app, and its content hash.

A version *is* the hash of everything that is packed, so an archive whose manifest names the tree's
version needs no rebuild, and what is served can be compared with the tree at any time.
"""

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from loop import checkpoint
from loop.settings import Settings
from smoke import atomic
from smoke.fault import Fault

# Part of each hash: raised when the way of packing changes.
LAYOUT = "1"
VERSION_LENGTH = 7
VERSION_FILE = "workflow_version"
# Of files from this size on, in bytes, hashes are kept, by inode, size and times of change, and
# staged versions share one copy.
LARGE = 1 << 16
KEPT_VERSIONS = 8


@dataclass(frozen=True)
class Contents:
    """Everything that is packed.

    Attributes:
        handler: the handler's file.
        extra: checkpoint files, beside the handler in the archive.
        config: model-config.yaml, where there is one.
        requirements: requirements.txt, where there is one.
        hashes: of each file, by its name in the archive.
    """

    handler: Path
    extra: tuple[Path, ...]
    config: Path | None
    requirements: Path | None
    hashes: dict[str, str]

    @property
    def files(self) -> list[Path]:
        """All of them."""
        found = (self.handler, *self.extra, self.config, self.requirements)
        return [each for each in found if each is not None]

    @cached_property
    def version(self) -> str:
        lines = [LAYOUT, *(f"{name} {hashed}" for name, hashed in sorted(self.hashes.items()))]
        return digest(os.fsencode("\n".join(lines)))[:VERSION_LENGTH]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def contents(app: Settings) -> Contents:
    """What would be packed from the tree as it is now.

    Raises:
        Fault: the handler or the checkpoint is missing, or a name that the archiver cannot take.
    """
    handler = app.app / "handler.py"
    if not handler.is_file():
        raise Fault(f"{handler} does not exist", "take it back from git, or copy one there")
    extra = tuple(checkpoint.files(app.app))
    config = _optional(app.app / "model-config.yaml")
    requirements = _optional(app.app / "requirements.txt")
    packed = Contents(handler, extra, config, requirements, {})
    seen: dict[str, Path] = {}
    for each in packed.files:
        if each.name in seen:
            raise Fault(
                f"{seen[each.name]} and {each} would be one file in the archive",
                "rename or remove one",
            )
        seen[each.name] = each
        if "," in each.name:
            raise Fault(f"{each}: the archiver takes a comma for the next file", "rename it")
    return replace(packed, hashes=_hashes(app, packed.files))


def _optional(path: Path) -> Path | None:
    return path if path.is_file() else None


def _hashes(app: Settings, files: list[Path]) -> dict[str, str]:
    """The files' hashes; those of large files come from the cache where they stand in it."""
    cache_file = app.run / "hashes.json"
    try:
        cache = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        cache = {}
    hashes, large = {}, {}
    for file in files:
        status = file.stat()
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        key = f"{status.st_dev} {status.st_ino} {status.st_size} {times}"
        hashes[file.name] = cache.get(key) or hash_file(file)
        if status.st_size >= LARGE:
            large[key] = hashes[file.name]
    if large != cache:
        atomic.write(cache_file, json.dumps(large).encode())
    return hashes


def hash_file(file: Path) -> str:
    """The hash of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def built_version(archive: Path) -> str | None:
    """The version in an archive; None if there is no whole archive.

    The manifest of a workflow's has no place for it, so there it is a file of its own.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            if VERSION_FILE in opened.namelist():
                return opened.read(VERSION_FILE).decode()
            manifest = json.loads(opened.read("MAR-INF/MANIFEST.json"))
        return str(manifest["model"]["modelVersion"])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return None


def remember(app: Settings, packed: Contents) -> None:
    """Keep the hashes of the last few versions that were built, for `changed`."""
    kept = [each for each in _remembered(app) if each["version"] != packed.version]
    kept = [*kept[1 - KEPT_VERSIONS :], {"version": packed.version, "hashes": packed.hashes}]
    atomic.write(app.run / "packed.json", json.dumps(kept).encode())


def _remembered(app: Settings) -> list[dict[str, Any]]:
    try:
        kept = json.loads((app.run / "packed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return kept if isinstance(kept, list) else []


def changed(app: Settings, packed: Contents, since: str) -> list[str]:
    """The files that differ between the tree and a version that was built here; sorted."""
    hashes = hashes_of(app, since)
    return sorted({name for name, _ in hashes.items() ^ packed.hashes.items()} if hashes else ())


def hashes_of(app: Settings, version: str) -> dict[str, str]:
    """The hash of each file of a version that was built here; empty if that is long ago."""
    return next((each["hashes"] for each in _remembered(app) if each["version"] == version), {})
