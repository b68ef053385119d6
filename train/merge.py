"""Backbone and adapter to an ordinary checkpoint in `torch_model/`."""

import sys
from pathlib import Path
from typing import Any

from train import adapter, checkpoint, data, layout, recipe
from train.backbone import locate, tokenizer


def merge(app: Path) -> int:
    """Make the app's checkpoint from its adapter, unless it is made, or the user brought another.

    Raises:
        Fault: there is no adapter, or its backbone is not here.
    """
    target = checkpoint.folder(app)
    if checkpoint.is_foreign(app):
        _say(f"{target} holds a checkpoint of yours: it is left as it is")
        return 0
    present = checkpoint.made_from(app)
    if present is not None and not present.startswith("adapter "):
        _say(f"{target} is {present}, fine-tuned whole: it is left as it is")
        return 0
    weights = recipe.read(app).weights
    source = f"adapter {adapter.digest(app)} in {weights}"
    changed = _warn_of_changed_data(app)
    if present == source:
        if not changed:
            checkpoint.touch(app)
        return 0
    _say(f"making {target} from {adapter.backbone(app)} and {adapter.folder(app)}")
    backbone = locate(adapter.backbone(app))
    with checkpoint.replacement(app, source, weights) as new:
        layout.write(_merged(backbone, app), tokenizer(backbone), new, weights)
    return 0


def _say(what: str) -> None:
    print(f"model: {what}", file=sys.stderr)


def _warn_of_changed_data(app: Path) -> bool:
    """A model learnt from data elsewhere says nothing of the app's own."""
    learnt = adapter.metrics(app)["data"]
    folder = app / "data"
    own = learnt["source"] == folder.name and folder.is_dir()
    changed = bool(own and data.digest(folder) != learnt["sha256"])
    if changed:
        _say("data/ has changed since the adapter was trained: run `make train`")
    return changed


def _merged(backbone: str, app: Path) -> Any:
    """Merge the two in float32. The sums are the same each time on one machine."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    labels: list[str] = adapter.metrics(app)["labels"]
    base = AutoModelForSequenceClassification.from_pretrained(
        backbone,
        dtype=torch.float32,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    return PeftModel.from_pretrained(base, adapter.folder(app)).merge_and_unload()
