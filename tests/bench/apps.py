"""The apps that are measured: this project's handler and a checkpoint, on free ports.

An edit of one is an edit that a person might make: the answers say which edit they are from, so
that the first answer of the new code is known when it comes.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from loop import package, ports, server, settings, signals, warm
from loop.settings import Settings
from smoke.fault import Fault
from smoke.samples import Sample

ROOT = Path(__file__).parents[2]
BENCH = ROOT / ".run" / "bench"
QUESTION = Sample("bench", "Stopped back by after two years, and it is as good as ever.")
ANSWER = "self.score: scores[i].item()"
PATIENCE_SECONDS = 120.0
END_SECONDS = 20.0
# What a user may have set for an app of their own, or make and bin/bench.sh for themselves. With
# the toolkit on PYTHONPATH, a worker of any app would import the handler.py that lies there.
OTHERS = {
    *("APP", "GATE", "GPU", "TOKEN", "TOLERANCE", "URL", "VERB", "WARM"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONPATH"),
}


def environment(**more: str) -> dict[str, str]:
    """That of everything which is started here."""
    return {name: value for name, value in os.environ.items() if name not in OTHERS} | more


def module(name: str, *words: str) -> dict[str, Any]:
    """How to run a module of this package: arguments for `subprocess`."""
    return {
        "args": [sys.executable, "-P", "-m", f"tests.bench.{name}", *words],
        "cwd": ROOT,
        "env": environment(PYTHONPATH=str(ROOT)),
    }


class App:
    """An app of the toolkit's shape, whose server is ended by `close`.

    Args:
        folder: made here.
        checkpoint: its files are linked, not copied: nothing here writes into them.
        samples: what `make smoke` and the gate ask.
        variables: of the environment of each command about it.
    """

    def __init__(
        self,
        folder: Path,
        checkpoint: Path,
        samples: Iterable[Sample] = (QUESTION,),
        **variables: str,
    ) -> None:
        self.folder = folder
        self.variables = variables
        self.console = folder / "console.log"
        (folder / "model_store").mkdir(parents=True)
        (folder / "smoke").mkdir()
        shutil.copytree(checkpoint, folder / "torch_model", copy_function=os.link)
        self.handler = (ROOT / "handler.py").read_text(encoding="utf-8")
        self._write("handler.py", self.handler)
        shutil.copy(ROOT / "model-config.yaml", folder)
        kinds = ("inference", "management", "metrics")
        addresses = [
            f"{kind}_address=http://127.0.0.1:{port}"
            for kind, port in zip(kinds, ports.free(3), strict=True)
        ]
        self._write("config.properties", "\n".join(["load_models=bench=bench.mar", *addresses, ""]))
        rows = (json.dumps({"id": each.id, "text": each.text}) for each in samples)
        self._write("smoke/samples.jsonl", "".join(f"{row}\n" for row in rows))

    @property
    def settings(self) -> Settings:
        return settings.read(self.folder)

    def edited(self, number: int) -> str:
        """The handler whose answers say that they are from this edit."""
        assert ANSWER in self.handler
        return self.handler.replace(ANSWER, f'{ANSWER}, "edit": {number}')

    def version_with(self, handler: str) -> str:
        """The version of the tree once the handler reads so."""
        packed = package.contents(self.settings)
        hashes = packed.hashes | {"handler.py": package.digest(handler.encode())}
        return dataclasses.replace(packed, hashes=hashes).version

    def save(self, handler: str) -> None:
        """What a user does."""
        self._write("handler.py", handler)

    def environment(self) -> dict[str, str]:
        """That of a command about the app."""
        return environment(APP=str(self.folder), **self.variables)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of the toolkit on the app, from the toolkit's root, to its end."""
        with running(command, ROOT, self.environment(), subprocess.PIPE) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def make(self, target: str) -> str:
        """Run `make TARGET APP=…`; returns what it says.

        Raises:
            Fault: it fails.
        """
        words = self._make(target)
        done = self.run(*words)
        if done.returncode:
            raise Fault(f"`{' '.join(words)}` failed: {done.stdout}{done.stderr}", "mend that")
        return done.stdout

    @contextlib.contextmanager
    def making(self, target: str) -> Iterator[None]:
        """Have `make TARGET APP=…` run meanwhile; on leaving, it has ended.

        Raises:
            Fault: it failed.
        """
        words = self._make(target)
        with (
            self.console.open("ab") as console,
            running(words, ROOT, self.environment(), console) as make,
        ):
            yield
            code = make.wait(PATIENCE_SECONDS)
        if code:
            raise Fault(f"`{' '.join(words)}` failed", f"see {self.console}")

    def _make(self, target: str) -> list[str]:
        return ["make", "--silent", "--no-print-directory", target, f"APP={self.folder}"]

    def configure(self, **keys: int) -> None:
        """Set keys of model-config.yaml."""
        path = self.folder / "model-config.yaml"
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        self._write(path.name, yaml.safe_dump(told | keys))

    def close(self) -> None:
        """Leave nothing running, and no file."""
        app = self.settings
        warm.stop(app)
        server.end(app)
        app.link.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], folder: Path, environment: dict[str, str], output: Any
) -> Iterator[subprocess.Popen[str]]:
    """Have a command run in a session of its own; an exception ends it, with all that it started.

    Args:
        output: where its stdout and stderr go, as `subprocess` takes it.
    """
    process: subprocess.Popen[str] = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        with signals.uninterrupted():
            _end(process)
        raise


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to end, as Ctrl-C would, and insist."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
            return


@contextlib.contextmanager
def cleanup() -> Iterator[contextlib.ExitStack]:
    """What has to be ended, whatever happens; a second Ctrl-C does not cut that short."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack
        finally:
            with signals.uninterrupted():
                stack.close()
