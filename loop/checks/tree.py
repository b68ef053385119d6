"""The tree of an app, as the checks see it: each part is read once, and only if it is asked for."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loop import checkpoint, settings
from loop.checks import loading, source, weights
from loop.settings import Settings
from smoke.fault import Fault

ADAPTER = "adapter_config.json"
# Without the name of its class, or with code of its own, transformers may make anything of it.
OWN_CODE = ("auto_map", "quantization_config")


@dataclass
class Tree:
    """What would be packed, and what it is asked.

    Attributes:
        app: its settings; with no key in them where config.properties cannot be read.
    """

    app: Settings

    @property
    def handler(self) -> Path:
        return self.app.app / "handler.py"

    @property
    def folder(self) -> Path:
        """Where the checkpoint lies."""
        return self.app.app / "torch_model"

    @cached_property
    def source(self) -> source.Source:
        """The handler's source. Raises Fault where it does not compile."""
        return source.read(self.handler)

    @cached_property
    def loads(self) -> loading.Loads:
        """What the handler does with the checkpoint. Raises Fault where it does not compile."""
        return loading.of(self.source, self.files)

    @cached_property
    def files(self) -> dict[str, Path]:
        """The checkpoint's files by their names. Raises Fault where there are no weights."""
        return {each.name: each for each in checkpoint.files(self.app.app)}

    @cached_property
    def settings(self) -> Settings:
        """config.properties as it is now, not as the server was started. Raises Fault."""
        return settings.read(self.app.app)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The checkpoint's config.json; empty if there is none. Raises Fault if it is no JSON."""
        path = self.files.get("config.json")
        return {} if path is None else mapping(path)

    @property
    def is_plain(self) -> bool:
        """Whether the checkpoint is one of transformers' own classes, with weights as they are."""
        named = all(each.isidentifier() for each in self.architectures)
        return (
            bool(self.config.get("model_type"))
            and named
            and not any(each in self.config for each in OWN_CODE)
        )

    @property
    def architectures(self) -> list[str]:
        listed = self.config.get("architectures")
        return [str(each) for each in listed] if isinstance(listed, list) else []

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """The shape of each tensor that transformers would load.

        Empty where their headers do not tell: other formats, adapters, files that are not whole.
        """
        if ADAPTER in self.files:
            return {}
        index = self.files.get("model.safetensors.index.json")
        names = {"model.safetensors"} if "model.safetensors" in self.files else shards(index)
        try:
            return {
                name: shape
                for file in sorted(names)
                for name, shape in weights.shapes(self.files[file]).items()
            }
        except (Fault, KeyError, OSError):
            return {}  # Another check says what is wrong with them.

    def line(self, path: Path, key: str) -> str:
        """FILE:LINE of a key in a JSON file; FILE if it cannot be found."""
        text = path.read_text(encoding="utf-8", errors="replace")
        found = re.search(rf'"{re.escape(key)}"\s*:', text)
        return f"{path}:{text.count(chr(10), 0, found.start()) + 1}" if found else str(path)


def shards(index: Path | None) -> set[str]:
    """The files over which a large model's weights are spread. Raises Fault if it is no JSON."""
    listed = mapping(index).get("weight_map") if index else None
    return {str(each) for each in listed.values()} if isinstance(listed, dict) else set()


def json_of(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        Fault: it is none, with the line.
    """
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise Fault(f"{where}: not JSON ({error.msg})", "mend or save it again") from None
    except (ValueError, RecursionError) as error:
        raise Fault(f"{path}: not JSON ({error})", "mend or save it again") from None


def mapping(path: Path) -> dict[str, Any]:
    """A JSON file with an object in it.

    Raises:
        Fault: it is none.
    """
    found = json_of(path)
    if not isinstance(found, dict):
        raise Fault(f"{path}: not a JSON object", "mend or save it again")
    return found
