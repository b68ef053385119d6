"""In a forked worker: what it has in hand is written down, so that a failure can be told whole.

TorchServe's own log of a failure leaves out whose it was and what was asked, and of a process that
crashes, or that never comes back, it knows nothing at all. So a worker writes down what it is about
to do, and takes that away when it is done. What fails it adds to a list; for a worker that does not
live to do so, the warm process does.

    .run/failures.jsonl      the failures, one JSON object a line; see `loop.failures`
    .run/warm/doing.PID      what a worker is doing now, as such an object; empty when it waits
    .run/warm/stack.PID      where in its code it was when it crashed, or was asked

Neither the handler nor the response is touched. The warm process imports this, so it needs Python's
own library alone.
"""

import base64
import contextlib
import faulthandler
import fcntl
import functools
import json
import logging
import os
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FAILURES = "failures.jsonl"
FORMER = "failures.1.jsonl"
# In bytes; the inputs of the failed requests are in it.
LARGEST = 32 << 20
# A worker that gets this signal writes down where it is. No library has a use for it.
WHERE_ARE_YOU = signal.SIGRTMAX
ANSWER_SECONDS = 0.2
POLL_SECONDS = 0.005
# TorchServe's shortest time-out. Sooner it kills a busy worker only because nobody wants it.
PATIENCE_SECONDS = 1.0
# The modules of TorchServe that log why a batch has failed, and the loggers that they use.
SPEAKERS = {"service", "otf_message_handler"}
LOGGERS = ("ts.service", None)

Row = dict[str, Any]


def append(run: Path, row: Row) -> None:
    """Add a failure to the list in a run folder, whose former half is kept when it grows too long.

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
        file.write(json.dumps(row).encode() + b"\n")


def encode(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A batch, as TorchServe hands it to `Service.predict`, as JSON can hold it."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes | bytearray):
            return {"bytes": base64.b64encode(value).decode()}
        if isinstance(value, dict):
            return {"object": {key: plain(each) for key, each in value.items()}}
        return [plain(each) for each in value] if isinstance(value, list) else value

    return [{key: plain(value) for key, value in request.items()} for request in batch]


def decode(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The batch that `encode` was given."""

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            if "bytes" in value:
                return base64.b64decode(value["bytes"])
            return {key: restored(each) for key, each in value["object"].items()}
        return [restored(each) for each in value] if isinstance(value, list) else value

    return [{key: restored(value) for key, value in request.items()} for request in batch]


class Recorder:
    """Writes down what this worker does.

    Args:
        run: the app's run folder.
        worker: the number by which TorchServe calls this worker.
    """

    def __init__(self, run: Path, worker: str) -> None:
        self._run = run
        self._worker = worker
        self._said: list[str] = []
        doing, stack = _files(run, os.getpid())
        self._doing = os.open(doing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._stack = os.open(stack, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        faulthandler.enable(self._stack)
        faulthandler.register(WHERE_ARE_YOU, self._stack)

    def install(self) -> None:
        """Have TorchServe's own code call this one before and after it calls the handler's."""
        service = sys.modules["ts.service"].Service
        loader = sys.modules["ts.model_loader"].TsModelLoader
        predict, load = service.predict, loader.load

        def recorded_predict(ours: Any, batch: list[dict[str, Any]]) -> Any:
            with self._doing_this(self._of_batch(ours, batch)) as row:
                reply = predict(ours, batch)
                code, size = struct.unpack_from("!ii", reply)
                if code != 200:
                    self._add(row, self._said, [code, reply[8 : 8 + size].decode()])
            return reply

        def recorded_load(ours: Any, name: str, model_dir: str, *rest: Any, **more: Any) -> Any:
            with self._doing_this(self._row(model_dir, is_load=True)):
                return load(ours, name, model_dir, *rest, **more)

        service.predict, loader.load = recorded_predict, recorded_load
        for name in LOGGERS:
            logging.getLogger(name).addFilter(self._listen)

    def _row(self, model_dir: str, **more: Any) -> Row:
        row = {"time": time.time(), "version": version_in(model_dir), "model_dir": model_dir}
        return row | {"worker": self._worker, "pid": os.getpid(), "requests": [], **more}

    def _of_batch(self, service: Any, batch: list[dict[str, Any]]) -> Row:
        context, entry = service.context, service._entry_point
        code = getattr(entry, "__func__", entry).__code__
        own = (context.model_yaml_config or {}).get("handler")
        kept = not isinstance(own, dict) or own.get("log_inputs", True)
        return self._row(
            context.system_properties["model_dir"],
            requests=[each["requestId"].decode() for each in batch],
            batch=encode(batch) if kept else None,
            entry=[code.co_filename, code.co_firstlineno, code.co_name],
        )

    @contextlib.contextmanager
    def _doing_this(self, row: Row) -> Iterator[Row]:
        """For as long as it takes, have it stand in the file of what is being done."""
        self._write(row)
        try:
            yield row
        except BaseException:
            # The worker ends with it. SystemExit is one.
            self._add(row, traceback.format_exc().splitlines())
            raise
        finally:
            self._write(None)
            self._said = []

    def _write(self, row: Row | None) -> None:
        # A full disk must not keep a worker from answering.
        with contextlib.suppress(OSError):
            os.ftruncate(self._doing, 0)
            if row is not None:
                os.pwrite(self._doing, json.dumps(row).encode(), 0)

    def _add(self, row: Row, messages: list[str], answer: list[Any] | None = None) -> None:
        seconds = time.time() - row["time"]
        with contextlib.suppress(OSError):
            append(self._run, row | {"seconds": seconds, "messages": messages, "answer": answer})

    def _listen(self, record: logging.LogRecord) -> bool:
        """Remember what TorchServe says of a failure; the log gets it as ever."""
        if record.levelno >= logging.WARNING and record.module in SPEAKERS:
            self._said += logging.Formatter().format(record).splitlines()
        return True


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
            # One that was asked, see `ask`, was not ending by itself.
            killed = status == -signal.SIGKILL and bool(messages)
            if not killed or seconds > PATIENCE_SECONDS:
                end = {"status": status, "killed": killed}
                append(run, row | {"seconds": seconds, "messages": messages, "end": end})
    forget(run, pid)


def forget(run: Path, pid: int) -> None:
    """Whatever a worker was at does not matter."""
    for each in _files(run, pid):
        each.unlink(missing_ok=True)


def _files(run: Path, pid: int) -> tuple[Path, Path]:
    return run / "warm" / f"doing.{pid}", run / "warm" / f"stack.{pid}"
