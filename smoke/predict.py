"""Ask a served model about one text, and print its answer as JSON."""

import sys
import time
from argparse import ArgumentParser, Namespace

from smoke import addition, arguments, fault, lock, question, samples, unanswered
from smoke.client import Client, Failure, body, judge
from smoke.golden import DIGITS, Golden
from smoke.samples import Sample
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
        return _refused(response, found.url, began)
    sys.stdout.write(question.shown(response.content))
    return 0


def save(given: Namespace) -> int:
    """Send what was given as a sample, as `smoke` will, and have it and its answer in the app.

    Returns:
        0 if both are; 1 if the model did not answer a label and a score, and nothing is saved.
    """
    texts = question.texts(question.of(given))
    sample = Sample(given.save, **texts, label=given.label, tags=tuple(given.tag))
    with lock.held(given.app, "predict --save"):
        addition.check(given.app, sample.id)
        found = arguments.find(given)
        began = time.time()
        sent = body(sample, found.url)
        response = Client(found.url, found.token).post(sent, question.JSON)
        if isinstance(response, Failure):
            return _refused(response, found.url, began)
        reply = judge(response)
        if isinstance(reply, Failure):
            return _refused(reply, found.url, began)
        sys.stdout.write(question.shown(response.content))
        accepted = Golden(sample.id, reply.label, round(reply.score, DIGITS))
        addition.add(given.app, sample, accepted, found.made_with)
    print(f'predict: saved as "{sample.id}" in {samples.path(given.app)}', file=sys.stderr)
    return 0


def _refused(failure: Failure, url: str, began: float) -> int:
    print(f"predict: {escape(str(failure))}", file=sys.stderr)
    unanswered.leave(url, began, {unanswered.ALONE: failure})
    return 1


def main() -> int:
    """Read the command line and do it."""
    parser = arguments.parser("predict", __doc__ or "")
    question.add_to(parser)
    add_saving(parser)
    given = parser.parse_args()
    if given.save is None:
        if given.label is not None or given.tag:
            parser.error("--label and --tag say more of a sample: name it with --save ID")
        return predict(given)
    if given.top_k is not None:
        parser.error("a sample has one label: leave --top-k away")
    return save(given)


def add_saving(made: ArgumentParser) -> None:
    """Add what makes a sample of the text."""
    made.add_argument(
        "--save", metavar="ID", help="add the text to the app's samples, the answer to its goldens"
    )
    made.add_argument("--label", metavar="TRUTH", help="with --save: the true label")
    made.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="T",
        help="with --save: what kind of text it is; may be given more than once",
    )


if __name__ == "__main__":
    fault.run("predict", main)
