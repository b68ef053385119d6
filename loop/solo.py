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
import shutil
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

from loop import gpu, launch, process, server, settings, warm
from loop.cause import Cause
from loop.failures import Failure
from loop.settings import Settings
from smoke import question

WORKER = Path(__file__).with_name("solo_worker.py")
# What tells of the user's terminal, which is not the one that the server was started in.
OF_THE_TERMINAL = ("COLUMNS", "LINES", "TERM")

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
        words = question.words(self.body)
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
    with scratch(app) as folder, _terminal_kept():
        job = {"asked": asked, "debug": debug, **_of_frontend(app, model)}
        (folder / "job").write_bytes(pickle.dumps(job))
        status = _run(app, model, folder, debug)
        failure = Failure(0.0, "", "", 0, [request], [], model_dir=str(model))
        try:
            result = pickle.loads((folder / "result").read_bytes())  # noqa: S301 - our own worker's
        except FileNotFoundError:
            return Answer(None, b"", _of_end(failure, status, folder), raised=False)
    return _read(app, result, replace(failure, messages=result["said"], entry=result["entry"]))


def _of_end(failure: Failure, status: int, folder: Path) -> Cause:
    """Why there is no result."""
    stack = (folder / "stack").read_text(encoding="utf-8", errors="replace").splitlines()
    end, is_load = {"status": status, "killed": False}, not (folder / "loaded").exists()
    return replace(failure, messages=stack, end=end, is_load=is_load).cause


@contextlib.contextmanager
def scratch(app: Settings) -> Iterator[Path]:
    """A folder that is gone afterwards, as a worker sees it."""
    parent = app.link / "solo"
    parent.mkdir(mode=0o700, exist_ok=True)
    for each in parent.iterdir():
        # Of a command that was killed.
        if not psutil.pid_exists(int(each.name.partition("-")[0])):
            shutil.rmtree(each, ignore_errors=True)
    prefix = f"{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """Leave the terminal as it was: a debugger that is killed at its prompt does not."""
    try:
        before = termios.tcgetattr(sys.stdin)
    except (termios.error, ValueError, OSError):
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _of_frontend(app: Settings, model: Path) -> dict[str, Any]:
    """What the frontend tells a worker about a model."""
    manifest = json.loads((model / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
    properties = _properties(app)
    metrics = properties.get("metrics_config")
    number = properties.get("number_of_gpu")
    return {
        "name": app.name,
        "model_dir": str(model),
        "handler": manifest["model"]["handler"],
        "config": manifest["model"].get("configFile"),
        "envelope": properties.get("service_envelope"),
        "limit_max_image_pixels": properties.get("limit_max_image_pixels", "true") == "true",
        "metrics": str(app.app / metrics) if metrics else None,
        "gpus": gpu.resolve(gpu.requested()).number if number is None else int(number),
    }


def _properties(app: Settings) -> Mapping[str, str]:
    """Those of the server that runs, else the user's own."""
    return (settings.as_started(app) if server.find(app) else app).properties


def _run(app: Settings, model: Path, folder: Path, debug: bool) -> int:
    """Run the worker to its end. Returns its exit code, or less than 0, the signal it died by."""
    environment = _environment(app, model, folder)
    worker = subprocess.Popen(
        [warm.standin(app, environment) or sys.executable, str(WORKER), str(folder)],
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


def _environment(app: Settings, model: Path, folder: Path) -> dict[str, str]:
    """The environment of a worker."""
    users = process.users_environment()
    found = _servers_environment(app)
    if found is None:
        found = launch.environment(app, gpu.resolve(gpu.requested()))
        found.pop("USER_PYTHONPATH", None)
        found["PYTHONPATH"] = users.get("PYTHONPATH", "")
    path = [found.get("PYTHONPATH", ""), str(model.resolve())]
    return {
        **found,
        **{name: users[name] for name in OF_THE_TERMINAL if name in users},
        "PYTHONPATH": ":".join(filter(None, path)),
        # By the server's own, its family is told, which ends with it.
        "TEMP": str(folder),
        "TS_DECODE_INPUT_REQUEST": _properties(app).get("decode_input_request", "true"),
    }


def _servers_environment(app: Settings) -> dict[str, str] | None:
    found = server.find(app)
    with contextlib.suppress(psutil.Error):
        return found.environ() if found else None
    return None


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
