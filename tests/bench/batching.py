"""One text a request from 16 clients, at several batch sizes: what does TorchServe's batching give?

Held against the model in one process, in batches of the same sizes and with as many threads; both
get the texts in the same order, which is not that of their lengths.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop import launch
from smoke import endpoint
from smoke.client import Answer, Client
from smoke.fault import Fault
from smoke.samples import Sample
from tests.bench.apps import BENCH, App, cleanup
from tests.bench.child import Child
from tests.bench.many import training_texts
from tests.bench.table import table

TEXTS = 320
CLIENTS = 16
SIZES = (1, 4, 8, 16)
# Milliseconds that a request may wait for others: as in the root app, and long enough to see it.
DELAYS = (1, 20)
# Asked one after the other: what batching costs a client who is alone.
ALONE = 40


@dataclass(frozen=True)
class Setting:
    """How a server is set up."""

    threads: int
    size: int
    delay: int

    def __str__(self) -> str:
        return f"{self.threads} | {self.size} | {self.delay} ms"


def measure(checkpoint: Path, rounds: int) -> list[dict[str, Any]]:
    """The rates of each setting, and of one process."""
    texts = training_texts()[:TEXTS]
    taken: dict[Setting, list[dict[str, float]]] = {}
    for threads in sorted({1, launch.threads(1)}):
        with cleanup() as stack:
            app = App(BENCH / "batching", checkpoint, OMP_NUM_THREADS=str(threads))
            stack.callback(app.close)
            listed = app.folder / "texts.json"
            listed.write_text(json.dumps(texts), encoding="utf-8")
            sizes = ",".join(map(str, SIZES))
            one_process = Child("batches", str(checkpoint), str(listed), sizes, str(threads))
            stack.callback(one_process.close)
            app.make("redeploy")
            for number in range(1, rounds + 1):
                print(f"bench: batching: {threads} threads, {number}/{rounds}", file=sys.stderr)
                seconds = one_process.go()
                for setting in settings_of(threads):
                    served = serve(app, setting, texts)
                    served["one process"] = len(texts) / seconds[str(setting.size)]
                    taken.setdefault(setting, []).append(served)
    return [
        {
            "threads": setting.threads,
            "size": setting.size,
            "delay": setting.delay,
            "rounds": rows,
            "medians": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
            "served / one process": statistics.median(
                row["served"] / row["one process"] for row in rows
            ),
        }
        for setting, rows in taken.items()
    ]


def settings_of(threads: int) -> list[Setting]:
    """Each size, and each delay where there is something to wait for."""
    delays = {size: DELAYS if size > 1 else DELAYS[:1] for size in SIZES}
    return [Setting(threads, size, delay) for size in SIZES for delay in delays[size]]


def serve(app: App, setting: Setting, texts: Sequence[str]) -> dict[str, float]:
    """Texts a second from 16 clients, and the median latency in seconds of theirs and of one."""
    app.configure(batchSize=setting.size, maxBatchDelay=setting.delay)
    app.make("reload")
    found = endpoint.find(app.folder, None, None, None)
    client = Client(found.url, found.token, CLIENTS)
    samples = [Sample(f"text-{number}", text) for number, text in enumerate(texts)]
    ask(client, samples[:CLIENTS], CLIENTS)
    began = time.perf_counter()
    together = ask(client, samples, CLIENTS)
    seconds = time.perf_counter() - began
    return {
        "served": len(texts) / seconds,
        "p50 of 16": statistics.median(together),
        "p50 alone": statistics.median(ask(client, samples[:ALONE], 1)),
    }


def ask(client: Client, samples: Sequence[Sample], clients: int) -> list[float]:
    """The seconds of each answer; in the order given, unlike `smoke.replies`."""

    def timed(sample: Sample) -> float:
        began = time.perf_counter()
        reply = client.ask(sample)
        if not isinstance(reply, Answer):
            raise Fault(f"a text was not answered: {reply}", "see above")
        return time.perf_counter() - began

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(timed, samples))


def report(result: list[dict[str, Any]]) -> str:
    """The result in Markdown."""
    head = ("threads", "batchSize", "maxBatchDelay", "served, texts/s", "in one process")
    rows = []
    for each in result:
        medians = each["medians"]
        rows.append(
            [
                each["threads"],
                each["size"],
                f"{each['delay']} ms",
                f"{medians['served']:.0f}",
                f"{medians['one process']:.0f}",
                f"{each['served / one process']:.2f}",
                f"{1000 * medians['p50 of 16']:.0f} ms",
                f"{1000 * medians['p50 alone']:.0f} ms",
            ]
        )
    return table((*head, "ratio", "p50 of 16 clients", "p50 of one"), rows)
