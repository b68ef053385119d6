"""The time of a turn of the loop, by all ways, in turn: a noisy machine hits all of them alike."""

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.bench import checkpoints
from tests.bench.apps import BENCH, App, cleanup
from tests.bench.table import table
from tests.bench.ways import REST_SECONDS, Article, Floor, Redeploy, Reload, Times, Watch, Way

EDITS = 9
# The slow ways take fewer, and none of a model whose archive alone takes a minute.
SLOW_EDITS = 5
WAYS = ("article", "redeploy", "reload", "watch", "floor")
SLOW = ("article", "redeploy")
NOT_SLOWLY = "bert-large"


def measure(name: str, edits: int) -> dict[str, Any]:
    """All ways on one model."""
    checkpoint = checkpoints.make(name)
    with cleanup() as stack:
        ways: dict[str, Way] = {}
        for way in WAYS:
            if way in SLOW and name == NOT_SLOWLY:
                continue
            print(f"bench: {name}: {way} begins", file=sys.stderr)
            ways[way] = _way(way, checkpoint, BENCH / name / way)
            stack.callback(ways[way].close)
            ways[way].begin()
        times: dict[str, list[Times]] = {way: [] for way in ways}
        peaks = dict.fromkeys(ways, 0.0)
        for number, way in _order(list(ways), edits):
            print(f"bench: {name}: {way} {number}/{edits}", file=sys.stderr)
            time.sleep(REST_SECONDS)
            taken, peak = _watched(ways[way], number)
            if number:
                times[way].append(taken)
                peaks[way] = max(peaks[way], peak)
    return {
        "model": name,
        "mb": checkpoints.megabytes(checkpoint),
        "ways": {way: _row(times[way], peaks[way]) for way in ways},
        "ratios": _ratios(times),
    }


def _way(way: str, checkpoint: Path, folder: Path) -> Way:
    if way == "floor":
        return Floor(checkpoint)
    app = App(folder, checkpoint)
    if way == "article":
        return Article(app)
    if way == "redeploy":
        return Redeploy(app)
    return Reload(app) if way == "reload" else Watch(app)


def _order(ways: Sequence[str], edits: int) -> Iterator[tuple[int, str]]:
    """Each edit by each way; edit 0 is not counted."""
    for number in range(edits + 1):
        for way in ways:
            if way not in SLOW or 0 < number <= SLOW_EDITS:
                yield number, way


def _watched(way: Way, number: int) -> tuple[Times, float]:
    """A turn, and the highest sum of its processes' resident memory, in MiB."""
    done = threading.Event()
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(way.processes, done, peak))
    watcher.start()
    try:
        return way.turn(number), peak[0]
    finally:
        done.set()
        watcher.join()


def _watch(
    processes: Callable[[], list[psutil.Process]], done: threading.Event, peak: list[float]
) -> None:
    while not done.wait(0.1):
        total = 0
        for process in processes():
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total / 2**20)


def _row(times: Sequence[Times], peak: float) -> dict[str, Any]:
    firsts = [each.first for each in times if each.first is not None]
    row: dict[str, Any] = {"live": _spread([each.live for each in times])}
    if firsts:
        row["first answer"] = _spread(firsts)
    if peak:
        row["peak_mib"] = round(peak)
    return row


def _spread(seconds: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(seconds), 3),
        "min": round(min(seconds), 3),
        "max": round(max(seconds), 3),
        "seconds": [round(each, 4) for each in seconds],
    }


def _ratios(times: Mapping[str, Sequence[Times]]) -> dict[str, float]:
    """Medians over the pairs: what was measured one right after the other is compared."""

    def median(compare: Callable[[Times, Times], float], one: str, other: str) -> float:
        # The slow ways have fewer edits.
        pairs = zip(times.get(one, ()), times.get(other, ()), strict=False)
        values = [compare(*pair) for pair in pairs]
        return round(statistics.median(values), 3) if values else 0.0

    def live(one: Times, other: Times) -> float:
        return one.live / other.live

    def first(one: Times, other: Times) -> float:
        return (one.first or one.live) / other.live

    found = {
        "watch's first answer / floor": median(first, "watch", "floor"),
        "watch, live / floor": median(live, "watch", "floor"),
        "article / watch, live": median(live, "article", "watch"),
        "article / redeploy": median(live, "article", "redeploy"),
        "reload - watch, live, in seconds": median(
            lambda one, other: one.live - other.live, "reload", "watch"
        ),
    }
    return {name: value for name, value in found.items() if value}


def report(results: Sequence[dict[str, Any]]) -> str:
    """The results in Markdown: median, and from min to max."""
    rows, ratios = [], []
    for result in results:
        model = f"{result['model']} ({result['mb']} MB)"
        for way, row in result["ways"].items():
            peak = f"{row['peak_mib']} MiB" if "peak_mib" in row else ""
            edits = len(row["live"]["seconds"])
            rows.append(
                [model, way, edits, _cell(row.get("first answer")), _cell(row["live"]), peak]
            )
        ratios += [[model, name, value] for name, value in result["ratios"].items()]
    head = ["model", "way", "edits", "first answer", "live", "peak memory"]
    return f"{table(head, rows)}\n\n{table(['model', 'median of the pairs', ''], ratios)}"


def _cell(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return ""
    return "{median:.2f} s ({min:.2f} to {max:.2f})".format_map(spread)
