"""Batch invariance: a text is answered the same alone and among others, in its own place."""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from smoke import endpoint, question, replies
from smoke.client import Client, Failure, Reply, fields, judge
from smoke.deep import check, hints, texts
from smoke.deep.check import Asked, Check
from smoke.endpoint import Endpoint
from smoke.samples import Sample
from smoke.terminal import Progress

WHERE = {
    "list": "in a list",
    "order": "in a shuffled list",
    "padding": "beside a longer text",
    "batch": "among others",
}
ABOUT = {
    "list": "in lists of {list}",
    "order": "in lists of {list}, shuffled",
    "padding": "each in a list with a longer text",
    "batch": "{at} requests at a time",
}
# So many requests at least, that those of one batch differ.
AT_ONCE = 64

Others = list[tuple[Sample, Reply]]
"""What samples are answered among others."""


@dataclass(frozen=True)
class Item:
    """One answer of a list, as a response of its own."""

    content: bytes
    status_code: int = HTTPStatus.OK
    headers: dict[str, str] = field(default_factory=dict)


def ask_list(client: Client, samples: Sequence[Sample]) -> list[Reply] | Failure:
    """Send several samples in one request, as a JSON list; one reply for each, or why not."""
    sent = [fields(each) for each in samples]
    body = {"instances": sent} if endpoint.speaks_kserve(client.url) else sent
    response = client.post(json.dumps(body).encode(), question.JSON)
    if isinstance(response, Failure):
        return response
    try:
        content = json.loads(response.content)
    except ValueError:
        content = None
    if isinstance(content, dict):
        content = content.get("predictions")
    if not isinstance(content, list) or len(content) != len(samples):
        said = question.words(response.content)
        return Failure(f"{said[:100]} is no list of {len(samples)} answers")
    return [judge(Item(json.dumps(each).encode())) for each in content]


def compare(
    client: Client,
    asked: Asked,
    given: Namespace,
    found: Endpoint,
    steady: Check,
    parity: Check,
) -> Iterator[Check]:
    """Ask in lists, if the handler takes any, and at once, for TorchServe to make batches of.

    Args:
        given: the command line's tolerance and threads.
        steady: the check of determinism,
        parity: and that of parity.
    """
    others: dict[str, Others] = {}
    refused = _refused(client, asked)
    if refused is not None:
        yield Check("list", "several texts in a request", unchecked=refused)
    else:
        inward, mixed = list(asked), texts.shuffled(asked)
        others["list"] = _in_lists(client, list(texts.lists(inward)))
        others["order"] = _in_lists(client, list(texts.lists(mixed)))
        others["padding"] = _in_lists(client, [(each, texts.longer(each)) for each in inward])[::2]
    others["batch"] = _at_once(client, asked, given.threads)
    differing = {
        name: check.differences(asked, each, WHERE[name], given.tolerance)
        for name, each in others.items()
    }
    hint: str | None = hints.UNSTEADY
    if any(differing.values()) and not steady.differences:
        not_right = {each.sample for each in parity.differences}
        hint = hints.of_batches(differing, asked, others, given.tolerance, not_right)
    batch = found.made_with.get("batch")
    for name, some in differing.items():
        about = f"{len(asked)} samples, " + ABOUT[name].format(list=texts.LIST, at=given.threads)
        if name == "batch" and batch is not None:
            about += f" (batchSize {batch})"
        yield Check(name, about, some, hint=hint)


def _refused(client: Client, asked: Asked) -> str | None:
    """Why a handler takes no lists; None if it does.

    Of two sizes, since one that answers a list for one text may happen to have as many classes.
    Of the same text, since what it does with texts of different length is another question.
    """
    first = next(iter(asked))
    for size in (2, 3):
        answered = ask_list(client, [first] * size)
        if isinstance(answered, Failure):
            return f"the handler takes no list of texts: {answered.words}"
        if failed := next((each for each in answered if isinstance(each, Failure)), None):
            return f"the handler takes no list of texts: {failed.words}"
    return None


def _in_lists(client: Client, lists: Sequence[Sequence[Sample]]) -> Others:
    """What the samples of these lists are answered, in the lists' order."""
    given: Others = []
    with Progress("smoke: in lists", len(lists)) as progress:
        for number, samples in enumerate(lists):
            answered = ask_list(client, samples)
            if isinstance(answered, Failure):
                answered = [answered] * len(samples)
            given += zip(samples, answered, strict=True)
            progress(number + 1)
    return given


def _at_once(client: Client, asked: Asked, threads: int) -> Others:
    mixed = texts.shuffled(asked)
    rounds = -(-AT_ONCE // len(mixed))
    # No more are sorted by length than are asked at a time: the others are to be of any length.
    with Progress("smoke: at once", rounds * len(mixed)) as progress:
        streamed = replies.stream(client, mixed * rounds, threads, progress, window=threads)
        return [(sample, timed.reply) for sample, timed in streamed]
