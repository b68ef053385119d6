"""What the running server counts and measures, one row per version of the model.

The counts are those that the handler gives to TorchServe's metrics and that the metrics address
tells Prometheus; `loop.frontend` has the times, and the management API the workers.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import requests
from prometheus_client.parser import text_string_to_metric_families

from loop import frontend, server, settings
from loop.frontend import Times
from loop.management import SECONDS, Management, memory
from loop.settings import Settings
from smoke import terminal
from smoke.fault import Fault, Unanswered, run
from smoke.tally import quantile

SHARES = (0.5, 0.95, 0.99)
TIMES = {"p50": 5, "p95": 5, "p99": 5}
WIDTHS = (8, 8, 5, 5, 6, *TIMES.values(), *TIMES.values(), 6, 6, 6)
NAMES = ("version", "requests", "4xx", "5xx", "req/s", *TIMES, *TIMES, "/req", "batch", "MiB")
GROUPS = f"{'errors':>26}{'queue ms':>18}{'handler ms':>16}{'tokens':>8}{'mean':>6}"
UNKNOWN = "-"


@dataclass
class Counts:
    """What one version's handler has counted since the server began.

    Attributes:
        statuses: requests by the class of their answer: 2XX, 4XX, 5XX.
        tokens: of all texts, without padding.
        batches: how many times the handler was called.
    """

    statuses: dict[str, float] = field(default_factory=dict)
    tokens: float = 0
    batches: float = 0

    @property
    def requests(self) -> float:
        return sum(self.statuses.values())


@dataclass(frozen=True)
class Exposition:
    """What the metrics address tells.

    Attributes:
        versions: what the handlers of the model have counted.
        answers: of the whole server, by class: predictions, management and metrics alike.
    """

    versions: dict[str, Counts]
    answers: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One version as it stands now; `counts` is None if its handler has counted nothing."""

    version: str
    live: bool
    memory: int
    times: Times
    counts: Counts | None


@dataclass(frozen=True)
class Look:
    """All that is to be shown, and when and of which server it was found."""

    time: float
    pid: int
    rows: Sequence[Row]
    answers: dict[str, float]


def main() -> int:
    """Print the metrics once; on a terminal, again and again in the same place."""
    parser = argparse.ArgumentParser("bin/metrics.sh", description=__doc__)
    parser.add_argument("--once", action="store_true", help="print them once, and end")
    parser.add_argument("--every", type=_seconds, default=2.0, help="seconds between two looks")
    given = parser.parse_args()
    app = settings.read_model(os.environ["APP"])
    look = look_at(app)
    if given.once or not terminal.can_redraw(sys.stdout):
        print("\n".join(table(look, None)))
    else:
        follow(app, look, given.every)
    return 0


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= (seconds := float(text)) <= 3600:
            return seconds
    raise argparse.ArgumentTypeError(f"{text} is no number of seconds from 0.1 to 3600")


def follow(app: Settings, look: Look, every: float) -> None:
    """Show what there is, in the same place, until Ctrl-C; also while the server restarts."""
    lines = table(look, None)
    before, height = look, 0
    while True:
        columns = terminal.width()
        print(terminal.up(height) + "\n".join(terminal.fit(each, columns) for each in lines))
        height = len(lines)
        time.sleep(every)
        try:
            look = look_at(app)
            lines, before = table(look, before), look
        except Fault as fault:
            # TorchServe's own words may be several lines; the height counts one.
            lines = [*table(before, None), " ".join(f"metrics: {fault}".split())]


def look_at(app: Settings) -> Look:
    """Ask the app's server.

    Raises:
        Unanswered: it is not running.
        Fault: it keeps no such metrics.
    """
    process = server.find(app)
    if process is None:
        raise Unanswered("the server is not running", "start it with `make redeploy`")
    started = settings.as_started(app)
    refuse_other_modes(app, started)
    management = Management(started)
    exposed = read(scrape(started), app.name)
    times = frontend.times(app)
    live = management.live()
    rows = [
        Row(
            version=(version := str(each["modelVersion"])),
            live=version == live,
            memory=sum(memory(worker) for worker in each.get("workers", [])),
            times=times.get(version, Times()),
            counts=exposed.versions.get(version),
        )
        for each in management.versions()
    ]
    rows.sort(key=lambda row: (not row.live, row.version))
    return Look(time.monotonic(), process.pid, rows, exposed.answers)


def refuse_other_modes(app: Settings, started: Settings) -> None:
    """Raise Fault if the server was started to keep its metrics from the metrics address."""
    mode = started.properties.get("metrics_mode", "log").strip()
    if mode.lower() != "prometheus":
        _refuse(app, "metrics_mode", mode, "write metrics_mode=prometheus, or remove the line")
    if not started.flag("enable_metrics_api", default=True):
        _refuse(app, "enable_metrics_api", "false", "remove the line")


def _refuse(app: Settings, key: str, value: str, cure: str) -> NoReturn:
    if key not in app.properties:
        raise Fault(f"the server was started with {key}={value}", "`make stop redeploy`")
    raise Fault(
        f"{app.where(key)}: {key}={value} keeps them from the metrics address",
        f"{cure}, and `make redeploy`",
    )


def scrape(app: Settings) -> str:
    """What the metrics address of a running server says. It asks for no token."""
    url = f"{app.addresses[2].url}/metrics"
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.get(url, timeout=SECONDS)
        except requests.RequestException:
            raise Unanswered(f"nothing answers at {url}", "see `make status`") from None
    if response.status_code != 200:
        raise Fault(f"{url} answers {response.status_code}", "see `make logs`")
    return response.text


def read(text: str, model: str) -> Exposition:
    """What a text in Prometheus' format says of a model. Raises Fault if that breaks off."""
    versions: dict[str, Counts] = {}
    answers: dict[str, float] = {}
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise Fault(f"the metrics address tells no metrics: {error}", "ask again") from error
    for family in families:
        for name, labels, value, *_ in family.samples:
            if name.startswith("Requests"):
                # The parser gives counters the ending that they should have.
                answers[name.removeprefix("Requests").removesuffix("_total")] = value
            if labels.get("ModelName") != model or "ModelVersion" not in labels:
                continue
            counts = versions.setdefault(labels["ModelVersion"], Counts())
            match name:
                case "handler_requests_total":
                    counts.statuses[labels["Status"]] = value
                case "handler_tokens_total":
                    counts.tokens = value
                case "handler_seconds_count":
                    counts.batches = value
    return Exposition(versions, answers)


def table(look: Look, before: Look | None) -> list[str]:
    """The lines to show; with rates if there is a look before, of the same server."""
    known = before if before and before.pid == look.pid else None
    lines = [GROUPS, _line(NAMES)]
    lines += [_line(cells(row, rate(row, look, known))) for row in look.rows]
    recent = sum(len(row.times.queue) for row in look.rows)
    counts = [f"{count:.0f} {name.lower()}" for name, count in sorted(look.answers.items())]
    answers = " · ".join(counts)
    lines.append(f"* live · times: the last {recent} requests · server, all APIs: {answers}")
    if any(row.counts is None and row.times.queue for row in look.rows):
        lines.append(f"{UNKNOWN} the handler does not count: see docs/metrics.md")
    return lines


def rate(row: Row, look: Look, before: Look | None) -> float | None:
    """Requests per second since the look before; None if that is not known."""
    earlier = {each.version: each.counts for each in before.rows} if before else {}
    if before is None or row.version not in earlier or row.counts is None:
        return None
    counted = row.counts.requests - (earlier[row.version] or Counts()).requests
    # A registry that began anew has less.
    return counted / (look.time - before.time) if counted >= 0 else None


def cells(row: Row, rate: float | None) -> list[str]:
    """A row's cells in the order of the columns."""
    counts = row.counts
    name = terminal.fit(terminal.escape(row.version), WIDTHS[0] - 1) + "*" * row.live
    counted = [UNKNOWN] * 3
    means = [UNKNOWN] * 2
    if counts is not None:
        errors = [counts.statuses.get(each, 0) for each in ("4XX", "5XX")]
        counted = [f"{counts.requests:.0f}", *(short(each, 0) for each in errors)]
        means = [
            _ratio(counts.tokens, counts.requests),
            _ratio(counts.requests, counts.batches),
        ]
    return [
        name,
        *counted,
        UNKNOWN if rate is None else short(rate),
        *quantiles(row.times.queue),
        *quantiles(row.times.handler),
        *means,
        short(row.memory / 2**20, 0) if row.memory else UNKNOWN,
    ]


def quantiles(times: Iterable[float]) -> list[str]:
    """p50, p95 and p99."""
    ordered = sorted(times)
    return [short(quantile(ordered, share)) if ordered else UNKNOWN for share in SHARES]


def _ratio(value: float, of: float) -> str:
    return short(value / of) if of else UNKNOWN


def short(value: float, digits: int = 2) -> str:
    """A number in four characters: with these digits after the point if they fit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 9.9995 * size:
            return f"{value / size:.0f}{unit}"
    return f"{value:.{digits}f}"[:4].rstrip(".")


def _line(cells: Sequence[str]) -> str:
    first, *others = (each.rjust(width) for each, width in zip(cells, WIDTHS, strict=True))
    return first.strip().ljust(WIDTHS[0]) + "".join(others)


if __name__ == "__main__":
    run("metrics", main)
