"""Ask a served model about one text, and print its answer as JSON."""

import sys
import time
from argparse import Namespace

from smoke import arguments, fault, question, unanswered
from smoke.client import Client, Failure
from smoke.terminal import escape


def predict(given: Namespace) -> int:
    """Send what was given, as the bytes it is: the handler judges it.

    Returns:
        0 if the model answered, 1 if the server said something else.
    """
    asked = question.of(given)
    found = arguments.find(given)
    began = time.time()
    response = Client(found.url, found.token).post(asked.body, asked.content_type)
    if isinstance(response, Failure):
        print(f"predict: {escape(str(response))}", file=sys.stderr)
        unanswered.leave(found.url, began, {unanswered.ALONE: response})
        return 1
    sys.stdout.write(question.shown(response.content))
    return 0


def main() -> int:
    """Read the command line and do it."""
    parser = arguments.parser("predict", __doc__ or "")
    question.add_to(parser)
    return predict(parser.parse_args())


if __name__ == "__main__":
    fault.run("predict", main)
