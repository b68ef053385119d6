"""A handler in a process of its own: no server, one batch, and its answer or its failure.

The process (loop/solo_worker.py) is what a worker of TorchServe is, in folder, environment, import
path and context. Where a warm process fits, it is forked from that, in no time; else it imports
everything anew.
"""

import contextlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from loop import gpu, launch, recorder, server, settings, warm
from loop.cause import Cause
from loop.failures import Failure
from loop.process import outlast, users_environment
from loop.settings import Settings
from smoke import question
from smoke.terminal import escape

WORKER = Path(__file__).with_name("solo_worker.py")
# The names of folders in .run/solo: the pid of the command, and what tempfile makes of it.
SCRATCH = re.compile(r"(?P<pid>[0-9]{1,9})-[a-z0-9_]{8}")
# What ends a process that has not failed.
FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM)
END_SECONDS = 5.0
KINDS = ("startup", "response")

Batch = list[dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        status: as of HTTP; None if the handler did not get to answer.
        body: what the client would get; of a failure, what the server would say.
        cause: why it is no answer, where somebody said so.
        raised: whether there is a frame to stand in.
    """

    status: int | None
    body: bytes
    cause: Cause | None
    raised: bool

    def __str__(self) -> str:
        words = escape(question.words(self.body))
        said = words if self.status is None else f"{self.status} {words}".rstrip()
        return ": ".join(str(each) for each in (said, self.cause) if each)


def tell(verb: str, answer: Answer, debug: bool) -> int:
    """Print an answer to stdout, a failure with its cause to stderr.

    Args:
        debug: whether the user wanted to stand in the failing frame.

    Returns:
        the command's exit code.
    """
    if debug and not answer.raised:
        print(f"{verb}: nothing was raised: there is no frame to stand in", file=sys.stderr)
    if answer.status != 200:
        print(f"{verb}: {answer}", file=sys.stderr)
        return 1
    sys.stdout.write(question.shown(answer.body))
    return 0


def ask(app: Settings, model: Path, asked: Batch | bytes, request: str, debug: bool) -> Answer:
    """Load a version of the model in a process of its own, and have it answer.

    Args:
        model: its folder, as an archive is unpacked.
        asked: what `ts.service.Service.predict` is given, or the message of the frontend of which
            TorchServe's codec makes that.
        request: the id of the request whose answer is wanted.
        debug: stand in the failing frame, if there is one, in this terminal.
    """
    running = server.find(app)
    properties = (settings.as_started(app) if running else app).properties
    with scratch(app) as folder, _terminal_kept():
        job = {"asked": asked, "debug": debug, **_of_frontend(app, model, properties)}
        job |= {f"{kind}_seconds": recorder.timeout(app.run, kind, str(model)) for kind in KINDS}
        (folder / "job").write_bytes(pickle.dumps(job))
        (folder / "stack").touch()
        environment = {
            **_environment(app, running, model),
            # By the server's own, its family is told, which ends with it; by this one, what the
            # handler has started.
            "TEMP": str(folder),
            "TS_DECODE_INPUT_REQUEST": properties.get("decode_input_request", "true"),
        }
        status = _run(app, model, folder, environment, debug)
        failure = Failure(0.0, "", "", 0, [request], [], model_dir=str(model))
        try:
            result = pickle.loads((folder / "result").read_bytes())  # noqa: S301 - our own worker's
        except FileNotFoundError:
            return Answer(None, b"", _of_end(failure, status, folder), raised=False)
    return _read(app, result, replace(failure, messages=result["said"], entry=result["entry"]))


def _of_end(failure: Failure, status: int, folder: Path) -> Cause:
    """Why there is no result."""
    stack = (folder / "stack").read_text(encoding="utf-8", errors="replace").splitlines()
    late = "".join(stack[:1]).startswith("Timeout (")
    end = {"status": -signal.SIGKILL if late else status, "killed": late}
    is_load = not (folder / "loaded").exists()
    found = replace(failure, messages=stack, end=end, is_load=is_load).cause
    doing = "loading" if is_load else "answering"
    if late:
        return replace(found, what=f"it was still {doing} when TorchServe would have ended it")
    if -status not in FROM_OUTSIDE:
        return found
    what = f"the process was ended from outside while {doing}: {signal.strsignal(-status)}"
    cure = "run it again, if that was you or `make stop`; else see in `dmesg` for lack of memory"
    return replace(found, what=what, cure=cure)


@contextlib.contextmanager
def scratch(app: Settings) -> Iterator[Path]:
    """A folder that is gone afterwards, as a worker sees it."""
    parent = app.link / "solo"
    parent.mkdir(mode=0o700, exist_ok=True)
    for each in parent.iterdir():
        name = SCRATCH.fullmatch(each.name)
        if name and not psutil.pid_exists(int(name["pid"])):
            # Of a command that was killed.
            _end_heirs(each)
            shutil.rmtree(each, ignore_errors=True)
    prefix = f"{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Leave the terminal as it was: a debugger that is killed at its prompt does not."""
    before = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, before)


def _of_frontend(app: Settings, model: Path, properties: Mapping[str, str]) -> dict[str, Any]:
    """What the frontend tells a worker about a model.

    Args:
        properties: those of the server that runs, else the user's own.
    """
    manifest = json.loads((model / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
    metrics = properties.get("metrics_config")
    number = properties.get("number_of_gpu")
    return {
        "name": app.name,
        "model_dir": str(model),
        "handler": manifest["model"]["handler"],
        "config": manifest["model"].get("configFile"),
        "envelope": properties.get("service_envelope"),
        "metrics": str(app.app / metrics) if metrics else None,
        "gpus": gpu.resolve(gpu.requested()).number if number is None else int(number),
    }


def _run(app: Settings, model: Path, folder: Path, environment: dict[str, str], debug: bool) -> int:
    """Run the worker to its end, which is that of all that it has started.

    Returns:
        its exit code, or less than 0, the signal that it died by.

    Raises:
        Fault: WARM= asks for nothing that is known.
    """
    standin = warm.standin(app, environment) if launch.warm_wanted() else None
    worker = subprocess.Popen(
        [standin or sys.executable, str(WORKER), str(folder)],
        env=environment,
        cwd=model,
        stdin=None if debug else subprocess.DEVNULL,
    )
    try:
        return worker.wait()
    finally:
        # A fork of the warm process goes with its stand-in.
        worker.kill()
        worker.wait()
        _end_heirs(folder)


def _end_heirs(temp: Path) -> None:
    """Kill what has this folder as its TEMP, and wait until it is gone."""
    while going := server.heirs(temp):
        for each in going:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        if outlast(going, END_SECONDS):
            return


def _environment(app: Settings, running: psutil.Process | None, model: Path) -> dict[str, str]:
    """The environment of a worker: that of the server, if it runs, and the model's folder."""
    found = launch.environment(app, gpu.resolve(gpu.requested()))
    found.pop("USER_PYTHONPATH", None)
    found["PYTHONPATH"] = users_environment().get("PYTHONPATH", "")
    with contextlib.suppress(psutil.Error):
        found = running.environ() if running else found
    path = [found.get("PYTHONPATH", ""), str(model.resolve())]
    return found | {"PYTHONPATH": ":".join(filter(None, path))}


def _read(app: Settings, result: Mapping[str, Any], failure: Failure) -> Answer:
    """What came, of the request that the failure is about, if it is one."""
    found = failure.cause if failure.messages else None
    raised = bool(result["raised"])
    if not result["replies"]:
        said = b"" if result["loaded"] else f"{app.name} does not load".encode()
        return Answer(None, said, found, raised)
    body = b""
    for reply in result["replies"]:
        code, message, rows = _decode(reply)
        status, part = rows[failure.requests[0]] if code == 200 else (code, message)
        if status != 200:
            return Answer(status, part, found, raised)
        body += part
    return Answer(200, body, found, raised)


def _decode(reply: bytes) -> tuple[int, bytes, dict[str, tuple[int, bytes]]]:
    """What ts.protocol.otf_message_handler.create_predict_response has put into a reply.

    Returns:
        code and message of the batch; status and body of each request, by its id.
    """
    stream = io.BytesIO(reply)

    def number() -> int:
        return int(struct.unpack("!i", stream.read(4))[0])

    def text() -> bytes:
        return stream.read(number())

    code, message = number(), text()
    rows: dict[str, tuple[int, bytes]] = {}
    while (size := number()) >= 0:
        request = stream.read(size).decode()
        _content_type, status, _phrase = text(), number(), text()
        for _ in range(2 * number()):
            text()
        rows[request] = status, text()
    return code, message, rows
