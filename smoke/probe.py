"""Ask the app's first sample once, for a cluster that wants to know whether a server may be asked.

exit     0 it was answered with a label · 1 with something else · 3 nothing answers

With --alive, whatever the server says of itself will do, also that it is busy.
"""

import sys
from argparse import Namespace
from urllib.parse import urlsplit

import requests

from smoke import arguments, fault, samples
from smoke.client import Answer, Client
from smoke.endpoint import Endpoint
from smoke.fault import Fault, Unanswered
from smoke.terminal import escape

SECONDS = 10.0
MOST_SECONDS = 3600.0


def ready(found: Endpoint, given: Namespace) -> int:
    """Whether the model answers with a label, and so could be asked.

    Raises:
        Unanswered: nothing listens.
    """
    reply = Client(found.url, found.token, read_seconds=given.seconds).ask(
        next(samples.stream(given.app))
    )
    if isinstance(reply, Answer):
        return 0
    print(f"probe: {escape(str(reply))}", file=sys.stderr)
    return 1


def alive(found: Endpoint, given: Namespace) -> int:
    """Whether the server says anything: one that does not is stuck, and not merely busy.

    TorchServe answers /ping without its workers, however long their queue is.

    Raises:
        Unanswered: it says nothing.
    """
    parts = urlsplit(found.url)
    session = requests.Session()
    session.trust_env = False
    try:
        session.get(f"{parts.scheme}://{parts.netloc}/ping", timeout=given.seconds)
    except requests.RequestException as error:
        raise Unanswered(f"{found.url}: {error}", "see the server's log") from error
    return 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= MOST_SECONDS:
        what = f'seconds "{text}": not a number above 0, up to {MOST_SECONDS:g}'
        raise Fault(what, "give one such as 10")
    return value


def main() -> int:
    """Read the command line and do it."""
    parser = arguments.parser("probe", __doc__ or "")
    parser.add_argument("--alive", action="store_true", help="ask only whether the server lives")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=str(SECONDS),
        metavar="S",
        help=f"how long to wait for the answer (default: {SECONDS:g})",
    )
    given = parser.parse_args()
    ask = alive if given.alive else ready
    return ask(arguments.find(given), given)


if __name__ == "__main__":
    fault.run("probe", main)
