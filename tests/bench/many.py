"""A thousand samples: what `make smoke` adds to the model's own work."""

import csv
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from loop import launch
from smoke.samples import Sample
from tests.bench.apps import BENCH, ROOT, App, cleanup
from tests.bench.child import Child
from tests.bench.table import table

TEXTS = 1000
ROUNDS = 3
# Of the batches in one process.
SIZES = "8,32"


def measure(checkpoint: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """`make smoke` and one process with batches, in turn."""
    texts = training_texts()[:TEXTS]
    samples = [Sample(f"text-{number}", text) for number, text in enumerate(texts)]
    taken: list[dict[str, float]] = []
    with cleanup() as stack:
        app = App(BENCH / "smoke", checkpoint, samples)
        stack.callback(app.close)
        listed = app.folder / "texts.json"
        # Sorted, batches pad least: the best that one process can do.
        listed.write_text(json.dumps(sorted(texts, key=len)), encoding="utf-8")
        print("bench: smoke: starting the server", file=sys.stderr)
        app.make("redeploy")
        app.make("accept")
        threads = str(launch.threads(1))
        batches = Child("batches", str(checkpoint), str(listed), SIZES, threads)
        stack.callback(batches.close)
        for number in range(1, rounds + 1):
            print(f"bench: smoke: round {number}/{rounds}", file=sys.stderr)
            began = time.perf_counter()
            said = app.make("smoke")
            whole = time.perf_counter() - began
            asking = re.search(r"samples in ([\d.]+) s", said)
            assert asking, said
            one_process = {f"batches of {size}": took for size, took in batches.go().items()}
            taken.append({"asking": float(asking[1]), "make smoke": whole, **one_process})
    names = list(taken[0])
    best = min((name for name in names if "batches" in name), key=lambda name: _median(taken, name))
    return {
        "texts": len(texts),
        "rounds": [{name: round(value, 2) for name, value in row.items()} for row in taken],
        "medians": {name: round(_median(taken, name), 2) for name in names},
        "asking / best batches": round(
            statistics.median(row["asking"] / row[best] for row in taken), 2
        ),
    }


def training_texts() -> list[str]:
    """The texts that the default model was trained on, in the file's order, which is random."""
    with (ROOT / "data" / "train.csv").open(encoding="utf-8", newline="") as rows:
        return [row["text"] for row in csv.DictReader(rows)]


def _median(taken: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in taken)


def report(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    rows = [
        [name, f"{median} s", ", ".join(f"{row[name]} s" for row in result["rounds"])]
        for name, median in result["medians"].items()
    ]
    figures = table([f"{result['texts']} texts", "median", "rounds"], rows)
    ratio = result["asking / best batches"]
    return f"{figures}\n\nAsking takes {ratio} times as long as the best batches."
