"""Backbone and adapter to an ordinary checkpoint in `torch_model/`."""

import sys
from pathlib import Path

from train import adapter, checkpoint, data
from train.backbone import locate, tokenizer


def merge(app: Path) -> int:
    """Make the app's checkpoint from its adapter, unless it is made already.

    Raises:
        Fault: there is no adapter, its backbone is not here, or the checkpoint is not ours.
    """
    present = checkpoint.made_from(app)
    target = checkpoint.folder(app)
    if present is not None and not present.startswith("adapter "):
        print(f"{target}: {present} fine-tuned whole; move it away to have the adapter's instead")
        checkpoint.touch(app)
        return 0
    source = f"adapter {adapter.digest(app)}"
    _warn_of_changed_data(app)
    if present == source:
        print(f"{target}: current")
        checkpoint.touch(app)
        return 0
    backbone = locate(adapter.backbone(app))
    with checkpoint.replacement(app, source) as new:
        _write(backbone, app, new)
    print(f"{target}: made from {adapter.backbone(app)} and {adapter.folder(app)}")
    return 0


def _warn_of_changed_data(app: Path) -> None:
    """A model learnt from data elsewhere says nothing of the app's own."""
    learnt = adapter.metrics(app)["data"]
    folder = app / "data"
    own = learnt["source"] == folder.name and folder.is_dir()
    if own and data.digest(folder) != learnt["sha256"]:
        print(
            "model: data/ has changed since the adapter was trained: run make train",
            file=sys.stderr,
        )


def _write(backbone: str, app: Path, folder: Path) -> None:
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
    merged = PeftModel.from_pretrained(base, adapter.folder(app)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer(backbone).save_pretrained(folder)
