"""The checks, in the order in which they are told, and which part of the tree each looks at."""

import importlib
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from loop.checks.finding import Finding
from loop.checks.tree import Tree


class Part(StrEnum):
    """What is looked at again as a whole when something in it has changed."""

    HANDLER = "handler"
    SETTINGS = "settings"
    """config.properties, model-config.yaml, and the samples."""
    CHECKPOINT = "checkpoint"
    """torch_model/, and what the handler loads from it."""


class Row(NamedTuple):
    """One check."""

    name: str
    part: Part
    look: Callable[[Tree], Iterable[Finding]]


def _late(module: str, name: str = "check") -> Callable[[Tree], Iterable[Finding]]:
    """A check that is imported when it looks: most have nothing to look at most of the time."""

    def look(tree: Tree) -> Iterable[Finding]:
        check = getattr(importlib.import_module(f"loop.checks.{module}"), name)
        found: Iterable[Finding] = check(tree)
        return found

    return look


ROWS = (
    # First, since that is what is edited.
    Row("handler", Part.HANDLER, _late("handler")),
    Row("config", Part.SETTINGS, _late("properties")),
    Row("model-config", Part.SETTINGS, _late("model_config")),
    Row("samples", Part.SETTINGS, _late("samples")),
    Row("weights", Part.CHECKPOINT, _late("checkpoint", "whole")),
    Row("checkpoint", Part.CHECKPOINT, _late("checkpoint", "complete")),
    Row("labels", Part.CHECKPOINT, _late("checkpoint", "agreed")),
    Row("vocabulary", Part.CHECKPOINT, _late("vocabulary")),
)
