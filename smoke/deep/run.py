"""All checks, one after the other; the later ones know what the earlier have shown."""

import sys
import time
from argparse import Namespace
from collections.abc import Iterator

from smoke import terminal, unanswered
from smoke import wording as words
from smoke.client import Client, Failure
from smoke.deep import batches, groups, parity, repeat, report, texts
from smoke.deep.check import Asked, Check
from smoke.endpoint import Endpoint
from smoke.suite import Suite

SHOWN = 8


def passes(given: Namespace, suite: Suite, client: Client, found: Endpoint) -> bool:
    """After a run, check, and print what is found to stdout.

    Args:
        given: the command line's app, url, tolerance and threads.

    Returns:
        whether nothing has failed.

    Raises:
        Unanswered: nothing listens at the client's URL.
    """
    colour = terminal.has_colour(sys.stdout)
    began, start = time.time(), time.perf_counter()
    chosen = texts.chosen(suite)
    asked, failed = repeat.alone(client, chosen)
    done = []
    for check in _checks(given, client, found, asked):
        done.append(check)
        print("\n".join(report.lines(check, colour)))
    refused = {
        each.sample.id: each.other
        for check in done
        for each in check.differences
        if isinstance(each.other, Failure)
    }
    if refused and not failed:
        unanswered.leave(client.url, began, refused)
    if failed:
        some = words.some([each.id for each in failed], SHOWN)
        print(f"deep: left out, since not answered alone: {some}", file=sys.stderr)
    print(report.summary(done, len(chosen), suite.size, time.perf_counter() - start, colour))
    return all(check.passed is not False for check in done)


def _checks(given: Namespace, client: Client, found: Endpoint, asked: Asked) -> Iterator[Check]:
    is_right = None
    if asked:
        yield (steady := repeat.compare(client, asked))
        yield (same := parity.compare(given, found, asked, steady))
        among = list(batches.compare(client, asked, given, found, steady, same))
        yield from among
        has_failed = any(each.passed is False for each in (steady, same, *among))
        is_right = False if has_failed else same.passed
    yield groups.compare(given.app, is_right)
