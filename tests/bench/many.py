"""Many samples: what `make smoke` adds to the model's own work, and how much it keeps in mind.

A thousand on the default model, and a hundred thousand short ones on a tiny model, which is hardly
any work: there the client, TorchServe and the handler's own steps show.
"""

import csv
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loop import launch
from smoke.fault import Fault
from smoke.samples import Sample
from tests.bench.apps import BENCH, ROOT, App, cleanup
from tests.bench.child import Child
from tests.bench.table import table

TEXTS = 1000
MANY = 100_000
WORDS = 12
ROUNDS = 3
# Of the batches in one process.
SIZES = "8,32"


def measure(checkpoint: Path, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """`make smoke` and one process with batches, in turn."""
    samples = (Sample(f"text-{number}", text) for number, text in enumerate(texts))
    taken: list[dict[str, float]] = []
    with cleanup() as stack:
        app = App(BENCH / "smoke", checkpoint, samples)
        stack.callback(app.close)
        listed = app.folder / "texts.json"
        # Sorted, batches pad least: the best that one process can do.
        listed.write_text(json.dumps(sorted(texts, key=len)), encoding="utf-8")
        print(f"bench: {len(texts)} texts: starting the server", file=sys.stderr)
        app.make("redeploy")
        print(f"bench: {len(texts)} texts: accepting goldens", file=sys.stderr)
        app.make("accept")
        threads = str(launch.threads(1))
        batches = Child("batches", str(checkpoint), str(listed), SIZES, threads)
        stack.callback(batches.close)
        for number in range(1, rounds + 1):
            print(f"bench: {len(texts)} texts: round {number}/{rounds}", file=sys.stderr)
            one_process = {f"batches of {size}": took for size, took in batches.go().items()}
            taken.append(smoke(app) | one_process)
    names = list(taken[0])
    medians = {name: _median(taken, name) for name in names}
    best = min((name for name in names if "batches" in name), key=medians.__getitem__)
    return {
        "texts": len(texts),
        "rounds": [{name: round(value, 2) for name, value in row.items()} for row in taken],
        "medians": {name: round(value, 2) for name, value in medians.items()},
        "a second": round(len(texts) / medians["asking"]),
        "asking / best batches": round(
            statistics.median(row["asking"] / row[best] for row in taken), 2
        ),
    }


def smoke(app: App) -> dict[str, float]:
    """Seconds of a run, and the most memory of its process, in MiB."""
    began = time.perf_counter()
    with (app.folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [ROOT / "bin" / "smoke.sh"], env=app.environment(), stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        whole = time.perf_counter() - began
        said.seek(0)
        summary = said.read()
    asking = re.search(r"samples in ([\d.]+) s", summary)
    if process.returncode or not asking:
        raise Fault(f"`make smoke` failed: {summary[-2000:]}", "mend that")
    return {"asking": float(asking[1]), "make smoke": whole, "client, MiB": used.ru_maxrss / 1024}


def short_texts(number: int) -> list[str]:
    """So many texts of a few words, no two of them neighbours twice."""
    words = itertools.cycle(" ".join(training_texts()).split())
    return [" ".join(itertools.islice(words, WORDS)) for _ in range(number)]


def training_texts() -> list[str]:
    """The texts that the default model was trained on, in the file's order, which is random."""
    with (ROOT / "data" / "train.csv").open(encoding="utf-8", newline="") as rows:
        return [row["text"] for row in csv.DictReader(rows)]


def _median(taken: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in taken)


def report(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    rows = [
        [
            name,
            f"{median} {unit}".strip(),
            ", ".join(f"{row[name]} {unit}".strip() for row in result["rounds"]),
        ]
        for name, median in result["medians"].items()
        for unit in ["" if "MiB" in name else "s"]
    ]
    figures = table([f"{result['texts']:,} texts", "median", "rounds"], rows)
    ratio, rate = result["asking / best batches"], result["a second"]
    return f"{figures}\n\n{rate} a second; {ratio} times as long as the best batches."
