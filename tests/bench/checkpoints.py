"""The models that are measured: the default one, and a tiny one and two of BERT's sizes.

`python -m tests.bench.checkpoints NAME FOLDER` makes one with random weights, in a process of its
own: the one that measures stays small.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.bench.apps import BENCH, ROOT, module

DEFAULT = ROOT / "torch_model"
SIZES = {
    "bert-base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "bert-large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
NAMES = ("default", *SIZES)


def make(name: str) -> Path:
    """The folder of a checkpoint, which is made if it has to be."""
    if name == "default":
        return DEFAULT
    folder = BENCH / f"{name}-checkpoint"
    if not folder.exists():
        print(f"bench: {name}: making a checkpoint of random weights", file=sys.stderr)
        subprocess.run(**module("checkpoints", name, str(folder)), check=True)
        # Else the kernel writes it out while something is measured.
        os.sync()
    return folder


def megabytes(checkpoint: Path) -> int:
    return round(sum(each.stat().st_size for each in checkpoint.iterdir()) / 1e6)


def main(name: str, folder: Path) -> None:
    """Save a classifier of that size, with the default model's tokenizer and labels."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(DEFAULT)
    config.update(BertConfig().to_diff_dict() | (TINY if name == "tiny" else SIZES[name]))
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(DEFAULT).save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
