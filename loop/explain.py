"""What `predict` and `smoke` cannot know of their failures: they know a URL, and nothing behind it.

bin/predict.sh and bin/smoke.sh print it after them, where the model is the app's own.
"""

import json
import os
import re
import sys

from loop import failures, server, server_log, settings
from loop.settings import Settings
from smoke.client import Failure
from smoke.fault import run

REPLY = re.compile(
    r"^predict: (?:(?P<status>\d{3}) )?(?P<message>.*?)(?: \(x-request-id (?P<id>\S+)\))?$",
    re.MULTILINE | re.DOTALL,
)


def main() -> int:
    """`python -m loop.explain server|samples|reply SINCE [WHAT PREDICT SAID]`."""
    what, since, *said = sys.argv[1:]
    app = settings.as_started(settings.read(os.environ["APP"]))
    if what == "server":
        told = of_server(app)
    elif what == "samples":
        told = of_samples(app, float(since))
    else:
        told = of_reply(app, said[0], float(since))
    if told:
        print(told)
    return 0


def of_server(app: Settings) -> str:
    """Why the app's server does not answer, if it should."""
    record = server.recorded(app)
    if record is None or server.find(app) is not None:
        return ""
    why = server_log.last_error(app) or "it was killed: it says nothing of its end"
    return f"the server, pid {record.pid}, ended without `make stop`: {why}"


def of_samples(app: Settings, since: float) -> str:
    """Why samples of the last run were not answered, grouped by cause."""
    results = (app.run / "smoke" / "results.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(each) for each in results if each]
    failed = {row["id"]: Failure(**row["failure"]) for row in rows if "failure" in row}
    return failures.by_cause(app, failed, since)


def of_reply(app: Settings, said: str, since: float) -> str:
    """Why a request was not answered, of which `predict` has said what came back."""
    match = REPLY.search(said)
    if match is None:
        return ""
    status = int(match["status"]) if match["status"] else None
    reply = Failure(match["message"], status, match["id"])
    found = failures.of_replies(app, [reply], since)[reply]
    # What was said already need not be said again.
    return found.cure and f"cure: {found.cure}" if found.what == reply.words else str(found)


if __name__ == "__main__":
    run("explain", main)
