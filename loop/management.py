"""TorchServe's management API, with the app's token."""

import json
from typing import Any

import requests

from loop.settings import Settings
from smoke.fault import Fault, Unanswered

SECONDS = 10.0


def token(app: Settings, kind: str) -> str | None:
    """The running server's token; None if it asks for none.

    Args:
        kind: "inference" or "management".

    Raises:
        Unanswered: the server has left no key file, so it is not running.
    """
    if not app.tokens:
        return None
    try:
        keys = json.loads(app.key_file.read_text(encoding="utf-8"))
        return str(keys[kind]["key"])
    except (OSError, ValueError, KeyError):
        raise Unanswered("there is no token", "start the server with `make redeploy`") from None


def header(app: Settings, kind: str) -> dict[str, str]:
    """The header that carries the token."""
    key = token(app, kind)
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def versions(app: Settings) -> list[dict[str, Any]]:
    """All versions of the app's model, as TorchServe describes them.

    Raises:
        Unanswered: the server does not answer.
        Fault: it refuses.
    """
    url = f"{app.addresses[1].url}/models/{app.name}/all"
    try:
        session = requests.Session()
        session.trust_env = False  # Neither a proxy nor a .netrc has a say on our own server.
        response = session.get(url, headers=header(app, "management"), timeout=SECONDS)
    except requests.RequestException as error:
        raise Unanswered(f"{url} does not answer ({error})", "see `make logs`") from None
    if response.status_code != 200:
        raise Fault(f"{url} answers {response.status_code}: {response.text}", "see `make logs`")
    described = response.json()
    return described if isinstance(described, list) else [described]
