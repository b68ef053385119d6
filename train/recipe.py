"""How an app is trained and saved: the mapping `train:` in its model-config.yaml.

TorchServe passes over keys that it does not know. What is not written there is as below.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

import yaml

from smoke.fault import Fault

NAME = "model-config.yaml"
LAYOUTS = (".safetensors", ".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Recipe:
    """How to train.

    `longest` is the cut of the training texts in tokens; `softness` is how far a target spreads
    over its neighbours on a scale, a standard deviation in classes; `patience` is the number of
    epochs without a better validation loss after which training ends. `smoothing` is the part of a
    target that is spread evenly over all classes, where they form no scale: a wrong answer given
    with great confidence then weighs less in the choice of the best epoch.

    An adapter has `rank` columns in every projection of the backbone's layers, but the `frozen`
    lowest ones: those stay as they are, and no gradient has to be carried down there. `dropout` is
    the rate at which activations are dropped while it learns.

    `weights` is the file that `make model` writes, and so the layout of `torch_model/`:
    model.safetensors, pytorch_model.bin, a state_dict (.pth) or TorchScript (.pt).
    """

    learning_rate: float
    epochs: int
    longest: int | None
    rank: int = 8
    frozen: int = 2
    dropout: float = 0.0
    batch_size: int = 16
    softness: float = 0.8
    smoothing: float = 0.0
    patience: int = 2
    weights: str = "model.safetensors"


LORA = Recipe(learning_rate=1e-3, epochs=3, longest=128)
WHOLE = Recipe(learning_rate=3e-5, epochs=3, longest=None)


def read(app: Path, default: Recipe = LORA) -> Recipe:
    """The default with what the app says.

    Raises:
        Fault: it says something else than a recipe.
    """
    path = app / NAME
    given = _given(path)
    known = {field.name: type(getattr(LORA, field.name)) for field in fields(Recipe)}
    for key, value in given.items():
        if key not in known:
            raise Fault(f"{path}: train: knows no {key}", f"write one of {', '.join(known)}")
        if type(value) is not known[key] and not (known[key] is float and type(value) is int):
            what = f"{path}: train: {key} is {value!r:.40}"
            raise Fault(what, f"write a {known[key].__name__} there, such as {getattr(LORA, key)}")
    recipe = replace(default, **given)
    weights = PurePath(recipe.weights)
    if weights.name != recipe.weights or weights.suffix not in LAYOUTS:
        raise Fault(
            f"{path}: train: weights is {recipe.weights}",
            f"name a file that ends in {', '.join(LAYOUTS)}",
        )
    return recipe


def _given(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise Fault(f"{path} cannot be read ({said})", "mend that line") from None
    given = values.get("train") if isinstance(values, dict) else None
    if given is not None and not isinstance(given, dict):
        raise Fault(f"{path}: train is no mapping", "write one `key: value` a line below it")
    return given or {}
