"""What `predict` and `smoke` cannot know of their failures: they know a URL, and nothing behind it.

bin/predict.sh and bin/smoke.sh print it after them.
"""

import os
import sys
from pathlib import Path

from loop import cause, failures, server, server_log, settings
from loop.settings import Settings
from smoke import unanswered
from smoke.fault import run
from smoke.unanswered import ALONE, Unanswered


def main() -> int:
    """`python -m loop.explain FILE`, or, of no server at all, `python -m loop.explain`."""
    app = settings.as_started(settings.read(os.environ["APP"]))
    if len(sys.argv) == 1:
        told = of_server(app)
    else:
        word = unanswered.read(Path(sys.argv[1]))
        told = of_requests(app, word) if word else ""
    if told:
        print(told)
    return 0


def of_server(app: Settings) -> str:
    """Why the app's server does not answer, if it should."""
    record = server.recorded(app)
    if record is None or server.find(app) is not None:
        return ""
    why = server_log.how_it_ended(app)
    return f"the server, pid {record.pid}, ended without `make stop`: {why}"


def of_requests(app: Settings, word: Unanswered) -> str:
    """Why requests were not answered, samples grouped by cause."""
    ours = word.url == app.inference_url or word.url.startswith(f"{app.inference_url}/")
    if ALONE not in word.failed:
        return failures.by_cause(app, word.failed, word.since, word.times) if ours else ""
    reply = word.failed[ALONE]
    found = cause.named(reply.words)
    if ours:
        found = failures.of_replies(app, [reply], word.since)[reply]
    # What was said already need not be said again.
    return found.cure and f"cure: {found.cure}" if found.what == reply.words else str(found)


if __name__ == "__main__":
    run("explain", main)
