"""Where to send a text: the URL of a model, and the token that it asks for."""

import contextlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from smoke.fault import Fault, Unanswered

FORM = "http://HOST:PORT/predictions/NAME"
KSERVE_FORM = "http://HOST/v1/models/NAME:predict"
MODEL_PATH = re.compile(
    r"(/.*)?/(predictions/[^/]+(?P<version>/[^/]+)?|(?P<workflow>wfpredict)/[^/]+)"
)
KSERVE_PATH = re.compile(r"(/.*)?/v1/models/[^/]+:predict")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model to ask.

    Attributes:
        url: the model's.
        token: what to send, if anything.
        made_with: what serves it, as far as it is known: version, device, dtype, packages, batch.
    """

    url: str
    token: str | None
    made_with: dict[str, Any] = field(default_factory=dict)


def find(app: Path, url: str | None, token: str | None, version: str | None) -> Endpoint:
    """The endpoint at `url`; without one, that of the server started for `app`.

    The server's own key goes to that server only, never to a `url` that was given.

    Args:
        token: sent instead of the server's own key.
        version: asks this version of the model instead of its default.

    Raises:
        Unanswered: no `url`, and no server has been started for `app`.
        Fault: `url` does not name a model, or a file that the server left cannot be read.
    """
    made_with = {}
    if url is None:
        started = _started(app)
        url, key_file = started.get("url"), started.get("key_file")
        if token is None and key_file is not None:
            token = _key(Path(key_file))
        made_with = _served_with(app, version or started.get("version"))
    return Endpoint(_model_url(str(url), version), token, made_with)


def _served_with(app: Path, version: str | None) -> dict[str, Any]:
    """What a worker has left on how it serves a version; of one that was not forked, nothing."""
    with contextlib.suppress(Fault):
        return _object(app / ".run" / "served" / f"{version}.json")
    return {} if version is None else {"version": version}


def speaks_kserve(url: str) -> bool:
    """Whether a model's URL is one of KServe's protocol: instances in, predictions out."""
    return KSERVE_PATH.fullmatch(urlsplit(url).path) is not None


def _started(app: Path) -> dict[str, Any]:
    path = app / ".run" / "endpoint.json"
    if not path.exists():
        raise Unanswered(
            f"no server is running for this app ({app.absolute()})",
            "start it with `make redeploy`, or name another with URL=",
        )
    return _object(path)


def _key(path: Path) -> str:
    """The inference key in TorchServe's key file, as it stands now: it changes while serving."""
    try:
        return str(_object(path)["inference"]["key"])
    except (KeyError, TypeError):
        raise Fault(
            f"{path}: no inference key in it", "restart the server with `make redeploy`"
        ) from None


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Fault(
            f"{path}: cannot be read ({error})", "restart the server with `make redeploy`"
        ) from error
    if not isinstance(content, dict):
        raise Fault(f"{path}: not a JSON object", "restart the server with `make redeploy`")
    return content


def _model_url(url: str, version: str | None) -> str:
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Fault(f"URL {url}: {error}", f"write {FORM}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Fault(f"URL {url}: does not begin with http://HOST", f"write {FORM}")
    if parts.query or parts.fragment:
        raise Fault(f"URL {url}: ends in a query", f"write {FORM}")
    kserve = speaks_kserve(url)
    if kserve and version is not None:
        raise Fault(f"URL {url}: KServe's protocol knows no versions", f"drop {version}")
    match = MODEL_PATH.fullmatch(parts.path)
    if match is None and not kserve:
        forms = f"write {FORM} or {KSERVE_FORM}"
        raise Fault(f"URL {url}: does not say which model to ask", forms)
    if match is None or version is None:
        return url
    if match["workflow"]:
        raise Fault(f"URL {url}: a workflow has no versions", f"drop the version {version}")
    if match["version"]:
        raise Fault(f"URL {url}: names a version already", f"drop it, or the version {version}")
    return f"{url}/{quote(version, safe='')}"
