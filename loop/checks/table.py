"""The checks, in the order in which they are told, and what each of them looks at."""

import importlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from loop.checks.finding import Finding
from loop.checks.tree import Tree

CONFIG = "config.properties"
HEADERS = ("*.safetensors", "*.index.json", "adapter_config.json")
TOKENIZERS = ("tokenizer*", "vocab*", "added_tokens.json")


class Row(NamedTuple):
    """One check.

    Attributes:
        files: patterns of the names of packed files that its verdict depends on.
        others: files of the app that are not packed, likewise.
        variables: of the environment, likewise.
        loads: whether it asks what the handler does with the checkpoint.
    """

    name: str
    look: Callable[[Tree], Iterable[Finding]]
    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    loads: bool = False


def _late(module: str, name: str) -> Callable[[Tree], Iterable[Finding]]:
    """A check that is imported when it looks: most have nothing to look at most of the time."""

    def look(tree: Tree) -> Iterable[Finding]:
        check = getattr(importlib.import_module(f"loop.checks.{module}"), name)
        found: Iterable[Finding] = check(tree)
        return found

    return look


ROWS = (
    # First, since that is what is edited.
    Row("handler", _late("handler", "check"), ("handler.py",)),
    Row("config", _late("properties", "check"), ("model-config.yaml",), (CONFIG,), ("GPU",)),
    Row("model-config", _late("model_config", "check"), ("model-config.yaml",)),
    Row(
        "weights",
        _late("checkpoint", "whole"),
        ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.index.json"),
    ),
    # Of what is there and what is not, any name may count.
    Row("checkpoint", _late("checkpoint", "complete"), ("*",), loads=True),
    Row(
        "labels",
        _late("checkpoint", "agreed"),
        (*HEADERS, "config.json", "index_to_name.json"),
        loads=True,
    ),
    Row(
        "vocabulary",
        _late("vocabulary", "check"),
        (*HEADERS, "config.json", *TOKENIZERS),
        loads=True,
    ),
    Row(
        "samples",
        _late("samples", "check"),
        others=("smoke/samples.jsonl", "smoke/golden.jsonl"),
        variables=("GATE",),
    ),
)
