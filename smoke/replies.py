"""Many samples asked at once, in a bounded space however many there are."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from smoke.client import Reply
from smoke.fault import Unanswered
from smoke.samples import Sample

TICK_SECONDS = 0.25
# Of so many samples the longest go first: a server that batches what is waiting pads little if
# those are of a length.
WINDOW = 256
# How many windows may be in hand: those behind a sample that takes long wait for it to be yielded.
WINDOWS = 4
RETRY_PAUSE_SECONDS = 0.2


class Asker(Protocol):
    """Whoever has a sample answered, such as a client."""

    @property
    def has_answered(self) -> bool:
        """Whether something was listening before, so that it may be worth waiting for."""

    def ask(self, sample: Sample) -> Reply:
        """Ask about a sample."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A reply, the seconds from sending to having it, and how often it was sent again."""

    reply: Reply
    seconds: float
    retries: int = 0


def stream(
    client: Asker,
    samples: Iterable[Sample],
    threads: int,
    progress: Callable[[int], None] = lambda done: None,
    window: int = WINDOW,
    patience: float = 0.0,
) -> Iterator[tuple[Sample, Timed]]:
    """Ask all samples, and yield each with its reply, in the samples' order.

    Ctrl-C, or nothing answering, ends it at once: daemon threads are waited for by nobody, while
    a thread pool would hold the process until each request in flight has timed out.

    Args:
        threads: how many to ask at a time.
        progress: called with the number of replies so far, after each and now and then; what it
            raises ends the asking.
        window: of how many the longest are asked first.
        patience: for how many seconds to try again where nothing listens any more.

    Raises:
        Unanswered: nothing listens at the client's URL.
    """
    waiting: SimpleQueue[tuple[int, Sample] | None] = SimpleQueue()
    done: SimpleQueue[tuple[int, Timed | Exception]] = SimpleQueue()
    over = threading.Event()
    for _ in range(threads):
        work = (client, waiting, done, over, patience)
        threading.Thread(target=_work, args=work, daemon=True).start()
    coming = enumerate(samples)
    asked: dict[int, Sample] = {}
    replies: dict[int, Timed] = {}
    position = count = 0
    try:
        while True:
            if waiting.qsize() < threads and len(asked) < WINDOWS * window:
                for numbered in sorted(itertools.islice(coming, window), key=_length, reverse=True):
                    asked[numbered[0]] = numbered[1]
                    waiting.put(numbered)
            if not asked:
                return
            with contextlib.suppress(Empty):
                index, outcome = done.get(timeout=TICK_SECONDS)
                if isinstance(outcome, Exception):
                    raise outcome
                replies[index] = outcome
                count += 1
            progress(count)
            while position in replies:
                yield asked.pop(position), replies.pop(position)
                position += 1
    finally:
        over.set()
        for _ in range(threads):
            waiting.put(None)


def collect(client: Asker, samples: Iterable[Sample], threads: int) -> list[Timed]:
    """Ask all samples; see `stream`."""
    return [timed for _, timed in stream(client, samples, threads)]


def _length(numbered: tuple[int, Sample]) -> int:
    sample = numbered[1]
    return len(sample.text) + len(sample.text_pair or "")


def _work(
    client: Asker,
    waiting: SimpleQueue[tuple[int, Sample] | None],
    done: SimpleQueue[tuple[int, Timed | Exception]],
    over: threading.Event,
    patience: float,
) -> None:
    while (numbered := waiting.get()) is not None and not over.is_set():
        index, sample = numbered
        try:
            done.put((index, _ask(client, sample, over, patience)))
        except Exception as error:  # raised again by stream, in its caller's thread
            done.put((index, error))
            return


def _ask(client: Asker, sample: Sample, over: threading.Event, patience: float) -> Timed:
    """Ask one sample; again, while nothing listens any more at a URL that has answered.

    A connection that was refused has carried nothing, so that is no second question. A server that
    is restarted comes back. Whatever else goes wrong is an answer.
    """
    retries, deadline = 0, time.monotonic() + patience
    while True:
        start = time.perf_counter()
        try:
            reply = client.ask(sample)
        except Unanswered:
            if not client.has_answered or time.monotonic() > deadline or over.is_set():
                raise
            retries += 1
            over.wait(RETRY_PAUSE_SECONDS)
        else:
            return Timed(reply, time.perf_counter() - start, retries)
