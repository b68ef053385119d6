"""Ready means answered: a real prediction, never /ping.

TorchServe retries a failing load for five minutes, calls itself healthy meanwhile and lets
predictions hang, so the logs are read for the failure while one request waits for its answer.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread

import psutil

from loop import failures, package, server, server_log
from loop.server import Record
from loop.settings import Settings
from smoke import atomic, endpoint, samples
from smoke.client import Answer, Client, Failure
from smoke.fault import Fault, Unanswered
from smoke.samples import Sample

START_SECONDS = 300.0


def note_start(app: Settings) -> psutil.Process:
    """Record the JVM that was just launched, and where it can be asked.

    Raises:
        Unanswered: it is gone already.
    """
    process = server.find(app)
    if process is None:
        raise Unanswered("TorchServe ended at once", server_log.last_words(app))
    record = Record(
        process.pid,
        process.create_time(),
        package.built_version(app.archive) or "unknown",
    )
    server.record(app, record)
    note_endpoint(app, record.version)
    return process


def note_endpoint(app: Settings, version: str) -> None:
    """Leave word for smoke/ of where to ask, and of which version answers those who name none."""
    address = {
        "url": app.inference_url,
        "key_file": str(app.key_file) if app.tokens else None,
        "version": version,
    }
    atomic.write(app.run / "endpoint.json", (json.dumps(address) + "\n").encode())


def wait_until_answered(app: Settings, process: psutil.Process) -> float:
    """Wait for a real prediction, or for the news that there will be none.

    Returns:
        seconds from the process's start to the answer.

    Raises:
        Unanswered: with the root cause as the handler's worker told it.
    """
    replies: SimpleQueue[Failure | None] = SimpleQueue()
    Thread(target=_ask, args=(app, replies), daemon=True).start()
    began = process.create_time()
    deadline = time.monotonic() + START_SECONDS
    for _ in ticks(deadline):
        with contextlib.suppress(Empty):
            failure = replies.get(timeout=0.02)
            if failure is None:
                return time.time() - began
            why = failures.of_replies(app, [failure], began)[failure]
            raise Unanswered(f"the model does not answer: {failure}", str(why))
        if not process.is_running():
            raise Unanswered("TorchServe ended before it answered", server_log.last_words(app))
        if server_log.has_given_up(app):
            raise Unanswered("the model does not load", str(failures.why(app, None, began)))
    why = failures.why(app, None, began)
    raise Unanswered(f"no answer within {START_SECONDS:.0f} s", str(why))


def ticks(deadline: float) -> Iterator[None]:
    """Tick until the deadline, with a sign of life on a terminal."""
    started = time.monotonic()
    live = sys.stderr.isatty()
    while (now := time.monotonic()) < deadline:
        if live:
            print(f"\rstart: loading the model ({now - started:.0f} s)", end="", file=sys.stderr)
        try:
            yield
        finally:
            if live:
                print("\r\033[K", end="", file=sys.stderr)


def _ask(app: Settings, replies: SimpleQueue[Failure | None]) -> None:
    """Ask one question as soon as the port is open, and put what was wrong with the answer."""
    while True:
        try:
            replies.put(failure(app))
            return
        except Fault:
            # No key file yet, or no port yet.
            time.sleep(0.02)


def failure(app: Settings, version: str | None = None) -> Failure | None:
    """What is wrong with the answer to a question; None if it was answered, whatever it says.

    The question is asked as smoke asks; a handler that knows no JSON gets its bare bytes.

    Args:
        version: asks this one instead of the live one.

    Raises:
        Unanswered: the server is not running.
    """
    found = endpoint.find(app.app, None, None, version)
    client = Client(found.url, found.token, read_seconds=START_SECONDS)
    sample = question(app)
    reply = client.ask(sample)
    if isinstance(reply, Answer) or reply.status == 200:
        return None
    bare = client.post(sample.text.encode(), "application/octet-stream")
    return reply if isinstance(bare, Failure) else None


def question(app: Settings) -> Sample:
    """The app's first sample, which its handler is known to understand; else any text."""
    try:
        return next(samples.stream(app.app))
    except Fault:
        return Sample("ready", "Are you ready?")


def answers(app: Settings) -> bool:
    """Whether the running server answers a real prediction now."""
    try:
        return failure(app) is None
    except Fault:
        return False
