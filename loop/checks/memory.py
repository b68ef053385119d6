"""What a deploy need not look at again: the parts of a tree that passed, by their content."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loop.checks.table import Part
from loop.checks.tree import Tree
from smoke import atomic

HANDLER = "handler.py"
CONFIG = "model-config.yaml"
# What else the settings are, or go by.
FILES = ("config.properties", "smoke/samples.jsonl", "smoke/golden.jsonl")
VARIABLES = ("GATE", "GPU")


@dataclass
class Memory:
    """Kept in the run folder, for one edition of the checks.

    Attributes:
        loads: what the handler does with the checkpoint, in words, by the hash of the handler.
        passed: of each part, the content that has passed.
        told: of each part, the warnings that it gave when it was looked at last.
    """

    loads: dict[str, str] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)


def read(run: Path) -> Memory:
    """The memory of an app, empty if it is that of other checks."""
    try:
        kept = json.loads(_path(run).read_bytes())
        if kept.pop("edition") == _edition():
            return Memory(**kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return Memory()


def write(run: Path, memory: Memory) -> None:
    """Keep it. Raises Fault where that cannot be written."""
    kept: dict[str, Any] = {"edition": _edition(), **asdict(memory)}
    atomic.write(_path(run), json.dumps(kept).encode())


def content(part: Part, tree: Tree, hashes: Mapping[str, str], memory: Memory) -> str:
    """All that the verdict on a part depends on, as one hash.

    Raises:
        Fault: it depends on the handler, which does not compile.
    """
    # The findings name places in it.
    found = [str(tree.app.app)]
    match part:
        case Part.HANDLER:
            found.append(hashes[HANDLER])
        case Part.SETTINGS:
            found.append(hashes.get(CONFIG, ""))
            found += [_hash(tree.app.app / each) for each in FILES]
            found += [os.environ.get(each, "") for each in VARIABLES]
        case Part.CHECKPOINT:
            names = sorted(hashes.keys() - {HANDLER, CONFIG})
            found += [f"{each} {hashes[each]}" for each in names]
            found.append(_loads(tree, hashes[HANDLER], memory))
    return _digest(found)


def _loads(tree: Tree, hashed: str, memory: Memory) -> str:
    # Of a handler that asks for them, the suffixes of the files count too.
    key = f"{hashed} {sorted({each.suffix for each in tree.files.values()})}"
    if key not in memory.loads:
        memory.loads = {key: str(tree.loads)}
    return memory.loads[key]


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()


def _edition() -> str:
    """Other checks may find what these have not."""
    found = sorted(os.scandir(Path(__file__).parent), key=lambda each: each.name)
    return _digest(f"{each.name} {each.stat().st_mtime_ns}" for each in found if each.is_file())


def _path(run: Path) -> Path:
    return run / "checks.json"
