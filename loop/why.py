"""Why a request failed: its cause, the line of the handler, and what the worker printed.

For a request by its id, for the last that failed, or for all samples that the last run of the
samples got no answer to, grouped by cause.
"""

import json
import os
import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter

from loop import cause, settings
from loop.cause import Failure
from loop.settings import Settings
from smoke import report
from smoke.fault import Fault, run

SHOWN_IDS = 8


def main() -> int:
    """Print why."""
    parser = ArgumentParser(
        "bin/why.sh", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("request", nargs="?", help="the x-request-id; without it, the last failure")
    parser.add_argument("--brief", action="store_true", help="the cause and the line alone")
    parser.add_argument("--smoke", action="store_true", help="of the last run of the samples")
    given = parser.parse_args()
    app = settings.read(os.environ["APP"])
    if given.smoke:
        print_causes(app)
        return 0
    failure = find(app, given.request)
    print(str(failure) if given.brief else in_full(app, failure))
    return 0


def find(app: Settings, request: str | None) -> Failure:
    """The failure of a request, or the last one.

    Raises:
        Fault: the log has none.
    """
    failures = cause.failures(app)
    if request is not None:
        failures = [each for each in failures if request in each.requests]
    if not failures:
        what = f"the failure of request {request}" if request else "a failed request"
        raise Fault(f"the workers' log does not tell of {what}", "see `make logs`")
    return failures[-1]


def in_full(app: Settings, failure: Failure) -> str:
    """All that is known of a failure, the cause first."""
    version = re.sub(r"^W-\d+-" + re.escape(app.name) + "_", "", failure.worker)
    others = len(failure.requests) - 1
    batch = f" and {others} more in its batch" if others > 0 else ""
    lines = [
        str(failure),
        "",
        f"request  {failure.requests[0] if failure.requests else 'unknown'}{batch}",
        f"version  {version}",
        f"worker   {failure.worker.split('-')[1]}",
        *(f"input    {each}" for each in cause.inputs(app, failure.requests)),
        "",
        *failure.messages,
    ]
    return "\n".join(lines)


def print_causes(app: Settings) -> None:
    """Print the causes of the samples that failed in the last run, each with its samples."""
    results = (app.run / "smoke" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(each) for each in results]
    failed = {row["failure"]["request_id"]: row["id"] for row in rows if "failure" in row}
    causes: dict[str, list[str]] = {}
    for failure in cause.failures(app):
        ids = [failed[request] for request in failure.requests if request in failed]
        if ids:
            causes.setdefault(str(failure), []).extend(ids)
    for text, ids in causes.items():
        print(f"{text}\n  samples: {report.some(ids, SHOWN_IDS)}")


if __name__ == "__main__":
    run("why", main)
