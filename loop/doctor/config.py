"""config.properties and model-config.yaml."""

import difflib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from loop import launch
from loop.doctor.classfile import strings
from loop.doctor.finding import Finding, failure, ok, warning
from loop.doctor.subject import Subject
from loop.settings import Settings

# TorchServe reads its keys in one class; the launcher reads these two.
READER = "org/pytorch/serve/util/ConfigManager.class"
LAUNCHERS = ("plugins_path", "vmargs")
# Each that is missing is 120 s, over whatever config.properties says.
TIMEOUTS = ("responseTimeout", "startupTimeout")


def config(subject: Subject) -> Iterator[Finding]:
    """Whether it names a model and addresses, in keys that TorchServe knows."""
    app = subject.app
    yield ok(f"{app.config}: {app.inference_url}")
    yield from _unknown_keys(app)


def _unknown_keys(app: Settings) -> Iterator[Finding]:
    known = known_keys()
    # A plugin may have keys of its own.
    if not known or "plugins_path" in app.properties:
        return
    for key in app.properties.keys() - known:
        near = difflib.get_close_matches(key, known, n=1)
        yield warning(
            f"{app.where(key)}: TorchServe knows no {key}, and ignores it",
            f"write {near[0]}" if near else "remove the line",
        )


def known_keys() -> frozenset[str]:
    """All that TorchServe may read in config.properties; empty if that cannot be found out.

    They are among the constants of the class that reads it, with some words that are no keys.
    """
    import ts

    jar = Path(ts.__file__).parent / "frontend" / "model-server.jar"
    try:
        with zipfile.ZipFile(jar) as opened:
            return frozenset(strings(opened.read(READER))) | frozenset(LAUNCHERS)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return frozenset()


def access(subject: Subject) -> Iterator[Finding]:
    """Who can reach the server, and whether it asks for a token."""
    app = subject.app
    launch.refuse_open_server(app)
    beyond = [each.url for each in app.addresses if not each.is_loopback]
    reach = f"open to the network: {', '.join(beyond)}" if beyond else "loopback only"
    if app.tokens:
        yield ok(f"tokens on, {reach}")
    else:
        yield warning(
            f"{app.where('disable_token_authorization')}: every user of this machine, and every"
            " page in your browser, can send requests to the server",
            "remove disable_token_authorization",
        )


def model_config(subject: Subject) -> Iterator[Finding]:
    """Whether it can be read, and sets the time-outs that it would set silently otherwise."""
    app = subject.app
    path = app.app / "model-config.yaml"
    if not path.exists():
        yield ok("there is none: config.properties alone counts")
        return
    workers = app.workers
    import yaml  # Only here, since few apps have the file.

    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        yield failure(f"{path}: not a mapping", "write one `key: value` a line")
        return
    yield ok(f"{workers} worker(s)")
    if missing := [key for key in TIMEOUTS if key not in found]:
        yield warning(
            f"{path}: without {' and '.join(missing)}, TorchServe takes 120 s for it, whatever"
            f" {app.config.name} says",
            f"write {' and '.join(f'{key}: SECONDS' for key in missing)}",
        )
