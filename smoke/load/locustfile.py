"""The load that `smoke.load.start` has Locust make: each user asks one sample after the other.

Only Locust reads this file.
"""

import ctypes
import itertools
import logging
import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import gevent
from gevent.hub import Hub
from geventhttpclient.response import HTTPConnectionClosed
from locust import FastHttpUser, events, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS, FastResponse
from locust.env import Environment
from locust.html import get_html_report
from locust.runners import LocalRunner, MasterRunner

from smoke import atomic, samples, tally, terminal, unanswered, wording
from smoke.client import READ_SECONDS, Answer, Failure, Reply, body, judge
from smoke.fault import Fault
from smoke.load import start
from smoke.load.start import Figures
from smoke.question import JSON
from smoke.terminal import Progress

MODEL = start.found()
HEADERS = {"Content-Type": JSON} | (
    {} if MODEL.token is None else {"Authorization": f"Bearer {MODEL.token}"}
)
BODIES = [(each.id, body(each, MODEL.url).decode()) for each in samples.read(start.app())]
# All users share it, so that each sample is asked as often as any other.
QUESTIONS = itertools.cycle(BODIES)
BEGAN = time.time()
# Where nothing answers, users would ask in vain some thousand times a second.
PAUSE_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
PARTS = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass
class Missed:
    """A sample that was not answered, as often as the server said the same of it."""

    times: int
    last: Failure


# It would print each Ctrl-C.
Hub.NOT_ERROR += (KeyboardInterrupt,)
if not any(each.startswith("--processes") for each in sys.argv):
    # Python raises it wherever it is, in a destructor too, where it is lost and the load goes on.
    # The event loop brings it to where Locust waits for it. (It does not outlive a fork.)
    gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)


def end_with_parent() -> None:
    """In a process of --processes: end with the first, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


os.register_at_fork(after_in_child=end_with_parent)

# By the words of the server, and the sample. Workers send theirs to the master, and forget them.
missed: dict[tuple[str, str], Missed] = {}
# What servers say may have a number in it that is never the same.
told: set[str] = set()


def miss(words: str, sample: str, failure: Failure, times: int = 1) -> str:
    """Count what was not answered. Returns the words that it is counted under."""
    words = tally.bounded(words, told)
    told.add(words)
    known = missed.get((words, sample))
    missed[words, sample] = Missed(times + (known.times if known else 0), failure)
    return words


class Asker(FastHttpUser):
    """A user who asks without pause. FastHttpUser takes a quarter of HttpUser's CPU a request."""

    host = MODEL.url
    # The token goes to nobody else.
    insecure = False
    network_timeout = READ_SECONDS

    @task
    def ask(self) -> None:
        """Ask the next sample."""
        sample, content = next(QUESTIONS)
        with self.client.post(
            "",
            data=content,
            headers=HEADERS,
            name=sample,
            catch_response=True,
            allow_redirects=False,
        ) as response:
            reply = reply_of(response)
            if isinstance(reply, Answer):
                response.success()
                return
            response.failure(miss(reply.words, sample, reply))
        if reply.status is None:
            gevent.sleep(PAUSE_SECONDS)


def reply_of(response: FastResponse) -> Reply:
    """What came back; where nothing did, Locust keeps the error."""
    error = getattr(response, "error", None)
    if response.status_code:
        try:
            return judge(response)  # type: ignore[arg-type] # it has headers: there was a status
        except FAILURE_EXCEPTIONS as broken:  # while its body was read
            error = broken
    if isinstance(error, ConnectionRefusedError):
        return Failure("nothing answers there any more")
    if isinstance(error, HTTPConnectionClosed | ConnectionError):
        return Failure("the connection broke before the answer came")
    if isinstance(error, TimeoutError):
        return Failure(f"no answer within {READ_SECONDS:g} s")
    return Failure(f"no answer: {error}")


@events.report_to_master.add_listener
def send_missed(client_id: str, data: dict[str, Any], **_: object) -> None:
    """In a worker: hand over what was not answered since the last time."""
    data["missed"] = [
        (words, sample, each.times, asdict(each.last)) for (words, sample), each in missed.items()
    ]
    missed.clear()


@events.worker_report.add_listener
def take_missed(client_id: str, data: dict[str, Any], **_: object) -> None:
    """In the master: add what a worker has handed over."""
    for words, sample, times, failure in data["missed"]:
        miss(words, sample, Failure(**failure), times)


@events.init.add_listener
def tell_when_done(environment: Environment, **_: object) -> None:
    """In whoever has all the figures: show how far it is, and at the end what they are."""
    # Its tables: all of it is in the report.
    logging.getLogger("locust.stats_logger").disabled = True
    if isinstance(environment.runner, LocalRunner | MasterRunner):
        progress = gevent.spawn(show_progress, environment)
        events.quit.add_listener(lambda **_: progress.kill())
        events.quit.add_listener(lambda **_: sys.exit(tell(environment)))


def show_progress(environment: Environment) -> None:
    """Count the seconds on a terminal."""
    total = environment.stats.total
    run_time = getattr(environment.parsed_options, "run_time", None) or 0
    with Progress("load: seconds", run_time) as progress:
        while True:
            gevent.sleep(0.5)
            if total.num_requests:
                progress(int(time.time() - total.start_time))


def tell(environment: Environment) -> int:
    """Print what was measured, and leave Locust's report.

    Returns:
        0 if all was answered; 1 if something was not, or nothing was asked; 2 if the report cannot
        be written.
    """
    colour = terminal.has_colour(sys.stdout)
    total = environment.stats.total
    for line in failures(colour):
        print(line)
    print(start.summary(figures(environment), colour))
    if is_short_of_cpu(environment):
        print(
            "load: Locust had no CPU to spare, and the server may be faster than this: spread the"
            " users with --processes 2, or over more machines",
            file=sys.stderr,
        )
    leave_word()
    path = start.app() / ".run" / "load.html"
    try:
        atomic.write(path, get_html_report(environment, show_download_link=False).encode())
    except Fault as fault:
        print(f"load: {fault}", file=sys.stderr)
        return fault.exit_code
    print(f"report: {path}", flush=True)
    if total.num_failures or not total.num_requests:
        return 1
    return 1 if environment.runner and environment.runner.exceptions else 0


def figures(environment: Environment) -> Figures:
    """What Locust has counted of all requests; it rounds times to two digits."""
    total = environment.stats.total
    users = getattr(environment.parsed_options, "num_users", 0)
    # The clocks of two machines may differ.
    seconds = max(0.001, (total.last_request_timestamp or 0.0) - total.start_time)
    worst = float(total.max_response_time)
    times = {
        name: min(worst, total.get_response_time_percentile(part)) for name, part in PARTS.items()
    }
    return Figures(
        users, total.num_requests, total.num_failures, seconds, {**times, "worst": worst}
    )


def failures(colour: bool) -> Iterator[str]:
    """What the server said in place of answers, what it said most often first."""
    times: Counter[str] = Counter()
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for (words, sample), each in missed.items():
        times[words] += each.times
        ids[words].append(sample)
    for words, number in times.most_common():
        yield from wording.failed(wording.requests(number), words, ids[words], colour)


def leave_word() -> None:
    """Leave word of what was not answered: of each sample, and of whatever was said of it."""
    failed: dict[str, Failure] = {}
    times: dict[str, int] = {}
    for (words, sample), each in missed.items():
        name = f"{sample} ({words})" if sample in failed else sample
        failed[name], times[name] = each.last, each.times
    if failed:
        unanswered.leave(MODEL.url, BEGAN, failed, times)


def is_short_of_cpu(environment: Environment) -> bool:
    """Whether Locust has had more than nine tenths of a core, or one of its workers has."""
    runner = environment.runner
    names = ("cpu_warning_emitted", "worker_cpu_warning_emitted")
    return any(getattr(runner, each, False) for each in names)
