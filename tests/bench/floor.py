"""The floor: how fast an edit could be answered if there were no server.

A process that has imported torch, transformers and the model's own classes, and has warmed nothing
beyond that, forks; the child loads tokenizer and model from local files and classifies one text.
`python -m tests.bench.floor CHECKPOINT`; see `child.serve`.
"""

import json
import os
import sys
import time
from pathlib import Path

# Not only for this module: an import of torch that is left to the child would count.
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from tests.bench.apps import QUESTION
from tests.bench.child import serve


def import_classes(checkpoint: Path) -> None:
    """Import what the checkpoint names: transformers would otherwise do it at the first use."""
    for file in ("config.json", "tokenizer_config.json"):
        content = json.loads((checkpoint / file).read_text(encoding="utf-8"))
        names = [*content.get("architectures", ()), content.get("tokenizer_class")]
        for name in filter(None, names):
            getattr(transformers, name)


def classify(checkpoint: Path) -> bytes:
    """Load everything, and classify one text."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, local_files_only=True, dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        logits = model(**tokenizer(QUESTION.text, return_tensors="pt")).logits
    return json.dumps(logits.tolist()).encode()


def fork(checkpoint: Path) -> float:
    """Seconds from the fork to the child's answer."""
    source, target = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(target, classify(checkpoint))
        finally:
            os._exit(0)
    os.close(target)
    answer = os.read(source, 1000)
    seconds = time.perf_counter() - began
    os.close(source)
    os.waitpid(pid, 0)
    # A child that failed has written nothing.
    json.loads(answer)
    return seconds


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    disable_progress_bar()  # type: ignore[no-untyped-call]
    import_classes(folder)
    serve(lambda: fork(folder))
