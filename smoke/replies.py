"""Many samples asked at once."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from smoke.client import Client, Reply
from smoke.samples import Sample

TICK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Timed:
    """A reply, and the seconds from sending to having it."""

    reply: Reply
    seconds: float


def collect(
    client: Client,
    samples: Sequence[Sample],
    threads: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Timed]:
    """Ask all samples, the longest first; the replies stand in the samples' order.

    Ctrl-C, or nothing answering, ends it at once: daemon threads are waited for by nobody, while
    a thread pool would hold the process until each request in flight has timed out.

    Args:
        threads: how many to ask at a time.
        progress: called with the number of replies so far, after each and now and then; what it
            raises ends the asking.

    Raises:
        Unanswered: nothing listens at the client's URL.
    """
    # A server that batches what is waiting pads little if those are of a length.
    waiting = deque(sorted(enumerate(samples), key=_length, reverse=True))
    done: SimpleQueue[tuple[int, Timed | Exception]] = SimpleQueue()
    for _ in range(min(threads, len(samples))):
        threading.Thread(target=_work, args=(client, waiting, done), daemon=True).start()
    replies: dict[int, Timed] = {}
    try:
        while len(replies) < len(samples):
            with contextlib.suppress(Empty):
                index, outcome = done.get(timeout=TICK_SECONDS)
                if isinstance(outcome, Exception):
                    raise outcome
                replies[index] = outcome
            progress(len(replies))
    finally:
        waiting.clear()
    return [replies[index] for index in range(len(samples))]


def _length(numbered: tuple[int, Sample]) -> int:
    sample = numbered[1]
    return len(sample.text) + len(sample.text_pair or "")


def _work(
    client: Client,
    waiting: deque[tuple[int, Sample]],
    done: SimpleQueue[tuple[int, Timed | Exception]],
) -> None:
    while True:
        try:
            index, sample = waiting.popleft()
        except IndexError:
            return
        start = time.perf_counter()
        try:
            reply = client.ask(sample)
        except Exception as error:  # raised again by collect, in its caller's thread
            done.put((index, error))
            return
        done.put((index, Timed(reply, time.perf_counter() - start)))
