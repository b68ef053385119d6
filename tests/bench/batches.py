"""Texts through a model in one process, in batches: what a server is held against.

`python -m tests.bench.batches CHECKPOINT TEXTS SIZES THREADS`; TEXTS is a file with a JSON list,
SIZES such as 8,32; see `child.serve`. Texts go in the order in which they are given.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from tests.bench.child import serve


def classify(model: Any, tokenizer: Any, texts: list[str], size: int) -> list[int]:
    """The class of each text, in the texts' order."""
    classes: list[int] = []
    with torch.inference_mode():
        for start in range(0, len(texts), size):
            batch = tokenizer(
                texts[start : start + size],
                truncation=True,
                max_length=512,
                padding=True,
                return_tensors="pt",
            )
            classes += model(**batch).logits.softmax(-1).argmax(-1).tolist()
    return classes


def main(checkpoint: str, texts: list[str], sizes: list[int], threads: int) -> None:
    """Load, warm up, and then time all texts at each batch size whenever told to."""
    torch.set_num_threads(threads)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, local_files_only=True, dtype=torch.float32
    ).eval()
    classify(model, tokenizer, texts[:64], sizes[0])

    def time_all() -> dict[str, float]:
        seconds = {}
        for size in sizes:
            began = time.perf_counter()
            classify(model, tokenizer, texts, size)
            seconds[str(size)] = time.perf_counter() - began
        return seconds

    serve(time_all)


if __name__ == "__main__":
    main(
        sys.argv[1],
        json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")),
        [int(size) for size in sys.argv[3].split(",")],
        int(sys.argv[4]),
    )
