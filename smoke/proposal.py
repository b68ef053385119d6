"""What the last run would have as goldens, `APP/smoke/golden.jsonl.new`: beside the truth.

A file of goldens that holds no more than what is to be decided. `review` empties it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smoke import atomic, golden, jsonl
from smoke.compare import Comparison, Verdict
from smoke.golden import MADE_WITH, Golden

PROPOSED = (Verdict.CHANGED, Verdict.DRIFTED, Verdict.NEW)


def path(app: Path) -> Path:
    """Where the proposal for an app lies."""
    return golden.path(app).with_name(f"{golden.path(app).name}.new")


class Proposal:
    """The answers of a run that are not their goldens.

    They wait in a file without a name, so that a run which is cut short leaves the last proposal.
    """

    def __init__(self) -> None:
        self._rows = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this does
        self.size = 0

    def add(self, comparison: Comparison) -> None:
        """Add what became of a sample, if that can be proposed."""
        if comparison.verdict in PROPOSED:
            self._rows.write(jsonl.encode(asdict(comparison.accepted())))
            self.size += 1

    def leave(self, app: Path, made_with: Mapping[str, Any]) -> None:
        """Put it beside the goldens, in place of the last one; nothing, if it is empty.

        Raises:
            Fault: it cannot be written.
        """
        if not self.size:
            path(app).unlink(missing_ok=True)
            return
        with self._rows as rows, atomic.writing(path(app)) as file:
            if made_with:
                file.write(jsonl.encode({MADE_WITH: dict(made_with)}))
            rows.seek(0)
            shutil.copyfileobj(rows, file)


def stream(app: Path) -> Iterator[Golden]:
    """What is proposed, in the order of asking; nothing if there is no file.

    Raises:
        Fault: a line is not a golden; the line is named.
    """
    rows = (line.row for line in golden.lines(path(app)))
    return (Golden(**row) for row in rows if row is not None)


def keep(app: Path, is_open: Callable[[str], bool]) -> None:
    """Keep what is to be decided still, by id; a file of nothing is removed.

    Raises:
        Fault: it cannot be written.
    """
    if not any(is_open(each.id) for each in stream(app)):
        path(app).unlink(missing_ok=True)
        return
    with atomic.writing(path(app)) as file:
        for line in golden.lines(path(app)):
            if line.row is None or is_open(line.row["id"]):
                file.write(jsonl.ended(line.raw))
