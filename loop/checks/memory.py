"""What a deploy need not look at again: the checks that have passed, and for which content."""

import fnmatch
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loop.checks.table import Row
from loop.checks.tree import Tree
from smoke import atomic

HANDLER = "handler.py"


@dataclass
class Memory:
    """Kept in the run folder, for one edition of the checks.

    Attributes:
        loads: what the handler does with the checkpoint, in words, by the hash of the handler.
        passed: by the name of each check, what it has looked at.
        told: by the name of each check, the warnings that it gave when it looked last.
    """

    loads: dict[str, str]
    passed: dict[str, str]
    told: dict[str, list[str]]


def read(run: Path) -> Memory:
    """The memory of an app, empty if it is that of other checks."""
    try:
        kept = json.loads(_path(run).read_bytes())
        if kept.pop("edition") == _edition():
            return Memory(**kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return Memory({}, {}, {})


def write(run: Path, memory: Memory) -> None:
    """Keep it. Raises Fault where that cannot be written."""
    kept: dict[str, Any] = {"edition": _edition(), **asdict(memory)}
    atomic.write(_path(run), json.dumps(kept).encode())


def looked_at(row: Row, tree: Tree, hashes: Mapping[str, str], memory: Memory) -> str:
    """All that the verdict of a check depends on, as one hash.

    Raises:
        Fault: it depends on the handler, which does not compile.
    """
    parts = []
    for name in sorted(hashes):
        # A `*` is not about the handler: that counts by what it does with the checkpoint.
        if name in row.files or (
            name != HANDLER and any(fnmatch.fnmatchcase(name, each) for each in row.files)
        ):
            parts.append(f"{name} {hashes[name]}")
    parts += [f"{each} {_hash(tree.app.app / each)}" for each in row.others]
    parts += [f"{each}={os.environ.get(each, '')}" for each in row.variables]
    if row.loads:
        parts.append(_loads(tree, hashes[HANDLER], memory))
    # The findings name places in it.
    parts.append(str(tree.app.app))
    return _digest(parts)


def _loads(tree: Tree, hashed: str, memory: Memory) -> str:
    if hashed not in memory.loads:
        memory.loads = {hashed: str(tree.loads)}
    return memory.loads[hashed]


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "none"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()


def _edition() -> str:
    """Other checks may find what these have not."""
    found = sorted(os.scandir(Path(__file__).parent), key=lambda each: each.name)
    return _digest(f"{each.name} {each.stat().st_mtime_ns}" for each in found if each.is_file())


def _path(run: Path) -> Path:
    return run / "checks.json"
