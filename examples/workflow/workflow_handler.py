"""What comes before and after the models of the workflow: functions that workflow_spec.yaml names.

Each is called as a handler's `handle` is, with a list of one request; and once with None when it is
loaded. `text` gets what the client sent, `answer` what each node before it in the DAG has returned,
by the node's name, as bytes.
"""

import json
import time
from typing import Any

# On a busy machine, TorchServe 0.12 loses some answers that come within a millisecond or two, as if
# it did not listen yet, and asks again after `timeout-ms`.
LISTENING_SECONDS = 0.01

# `sentiment` was trained on short lines, `reviews` on whole reviews.
SHORT_WORDS = 15
OPINIONS = {
    "1 star": "negative",
    "2 stars": "negative",
    "3 stars": "mixed",
    "4 stars": "positive",
    "5 stars": "positive",
}


def text(data: list[dict[str, Any]] | None, context: Any) -> list[str] | None:
    """The text of a request: text/plain, an uploaded file, or {"text": …}."""
    if data is None:
        return None
    body = data[0].get("body", data[0].get("data"))
    if isinstance(body, bytes | bytearray):
        body = body.decode()
    found = body.get("text") if isinstance(body, dict) else body
    if not isinstance(found, str):
        raise ValueError('send a text: text/plain, or {"text": "…"} as application/json')
    time.sleep(LISTENING_SECONDS)
    return [found]


def answer(data: list[dict[str, Any]] | None, context: Any) -> list[dict[str, Any]] | None:
    """What the model for texts of this length says, in the same words for both."""
    if data is None:
        return None
    short = len(data[0]["text"].decode().split()) <= SHORT_WORDS
    said = json.loads(data[0]["sentiment" if short else "reviews"])
    time.sleep(LISTENING_SECONDS)
    context.set_response_content_type(0, "application/json")
    return [{"label": OPINIONS.get(said["label"], said["label"]), "score": said["score"]}]
