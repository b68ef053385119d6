"""Many samples asked at once."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from smoke.client import Client, Reply
from smoke.samples import Sample


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
    """Ask all samples, `threads` at a time; the replies stand in the samples' order.

    Ctrl-C, or nothing answering, ends it at once: daemon threads are waited for by nobody, while
    a thread pool would hold the process until each request in flight has timed out.

    Args:
        progress: called with the number of replies so far, after each.

    Raises:
        Unanswered: nothing listens at the client's URL.
    """
    waiting = deque(enumerate(samples))
    done: SimpleQueue[tuple[int, Timed | Exception]] = SimpleQueue()
    for _ in range(min(threads, len(samples))):
        threading.Thread(target=_work, args=(client, waiting, done), daemon=True).start()
    replies: dict[int, Timed] = {}
    try:
        while len(replies) < len(samples):
            index, outcome = done.get()
            if isinstance(outcome, Exception):
                raise outcome
            replies[index] = outcome
            progress(len(replies))
    finally:
        waiting.clear()
    return [replies[index] for index in range(len(samples))]


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
