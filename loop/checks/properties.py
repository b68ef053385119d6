"""Whether each line of config.properties counts: TorchServe says nothing of one that does not."""

import difflib
import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path

from loop import gpu, settings
from loop.checks import jar
from loop.checks.classfile import strings
from loop.checks.finding import Finding, ok, warning
from loop.checks.tree import Tree
from loop.settings import Settings
from smoke.fault import Fault

# TorchServe reads its keys in one class; the launcher reads these two.
READER = "org/pytorch/serve/util/ConfigManager.class"
LAUNCHERS = ("plugins_path", "vmargs")
OF_MODEL_CONFIG = {
    "default_response_timeout": "responseTimeout",
    "default_startup_timeout": "startupTimeout",
}


def check(tree: Tree) -> Iterator[Finding]:
    """Whether TorchServe knows each key, and none is beaten by something else."""
    app = tree.settings
    yield ok(f"{app.config}: {app.inference_url}")
    yield from _unknown(app)
    yield from _repeated(app)
    yield from _beaten(app)


def _unknown(app: Settings) -> Iterator[Finding]:
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
    try:
        return frozenset(strings(jar.read(archive(), READER))) | frozenset(LAUNCHERS)
    except (OSError, KeyError, ValueError, struct.error):
        return frozenset()


def archive() -> Path:
    """TorchServe's jar. Raises ImportError if TorchServe is not installed."""
    found = importlib.util.find_spec("ts")
    if found is None or found.origin is None:
        raise ImportError("No module named 'ts'")
    return Path(found.origin).parent / "frontend" / "model-server.jar"


def _repeated(app: Settings) -> Iterator[Finding]:
    """A key with two values is refused as the file is read."""
    first: dict[str, int] = {}
    for line, key, _ in settings.lines(app.config.read_text(encoding="utf-8")):
        if key in first:
            yield warning(
                f"{app.config}:{line}: {key} stands on line {first[key]} already",
                "keep one of the two lines",
            )
        first.setdefault(key, line)


def _beaten(app: Settings) -> Iterator[Finding]:
    yield from _by_model_config(app)
    if "python" in app.properties:
        yield warning(
            f"{app.where('python')}: python does not count: the loop says which runs the workers",
            "remove the line",
        )
    if "number_of_gpu" in app.properties and (asked := gpu.requested()) != "auto":
        yield warning(
            f"{app.where('number_of_gpu')}: number_of_gpu does not count: GPU={asked} beats it",
            "say one of the two",
        )
    if "models" in app.properties:
        yield from _models(app)


def _by_model_config(app: Settings) -> Iterator[Finding]:
    path = app.app / "model-config.yaml"
    if not path.exists():
        return
    from loop import model_config  # Only here, since few apps have the file.

    try:
        found = model_config.read(path)
    except Fault:
        return  # Another check says so.
    beaten = {key: other for key, other in OF_MODEL_CONFIG.items() if key in app.properties}
    least, most = (found.values.get(key) for key in ("minWorkers", "maxWorkers"))
    if "default_workers_per_model" in app.properties and least and most:
        beaten["default_workers_per_model"] = "minWorkers"
    for key, other in beaten.items():
        says = f"{other} in {found.where(other)}" if other in found.lines else f"{path}, as 120 s,"
        yield warning(f"{app.where(key)}: {key} does not count: {says} beats it", "remove the line")


def _models(app: Settings) -> Iterator[Finding]:
    """TorchServe takes what stands under a model's version, which here is a content hash."""
    where = app.where("models")
    cure = "write its settings into model-config.yaml"
    try:
        listed = json.loads(app.properties["models"])
    except ValueError as error:
        yield warning(f"{where}: models is no JSON ({error}), and TorchServe ignores it", cure)
        return
    own = listed.get(app.name) if isinstance(listed, dict) else None
    versions = ", ".join(own) if isinstance(own, dict) else "another model"
    yield warning(
        f"{where}: models does not count: it is about {versions}, and a version of {app.name} is"
        " named by its content",
        cure,
    )
