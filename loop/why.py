"""Why something failed: its cause, the line of the handler, and what the worker said.

For a request by its id, or for the last failure, be it of a request or of a load.
"""

import os
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator

from loop import explain, failures, recorder, settings
from loop.failures import Failure
from loop.settings import Settings
from smoke.fault import run
from smoke.terminal import escape

SHOWN_CHARACTERS = 2000


def main() -> int:
    """Print why; of a server that is gone too, which is worse."""
    parser = ArgumentParser(
        "bin/why.sh", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("request", nargs="?", help="the x-request-id; without it, the last failure")
    given = parser.parse_args()
    app = settings.read(os.environ["APP"])
    if gone := None if given.request else explain.of_server(app):
        print(f"{gone}\n\nbefore that:", flush=True)
    print("\n".join(in_full(app, failures.find(app, given.request))))
    return 0


def in_full(app: Settings, failure: Failure) -> Iterator[str]:
    """All that is known of a failure, line by line, the cause first."""
    yield f"{failure.cause}\n"
    clock = time.strftime("%H:%M:%S", time.localtime(failure.time))
    yield f"when     {clock}" + (f", for {failure.seconds:.3g} s" if failure.seconds else "")
    yield f"version  {failure.version}"
    if not failure.worker:
        yield "server   not touched: the tree was refused"
        return
    yield f"worker   {failure.worker}, pid {failure.pid or 'unknown'}"
    if failure.requests:
        yield from _of_requests(app, failure)
    yield from ("", *map(escape, failure.messages))


def _of_requests(app: Settings, failure: Failure) -> Iterator[str]:
    first, *others = failure.requests
    yield f"request  {first}" + (f" and {len(others)} more in its batch" if others else "")
    yield from (f"input    {escape(each):.{SHOWN_CHARACTERS}}" for each in inputs(app, failure))
    if failure.answer:
        yield f"client   got {failure.answer[0]} {escape(failure.answer[1])}"
    elif failure.seconds:
        yield "client   got 500 Worker died."
    if failure.batch is not None:
        yield f"again    bin/replay.sh {first} --pdb"


def inputs(app: Settings, failure: Failure) -> list[str]:
    """What the requests of a batch sent, a line each."""
    if failure.batch is None:
        logged = failures.logged_inputs(app, failure.requests)
        return logged or ["not kept: larger than 1 MiB, log_inputs: false, or a worker not forked"]
    return [
        ", ".join(
            f"{parameter['value']!r} ({parameter['contentType'] or 'no type'})"
            for parameter in request["parameters"]
        )
        for request in recorder.decode(failure.batch)
    ]


if __name__ == "__main__":
    run("why", main)
