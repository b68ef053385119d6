"""Texts through a model in one process, in batches sorted by length: what smoke is held against.

`python -m tests.bench.batches CHECKPOINT TEXTS`, the latter a JSON list; see `child.serve`.
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

SIZES = (8, 32)


def classify(model: Any, tokenizer: Any, texts: list[str], size: int) -> list[int]:
    """The class of each text, in the texts' order."""
    encoded = tokenizer(texts, truncation=True, max_length=512)["input_ids"]
    by_length = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
    classes = [0] * len(texts)
    with torch.inference_mode():
        for start in range(0, len(texts), size):
            chunk = by_length[start : start + size]
            batch = tokenizer.pad({"input_ids": [encoded[i] for i in chunk]}, return_tensors="pt")
            for index, row in zip(chunk, model(**batch).logits.softmax(-1), strict=True):
                classes[index] = int(row.argmax())
    return classes


def main(checkpoint: str, texts: list[str]) -> None:
    """Load, warm up, and then time all texts at each batch size whenever told to."""
    disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, local_files_only=True, dtype=torch.float32
    ).eval()
    classify(model, tokenizer, texts[:64], SIZES[0])

    def time_all() -> dict[str, float]:
        seconds = {}
        for size in SIZES:
            began = time.perf_counter()
            classify(model, tokenizer, texts, size)
            seconds[str(size)] = time.perf_counter() - began
        return seconds

    serve(time_all)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
