"""An app's `adapter/`: what was learnt, and how well."""

import hashlib
import json
from pathlib import Path
from typing import Any

from smoke.fault import Fault

CURE = "run make train"


def folder(app: Path) -> Path:
    """Where an app's adapter lies."""
    return app / "adapter"


def digest(app: Path) -> str:
    """SHA-256 over the adapter's files.

    Raises:
        Fault: there is no adapter.
    """
    files = ("adapter_config.json", "adapter_model.safetensors", "metrics.json")
    contents = [hashlib.sha256(_read(app, file)).digest() for file in files]
    return hashlib.sha256(b"".join(contents)).hexdigest()


def metrics(app: Path) -> dict[str, Any]:
    """What was kept about the training: labels, scores, data, backbone.

    Raises:
        Fault: there is no adapter, or its metrics are broken.
    """
    return _json(app, "metrics.json")


def backbone(app: Path) -> str:
    """The name of the backbone that the adapter belongs to.

    Raises:
        Fault: there is no adapter, or its configuration is broken.
    """
    name: str = _json(app, "adapter_config.json")["base_model_name_or_path"]
    return name


def _json(app: Path, file: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(_read(app, file))
    except ValueError as error:
        raise Fault(f"{folder(app) / file}: not JSON: {error}", CURE) from error
    return content


def _read(app: Path, file: str) -> bytes:
    path = folder(app) / file
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}", CURE) from error
