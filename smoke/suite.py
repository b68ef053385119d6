"""All samples of an app, asked and judged: what the command line and pytest share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smoke import golden, replies, samples
from smoke.client import Client
from smoke.compare import Comparison, compare
from smoke.golden import Golden
from smoke.samples import Sample
from smoke.terminal import Progress


@dataclass(frozen=True, slots=True)
class Suite:
    """An app's samples and goldens."""

    samples: Sequence[Sample]
    goldens: dict[str, Golden]

    def judge(
        self,
        client: Client,
        tolerance: float,
        threads: int,
        verb: str,
        wanted: Callable[[], None] = lambda: None,
    ) -> list[Comparison]:
        """Ask every sample once, and compare.

        Args:
            tolerance: how far a score may lie from its golden, absolute.
            verb: named in the progress on a terminal.
            wanted: called now and then; raises what is to end the asking.

        Raises:
            Unanswered: nothing listens at the client's URL.
        """
        with Progress(verb, len(self.samples)) as progress:

            def tell(done: int) -> None:
                progress(done)
                wanted()

            timed = replies.collect(client, self.samples, threads, tell)
        return compare(self.samples, self.goldens, timed, tolerance)


def load(app: Path) -> Suite:
    """Read an app's samples and goldens.

    Raises:
        Fault: one of the files cannot be read; the line is named.
    """
    return Suite(samples.read(app), golden.read(app))
