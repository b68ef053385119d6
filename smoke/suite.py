"""All samples of an app, asked and judged: what the command line and pytest share."""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from smoke import golden, replies, samples
from smoke.client import Client
from smoke.compare import Comparison, compare
from smoke.golden import Golden
from smoke.index import Index
from smoke.samples import Sample
from smoke.terminal import Progress


class Suite:
    """An app's samples and goldens, however many.

    Attributes:
        size: how many samples there are.
        made_with: see `golden.made_with`.
        orphans: the ids of goldens that no sample has any more.

    Args:
        app: the app's folder; both files are read once, to see that they can be.

    Raises:
        Fault: one of the files cannot be read; the line is named.
    """

    def __init__(self, app: Path) -> None:
        self.app = app
        self.made_with: dict[str, Any] = golden.made_with(app)
        self.orphans = Index()
        self._goldens = Index()
        for each in golden.stream(app):
            self._goldens.add(each.id, json.dumps([each.label, each.score]))
            self.orphans.add(each.id, "")
        self.size = 0
        for sample in samples.stream(app):
            self.size += 1
            self.orphans.discard(sample.id)

    def samples(self, only: Collection[str] | None = None) -> Iterator[Sample]:
        """The samples, or those of some ids, in the file's order."""
        found = samples.stream(self.app)
        return found if only is None else (each for each in found if each.id in only)

    def golden(self, sample: str) -> Golden | None:
        """What was accepted for the sample of this id."""
        kept = self._goldens.get(sample)
        return None if kept is None else Golden(sample, *json.loads(kept))

    @property
    def accepted(self) -> int:
        """How many answers have been accepted."""
        return len(self._goldens)

    def judge(
        self,
        client: Client,
        tolerance: float,
        threads: int,
        verb: str,
        wanted: Callable[[], None] = lambda: None,
        skip: Collection[str] = (),
        patience: float = 0.0,
        only: Collection[str] | None = None,
    ) -> Iterator[Comparison]:
        """Ask every sample once, and compare, in the samples' order.

        Args:
            tolerance: how far a score may lie from its golden, absolute.
            verb: named in the progress on a terminal.
            wanted: called now and then; raises what is to end the asking.
            skip: the ids of those that have been asked before.
            patience: for how many seconds to try again where nothing listens any more.
            only: the ids of those to ask, if not all.

        Raises:
            Unanswered: nothing listens at the client's URL.
        """
        asked = (each for each in self.samples(only) if each.id not in skip)
        with Progress(verb, self.size if only is None else len(only), len(skip)) as progress:

            def tell(done: int) -> None:
                progress(done)
                wanted()

            replied = replies.stream(client, asked, threads, tell, patience=patience)
            for sample, timed in replied:
                yield compare(sample, self.golden(sample.id), timed, tolerance)
