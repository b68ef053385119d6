"""In a forked worker: what it has in hand is written down, so that a failure can be told whole.

TorchServe's own log of a failure leaves out whose it was and what was asked, and of a process that
crashes, or that never comes back, it knows nothing at all. So a worker writes down what it is about
to do, and takes that away when it is done. What fails it adds to a list; for a worker that does not
live to do so, the warm process does.

    .run/failures.jsonl      the failures, one JSON object a line; see `loop.failures`
    .run/served/VERSION.json what a version is served with: device, dtype, packages, batch size
    .run/warm/doing.PID      what a worker is doing now, as such an object; empty when it waits
    .run/warm/stack.PID      where in its code it was when it crashed, or was asked

Neither the handler nor the response is touched, and whatever goes wrong here, the worker answers.
The warm process imports this, so it needs Python's own library alone.
"""

import base64
import contextlib
import faulthandler
import fcntl
import functools
import json
import os
import re
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAILURES = "failures.jsonl"
FORMER = "failures.1.jsonl"
SERVED = "served"
# In bytes: of the list, half of which is kept when it grows longer; and of a batch's inputs, which
# are not kept if they are larger.
LARGEST = 32 << 20
LARGEST_INPUTS = 1 << 20
# A worker that gets this signal writes down where it is. No library has a use for it.
WHERE_ARE_YOU = signal.SIGRTMAX
ANSWER_SECONDS = 0.2
POLL_SECONDS = 0.005
# Unless model-config.yaml or config.properties say otherwise.
TIMEOUT_SECONDS = 120
TIMER_SECONDS = 0.5

Row = dict[str, Any]
Batch = list[dict[str, Any]]


def append(run: Path, row: Row) -> None:
    """Add a failure to the list in a run folder.

    Raises:
        OSError: there is no room.
    """
    path = run / FAILURES
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status = os.fstat(descriptor)
        # Another worker may have put it away while this one waited.
        if status.st_size > LARGEST and os.path.samestat(status, path.stat()):
            path.replace(run / FORMER)
        # The line before may have been cut short by a full disk.
        file.write(b"\n" + json.dumps(row).encode() + b"\n")


def encode(batch: Batch) -> Batch:
    """A batch, as TorchServe hands it to `Service.predict`, as JSON can hold it."""
    return _converted(batch, lambda request: request.decode(), _plain)


def decode(batch: Batch) -> Batch:
    """The batch that `encode` was given."""
    return _converted(batch, str.encode, _given)


def _converted(
    batch: Batch, request_id: Callable[[Any], Any], value: Callable[[Any], Any]
) -> Batch:
    return [
        {
            "requestId": request_id(each["requestId"]),
            "headers": [{name: value(part) for name, part in h.items()} for h in each["headers"]],
            "parameters": [p | {"value": value(p["value"])} for p in each["parameters"]],
        }
        for each in batch
    ]


def _plain(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes | bytearray):
        return {"bytes": base64.b64encode(value).decode()}
    return {"json": value}


def _given(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["bytes"]) if "bytes" in value else value["json"]


class Recorder:
    """Writes down what this worker does.

    Args:
        run: the app's run folder.
        worker: the number by which TorchServe calls this worker.

    Raises:
        OSError: there is no room.
    """

    def __init__(self, run: Path, worker: str) -> None:
        self._run = run
        self._worker = worker
        self._said: list[str] = []
        self._returned: Any = None
        doing, stack = _files(run, os.getpid())
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._doing, self._stack = (os.open(each, flags, 0o600) for each in (doing, stack))
        faulthandler.enable(self._stack)
        faulthandler.register(WHERE_ARE_YOU, self._stack)
        # A child of the handler's that crashes is another matter.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.register_at_fork(after_in_child=lambda: os.dup2(nothing, self._stack))

    def install(self) -> None:
        """Have TorchServe's own code call this one before and after it calls the handler's."""
        service = sys.modules["ts.service"].Service
        loader = sys.modules["ts.model_loader"].TsModelLoader
        predict, load = service.predict, loader.load

        def recorded_predict(ours: Any, batch: Batch) -> Any:
            entry = ours._entry_point
            ours._entry_point = functools.partial(self._enter, entry)
            row = self._begin(lambda: self._of_batch(ours, batch, entry))
            try:
                reply = predict(ours, batch)
            except BaseException as error:
                # The worker ends with it. SystemExit is one.
                self._fail(row, self._said or _traceback(error))
                raise
            finally:
                ours._entry_point = entry
                self._write(None)
            code, size = struct.unpack_from("!ii", reply)
            if code != 200:
                said = self._said or complaint(self._returned, len(batch))
                self._fail(row, said, [code, reply[8 : 8 + size].decode()])
            return reply

        def recorded_load(ours: Any, name: str, model_dir: str, *rest: Any, **more: Any) -> Any:
            row = self._begin(lambda: self._row(model_dir, is_load=True))
            try:
                service = load(ours, name, model_dir, *rest, **more)
            except BaseException as error:
                self._fail(row, _traceback(error))
                raise
            finally:
                self._write(None)
            self._note_served(row["version"], service)
            return service

        service.predict, loader.load = recorded_predict, recorded_load

    def _enter(self, entry: Callable[..., Any], data: list[Any], context: Any) -> Any:
        """Call the handler, and keep what there is to say if it fails."""
        try:
            self._returned = entry(data, context)
        except BaseException as error:
            self._said = _traceback(error)
            raise
        return self._returned

    def _note_served(self, version: str, service: Any) -> None:
        """Put down what goldens are to say that they were made with."""
        with contextlib.suppress(Exception):
            folder = self._run / SERVED
            folder.mkdir(exist_ok=True)
            aside = folder / f".{os.getpid()}"
            aside.write_text(json.dumps(served_with(version, service)), encoding="utf-8")
            aside.replace(folder / f"{version}.json")

    def _begin(self, describe: Callable[[], Row]) -> Row:
        self._said = []
        try:
            row = describe()
        except Exception:
            # Of an input that nests too deeply, say. A failure is still told, but not whose.
            row = self._row("")
        self._write(row)
        return row

    def _row(self, model_dir: str, **more: Any) -> Row:
        # Where TorchServe has only a link, which goes when the version goes.
        folder = os.path.realpath(model_dir)
        row = {"time": time.time(), "version": version_in(model_dir), "model_dir": folder}
        return row | {"worker": self._worker, "pid": os.getpid(), "requests": [], **more}

    def _of_batch(self, service: Any, batch: Batch, entry: Any) -> Row:
        context = service.context
        own = (context.model_yaml_config or {}).get("handler")
        kept = not isinstance(own, dict) or own.get("log_inputs", True)
        code = getattr(getattr(entry, "__func__", entry), "__code__", None)
        return self._row(
            context.system_properties["model_dir"],
            requests=[each["requestId"].decode() for each in batch],
            batch=encode(batch) if kept and _size(batch) <= LARGEST_INPUTS else None,
            entry=code and [code.co_filename, code.co_firstlineno, code.co_name],
        )

    def _write(self, row: Row | None) -> None:
        """Put down what is being done; nothing, if that is no more."""
        with contextlib.suppress(Exception):
            os.ftruncate(self._doing, 0)
            if row is not None:
                os.ftruncate(self._stack, 0)
                os.write(self._doing, json.dumps(row).encode())

    def _fail(self, row: Row, messages: list[str], answer: list[Any] | None = None) -> None:
        with contextlib.suppress(Exception):
            seconds = time.time() - row["time"]
            row |= {"seconds": seconds, "messages": messages, "answer": answer}
            try:
                append(self._run, row)
            except RecursionError:
                # An input that nests deeper than JSON can be written.
                append(self._run, row | {"batch": None})


def served_with(version: str, service: Any) -> Row:
    """What a loaded handler computes with, as far as it can be seen from outside."""
    torch = sys.modules["torch"]
    entry = service._entry_point
    attributes = vars(getattr(entry, "__self__", None) or object).values()
    models = [each for each in attributes if isinstance(each, torch.nn.Module)]
    weights = next((each for model in models for each in model.parameters()), None)
    row: Row = {"version": version}
    if weights is not None:
        row |= {"device": weights.device.type, "dtype": str(weights.dtype).removeprefix("torch.")}
    packages = {name: sys.modules.get(name) for name in ("torch", "transformers")}
    row |= {name: module.__version__ for name, module in packages.items() if module}
    return row | {"batch": service.context.system_properties["batch_size"]}


def complaint(returned: Any, number: int) -> list[str]:
    """What TorchServe says of what a handler has returned, if it cannot be sent.

    Args:
        number: of the requests in the batch.
    """
    if not isinstance(returned, list):
        return [f"Invalid return type: {type(returned)}."]
    if len(returned) != number:
        return [f"number of batch response mismatched, expect: {number}, got: {len(returned)}."]
    for each in returned:
        try:
            # These TorchServe sends as they are.
            is_sent = isinstance(each, bytes | bytearray) or type(each).__module__ == "torch"
            json.dumps(None if is_sent else each)
        except TypeError as error:
            return [f"TypeError: {error}"]
        except ValueError:
            continue
    return []


def _traceback(error: BaseException) -> list[str]:
    """A traceback, less the frame that is ours."""
    own = error.__traceback__
    text = "".join(traceback.format_exception(type(error), error, own and own.tb_next))
    return text.splitlines()


def _size(batch: Batch) -> int:
    """The inputs of a batch in bytes, as HTTP tells it."""
    return sum(
        int(header["value"])
        for request in batch
        for header in request["headers"]
        if bytes(header["name"]).lower() == b"content-length"
    )


@functools.cache
def version_in(model_dir: str) -> str:
    """The version of the model in a folder, as its manifest tells it."""
    try:
        manifest = Path(model_dir, "MAR-INF", "MANIFEST.json").read_text(encoding="utf-8")
        return str(json.loads(manifest)["model"]["modelVersion"])
    except (OSError, ValueError, KeyError):
        return ""


def start(run: Path, arguments: list[str]) -> None:
    """In a fork that is about to become a worker of TorchServe's: record what it does.

    Args:
        arguments: the worker's own; they name its socket, .ts.sock.NUMBER.
    """
    if "--sock-name" not in arguments or "ts.service" not in sys.modules:
        return
    socket = arguments[arguments.index("--sock-name") + 1]
    with contextlib.suppress(OSError):
        Recorder(run, socket.rpartition(".")[2]).install()


def ask(run: Path, pid: int, end: int) -> None:
    """Before a worker is killed that is at something: have it write down where it is.

    It answers unless it is ending already, which is why TorchServe would not have it any longer.

    Args:
        end: its pidfd.
    """
    doing, stack = _files(run, pid)
    with contextlib.suppress(OSError):
        if not doing.stat().st_size:
            return
        signal.pidfd_send_signal(end, WHERE_ARE_YOU)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not stack.stat().st_size and time.monotonic() < deadline:
            if select.select([end], [], [], POLL_SECONDS)[0]:
                return
        # For the rest of its lines.
        time.sleep(POLL_SECONDS)


def close(run: Path, pid: int, status: int) -> None:
    """After a worker's end: if it was at something, add that to the failures.

    Args:
        status: its exit code, or less than 0, the signal that ended it.
    """
    doing, stack = _files(run, pid)
    with contextlib.suppress(OSError, ValueError):
        if written := doing.read_bytes():
            row = json.loads(written)
            messages = stack.read_text(encoding="utf-8", errors="replace").splitlines()
            seconds = time.time() - row["time"]
            # One that was asked, see `ask`, was not ending by itself; and it is no failure if
            # TorchServe was told to end it, by a stop or a newer version, before its time-out.
            killed = status == -signal.SIGKILL and bool(messages)
            kind = "startup" if row.get("is_load") else "response"
            if not killed or seconds > timeout(run, kind, row["model_dir"]) - TIMER_SECONDS:
                end = {"status": status, "killed": killed}
                append(run, row | {"seconds": seconds, "messages": messages, "end": end})
    forget(run, pid)


def timeout(run: Path, kind: str, model_dir: str) -> float:
    """After how many seconds TorchServe gives up what a worker does.

    By a regular expression, since the warm process has neither YAML nor `loop.settings`.

    Args:
        kind: of it, "startup" for a load, "response" for an answer.
    """
    config = Path(model_dir, "model-config.yaml")
    # A model-config.yaml that does not say it overrules config.properties too.
    file, key = (config, f"{kind}Timeout:")
    if not config.exists():
        file, key = (run / "config.properties", f"default_{kind}_timeout=")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    found = re.search(rf"^{key}\s*(\d+)", text, re.MULTILINE)
    return float(found[1]) if found else TIMEOUT_SECONDS


def forget(run: Path, pid: int) -> None:
    """Whatever a worker was at does not matter."""
    for each in _files(run, pid):
        each.unlink(missing_ok=True)


def _files(run: Path, pid: int) -> tuple[Path, Path]:
    return run / "warm" / f"doing.{pid}", run / "warm" / f"stack.{pid}"
