"""Parity: what is served is what transformers' own pipeline says on the same checkpoint."""

import os
from argparse import Namespace

from smoke.deep import check, hints, reference
from smoke.deep.check import Asked, Check
from smoke.endpoint import Endpoint

NAME = "parity"
CHANGED = "CHANGED_SINCE"
"""Where the commands in bin/ say which files of the checkpoint are not those that are served."""


def compare(given: Namespace, found: Endpoint, asked: Asked, steady: Check) -> Check:
    """Hold the answers against the pipeline's.

    Args:
        steady: the check of determinism.
    """
    about = f"{len(asked)} samples, by transformers' pipeline on {_compared(given, found)}"
    try:
        told = reference.ask(given.app, list(asked))
    except reference.UncheckedError as error:
        return Check(NAME, about, unchecked=str(error))
    said = dict(zip(asked, told.said, strict=True))
    others = [(sample, each.answer) for sample, each in said.items()]
    differing = check.differences(asked, others, "pipeline", given.tolerance)
    hint: str | None = hints.UNSTEADY
    if differing and not steady.differences:
        hint = hints.of_parity(differing, asked, told, given.tolerance)
    return Check(NAME, about, differing, hint=hint)


def _compared(given: Namespace, found: Endpoint) -> str:
    """The checkpoint, and whether it is known to be what is served."""
    folder = given.app / "torch_model"
    if given.url:
        return f"{folder}; that {found.url} serves the same is not known"
    if changed := os.environ.get(CHANGED):
        version = found.made_with.get("version", "what")
        return f"{folder}; since {version} is served, {changed} changed there"
    return str(folder)
