"""Determinism: the same text, asked alone once more, is answered the same."""

from smoke import replies
from smoke.client import Answer, Client, Failure
from smoke.deep import check
from smoke.deep.check import Asked, Check
from smoke.samples import Sample
from smoke.terminal import Progress

NAME = "determinism"
# What is computed twice in the same way is the same; this is what rounding to print may change.
EXACT = 1e-6
HINT = "something is drawn at random: is dropout still on, without model.eval()?"


def alone(client: Client, samples: list[Sample]) -> tuple[Asked, dict[Sample, Failure]]:
    """Ask each sample, one at a time: the answers, and what was not answered."""
    answered, failed = {}, {}
    with Progress("smoke: alone", len(samples)) as progress:
        for sample, timed in replies.stream(client, samples, 1, progress):
            if isinstance(timed.reply, Answer):
                answered[sample] = timed.reply
            else:
                failed[sample] = timed.reply
    return answered, failed


def compare(client: Client, asked: Asked) -> Check:
    """Ask each again."""
    again, failed = alone(client, list(asked))
    both = [(sample, again.get(sample) or failed[sample]) for sample in asked]
    found = check.differences(asked, both, "again", EXACT)
    # A failure is not a draw: it has words of its own.
    drawn = any(isinstance(each.other, Answer) for each in found)
    about = f"{len(asked)} samples, each alone, twice"
    return Check(NAME, about, found, hint=HINT if drawn else None)
