"""What has failed in the workers: requests, and loads of the model.

Forked workers record their failures themselves (see `loop.recorder`). Of others the log tells, a
traceback's lines as records of their own; whose request it was, only if the handler logs the ids.
"""

import contextlib
import json
import re
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from loop import cause, recorder, server_log
from loop.cause import FAILED, LOAD_FAILED, Cause, Frame
from loop.settings import Settings
from smoke import client, wording
from smoke.fault import Fault
from smoke.terminal import escape

RECORD = re.compile(
    r"^(?P<time>\S+) \[\w+ *\] W-(?P<worker>\d+)-(?P<model>\S+)-std(?P<stream>out|err) \S+ - "
    r"(?P<message>.*)$"
)
NEXT = re.compile(r"Backend received inference at|\[PID\]\d+$|Frontend disconnected")
REQUEST_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# From the end of a worker to the last line about it.
LATE_SECONDS = 1.0
# The log's clock shows milliseconds.
CLOCKS = 0.002
POLL_SECONDS = 0.03
# Between a fork's record of a failure and the log's.
SAME_SECONDS = 1.0
LAST_WORDS = 3
SHOWN_IDS = 8


@dataclass(frozen=True)
class Failure:
    """A batch that was not answered, or a model that did not load.

    Attributes:
        time: when it began, in seconds since the epoch; of one from the log, when it failed.
        version: the version of the model.
        worker: the number by which TorchServe calls the worker.
        pid: its process; 0 if that is not known.
        requests: the ids of the batch's requests; none for a load, or where they are not known.
        messages: what was said of it: a traceback, or where the code was when the process ended.
        batch: what `ts.service.Service.predict` was given, as `recorder.encode` keeps it; None
            where it was not kept.
        answer: the HTTP status and message that the client got; None if there was no answer.
        end: how the process ended (see `recorder.close`), if it did and said nothing itself.
        entry: the handler's function that answers: its file, line and name.
        is_load: whether it is about a load, of which no request knows.
        model_dir: the folder of the model, as the worker saw it; it may have gone.
        seconds: how long it took.
    """

    time: float
    version: str
    worker: str
    pid: int
    requests: list[str]
    messages: list[str]
    batch: list[dict[str, Any]] | None = None
    answer: tuple[int, str] | None = None
    end: dict[str, Any] | None = None
    entry: tuple[str, int, str] | None = None
    model_dir: str = ""
    is_load: bool = False
    seconds: float = 0.0

    @cached_property
    def cause(self) -> Cause:
        """Why."""
        if self.end is None:
            found = cause.of(self.messages)
        else:
            found = cause.of_stack(self._how_it_ended(self.end), self.messages)
        if found.frame is None and self.end is not None:
            # Nobody sees on whose behalf a process ends itself.
            ends = "os.kill" if self.end["status"] == -signal.SIGKILL else "os._exit"
            return replace(found, frame=cause.call(Path(self.model_dir, "handler.py"), ends))
        if kind := self._undecodable():
            found = replace(found, cure=f"send {kind}: the body is none, and the handler got bytes")
        if found.frame is None and self.entry is not None:
            # TorchServe complains about what the handler has returned.
            file, line, function = self.entry
            return replace(found, frame=Frame(file, line, function, cause.source_line(file, line)))
        return found

    def _undecodable(self) -> str:
        """What a body that is alone in its batch was said to be, and is not."""
        if self.batch is None or len(self.batch) != 1:
            return ""
        for each in recorder.decode(self.batch)[0]["parameters"]:
            if isinstance(each["value"], bytes):
                is_json = each["contentType"] == "application/json"
                try:
                    text = each["value"].decode()
                    _ = json.loads(text) if is_json else text
                except ValueError:
                    return "JSON" if is_json else "UTF-8" * each["contentType"].startswith("text")
        return ""

    def _how_it_ended(self, end: dict[str, Any]) -> str:
        status, doing = end["status"], "loading" if self.is_load else "answering"
        if end["killed"]:
            return f"the worker was still {doing} after {self.seconds:.1f} s: TorchServe ended it"
        if status == -signal.SIGKILL:
            return f"the worker was killed while {doing}, and not by TorchServe"
        if status < 0:
            return f"the worker crashed while {doing}: {signal.strsignal(-status)}"
        return f"the worker ended itself while {doing}: exit code {status}, and no exception"


def find(app: Settings, request: str | None = None) -> Failure:
    """The failure of a request, or the last one.

    Raises:
        Fault: there is none.
    """
    found = [each for each in everything(app) if request is None or request in each.requests]
    if not found:
        what = f"request {escape(request)} as one that failed" if request else "a failure"
        raise Fault(f"no worker tells of {what}", "see `make logs`")
    return found[-1]


def of_replies(
    app: Settings, replies: Collection[client.Failure], since: float
) -> dict[client.Failure, Cause]:
    """Why requests were not answered: what the workers tell of each, else what the server said.

    Args:
        since: when the first of them was sent, in seconds since the epoch. Where a worker does not
            tell whose failure it was, the first one since then counts for those without their own.
    """
    deadline = time.time() + LATE_SECONDS
    while True:
        known = [each for each in everything(app) if each.time >= since - CLOCKS]
        told = {each: failure for failure in known for each in failure.requests}
        untold = [each for each in replies if each.request_id not in told and _is_grave(each)]
        if not untold or time.time() > deadline:
            break
        time.sleep(POLL_SECONDS)
    # The nodes of a workflow are asked under ids of their own, which its client never sees.
    nameless = [
        each for each in known if not each.is_load and (app.is_workflow or not each.requests)
    ]
    found = {}
    for reply in replies:
        failure = told.get(reply.request_id or "")
        if failure is None and reply in untold and nameless:
            failure = nameless[0]
        said = _of_jvm(app, since) if reply in untold else ""
        found[reply] = failure.cause if failure else cause.named(said or reply.words)
    return found


def _of_jvm(app: Settings, since: float) -> str:
    """Why the JVM has given a worker up that says nothing itself."""
    exceptions = [
        message
        for record in server_log.records(app)
        if record.is_error and record.thread.startswith("W-") and record.time >= since
        for message in record.messages[1:2]
    ]
    return exceptions[0] if exceptions else ""


def _is_grave(reply: client.Failure) -> bool:
    """Whether the fault was on the server's side of it."""
    return reply.status is None or reply.status >= 500


class Ends:
    """The forked workers of a version that end in place of an answer, from now on.

    What was recorded before is not read: this is asked again and again.
    """

    def __init__(self, app: Settings, version: str | None) -> None:
        self._path = app.run / recorder.FAILURES
        self._version = version
        self._read = self._size()

    def first(self) -> Failure | None:
        """The first that has ended since this was asked last."""
        if (size := self._size()) == self._read:
            return None
        # Shorter: it has grown too long, and was begun anew.
        began, self._read = (self._read if size > self._read else 0), size
        with self._path.open("rb") as file:
            file.seek(began)
            added = parsed(file.read(size - began).decode(errors="replace").split("\n"))
        ended = (each for each in added if not each.is_load and each.answer is None)
        return next((each for each in ended if each.version == self._version), None)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def by_cause(
    app: Settings,
    failed: Mapping[str, client.Failure],
    since: float,
    times: Mapping[str, int] | None = None,
) -> str:
    """The causes of samples that were not answered, each once, with the ids of its samples.

    Args:
        failed: by the samples' ids, what they got in place of an answer.
        since: see `of_replies`.
        times: how often each was asked in vain; told where it is given.
    """
    causes = of_replies(app, list(failed.values()), since)
    groups: dict[str, list[str]] = {}
    for sample, reply in failed.items():
        groups.setdefault(causes[reply].kind, []).append(sample)
    told = []
    for ids in groups.values():
        count = f"{wording.requests(sum(times[each] for each in ids))}, " if times else ""
        told.append(f"{causes[failed[ids[0]]]}\n  {count}samples: {wording.some(ids, SHOWN_IDS)}")
    return "\n".join([f"{len(told)} causes", *told] if len(told) > 1 else told)


def why(app: Settings, version: str | None, since: float) -> Cause:
    """Why a version does not load, or does not answer: its first failure since then.

    Where there is none, what its worker said last.
    """
    deadline = time.time() + LATE_SECONDS
    while True:
        for failure in everything(app):
            if failure.time >= since and version in (None, failure.version):
                return failure.cause
        if time.time() > deadline:
            said = [
                record["message"]
                for record in _records(app)
                if record["model"] == f"{app.name}_{version}" and _seconds(record) >= since
            ]
            words = "\n".join(said[-LAST_WORDS:]) or "no worker said why"
            return cause.named(_of_jvm(app, since) or words)
        time.sleep(POLL_SECONDS)


def logged_inputs(app: Settings, requests: Collection[str]) -> list[str]:
    """What the handler has logged as the inputs of requests, by their ids."""
    heads = tuple(f"request {each}: " for each in requests)
    messages = (record["message"] for record in _records(app))
    return [each.split(": ", 1)[1] for each in messages if each.startswith(heads)]


def everything(app: Settings) -> list[Failure]:
    """All failures that are known, the last one last."""
    found = recorded(app)
    # What a fork has recorded is in the log too.
    ends = [(each.pid, each.time + each.seconds) for each in found]
    found += [
        each
        for each in logged(app)
        if not any(each.pid == pid and abs(each.time - end) < SAME_SECONDS for pid, end in ends)
    ]
    return sorted(found, key=lambda each: each.time)


def recorded(app: Settings) -> list[Failure]:
    """What forked workers have recorded."""
    files = (app.run / name for name in (recorder.FORMER, recorder.FAILURES))
    return [failure for each in files for failure in parsed(server_log.tail(each))]


def parsed(lines: Iterable[str]) -> Iterator[Failure]:
    """The failures in lines of the list, of which one may be half written, or of an older kind."""
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            failure = Failure(**json.loads(line))
            if isinstance(failure.time, float):
                yield failure


def logged(app: Settings) -> list[Failure]:
    """What workers have said of their failures, from TorchServe's log."""
    found: list[Failure] = []
    workers: dict[str, _Worker] = {}
    for record in _records(app):
        name = f"{record['worker']} {record['model']}"
        worker = workers.setdefault(name, _Worker(record["worker"], record["model"], app.name))
        found += worker.heard(record)
    return [*found, *(failure for each in workers.values() for failure in each.told())]


@dataclass
class _Worker:
    """A worker, as its log tells of it."""

    number: str
    model: str
    app: str
    pid: int = 0
    time: float = 0.0
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def heard(self, record: re.Match[str]) -> list[Failure]:
        """Take one record; returns the failure that it ends, if it ends one."""
        message = record["message"]
        if NEXT.match(message):
            ended = self.told()
            self.requests, self.messages = [], []
            if message.startswith("[PID]"):
                self.pid = int(message.removeprefix("[PID]"))
            return ended
        # On stderr, Python itself says why it ends.
        ends = record["stream"] == "err" and message.startswith("Traceback ")
        if not self.messages and (ends or FAILED.match(message)):
            self.time = _seconds(record)
            self.messages = [message]
        elif self.messages:
            self.messages.append(message)
        else:
            self.requests += REQUEST_ID.findall(message)
        return []

    def told(self) -> list[Failure]:
        """The failure that it is telling of, if it is."""
        if not self.messages:
            return []
        version = self.model.removeprefix(f"{self.app}_")
        requests = list(dict.fromkeys(self.requests))
        told = Failure(self.time, version, self.number, self.pid, requests, self.messages)
        return [replace(told, is_load=bool(LOAD_FAILED.match(self.messages[0])))]


def _records(app: Settings) -> Iterator[re.Match[str]]:
    for line in server_log.tail(app.logs / "model_log.log"):
        if match := RECORD.match(line):
            yield match


def _seconds(record: re.Match[str]) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()
