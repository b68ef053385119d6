"""model-config.yaml: what stands in it, and on which line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Takes longer to import than all else here: import this module where there is such a file.
import yaml

from smoke.fault import Fault

NAME = "model-config.yaml"


@dataclass(frozen=True)
class ModelConfig:
    """The keys at the top, which are TorchServe's and the handler's.

    Attributes:
        lines: the line, from 1, on which each key stands last.
        repeated: the lines of keys that stand again further down, where only the last one counts.
    """

    path: Path
    values: dict[Any, Any]
    lines: dict[Any, int]
    repeated: dict[Any, int]

    def where(self, key: str) -> str:
        """FILE:LINE of a key, or FILE where it is not set."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def read(path: Path) -> ModelConfig:
    """Read a model-config.yaml.

    Raises:
        Fault: it is not YAML, with line and column; or no mapping.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        said = ", ".join(each for each in (error.context, error.problem) if each)
        raise Fault(f"{path}{_place(error, text)}: not YAML ({said})", "mend that line") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise Fault(f"{path} cannot be read ({said})", "save it as UTF-8 text") from None
    if not isinstance(values, dict):
        raise Fault(f"{path}: not a mapping", "write one `key: value` a line, or remove the file")
    lines: dict[Any, int] = {}
    repeated: dict[Any, int] = {}
    for key, _ in node.value if node else ():
        if key.value in lines:
            repeated[key.value] = lines[key.value]
        lines[key.value] = key.start_mark.line + 1
    return ModelConfig(path, values, lines, repeated)


def _place(error: yaml.MarkedYAMLError, text: str) -> str:
    """`:LINE:COLUMN` of what is wrong; of the last line where more was to come."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return ""
    lines = text.rstrip().split("\n")
    if mark.line >= len(lines):
        return f":{len(lines)}:{len(lines[-1]) + 1}"
    return f":{mark.line + 1}:{mark.column + 1}"
