"""What is packed: the checkpoint, the handler, the archive; and what it is asked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loop import checkpoint, package, stage
from loop.doctor import weights
from loop.doctor.finding import Finding, failure, ok, warning
from loop.doctor.subject import Subject
from smoke import compare, golden, samples
from smoke.fault import Fault

CLASSIFIER = "ForSequenceClassification"
# What save_pretrained leaves of any tokenizer, and what older ones are made of.
TOKENIZER = ("tokenizer*", "vocab*", "*.model")
SHOWN = 5


def weight_files(subject: Subject) -> Iterator[Finding]:
    """Whether the files of weights are there and whole."""
    found = [each for each in checkpoint.files(subject.app.app) if _has_weights(each)]
    broken = 0
    for each in found:
        try:
            weights.check(each)
        except Fault as fault:
            broken += 1
            yield failure(fault.what, fault.cure)
    for name in _shards(subject.app.app / "torch_model") - {each.name for each in found}:
        broken += 1
        yield failure(f"{name} is not there, and the index names it", weights.CURE)
    if not broken:
        yield ok(", ".join(f"{each.name} {each.stat().st_size / 2**20:.1f} MiB" for each in found))


def _has_weights(file: Path) -> bool:
    return file.suffix in checkpoint.WEIGHTS


def _shards(folder: Path) -> set[str]:
    """The files over which a large model's weights are spread."""
    found: set[str] = set()
    for index in folder.glob("*.index.json"):
        found |= set(_mapping(index).get("weight_map", {}).values())
    return found


def checkpoint_config(subject: Subject) -> Iterator[Finding]:
    """Whether transformers can make a classifier of it, with a name for each class."""
    folder = subject.app.app / "torch_model"
    path = folder / "config.json"
    if not path.exists():
        # A TorchScript file, or a state_dict with its own handler, has none.
        if any(folder.glob("*.safetensors")):
            yield warning(
                f"{path} does not exist: transformers cannot load the weights",
                "save the model with save_pretrained",
            )
        return
    config = _mapping(path)
    architectures = [str(each) for each in config.get("architectures") or ()]
    if not config.get("model_type"):
        yield warning(
            f"{path} has no model_type: transformers does not know what to make of it",
            "save the model with save_pretrained",
        )
    if not any(each.endswith(CLASSIFIER) for each in architectures):
        yield warning(
            f"{path}: {', '.join(architectures) or 'no architecture'} is no …{CLASSIFIER}:"
            " the weights may be without a head",
            "save a model that was trained to classify",
        )
    classes = _classes(config)
    yield ok(f"{config.get('model_type')}, {', '.join(architectures)}, {classes} class(es)")
    if not any(each for pattern in TOKENIZER for each in folder.glob(pattern)):
        yield warning(f"no tokenizer in {folder}", "save it there with save_pretrained")
    yield from _names(folder / "index_to_name.json", classes)


def _classes(config: dict[str, Any]) -> int:
    """As transformers counts them: it writes no labels for two classes without names."""
    return len(config.get("id2label") or ()) or int(config.get("num_labels", 2))


def _names(path: Path, classes: int) -> Iterator[Finding]:
    if path.exists() and set(_mapping(path)) != {str(each) for each in range(classes)}:
        yield failure(
            f"{path} names {', '.join(_mapping(path)) or 'no class'}, and the model has"
            f" {classes} class(es)",
            f"name 0 to {classes - 1}",
        )


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Fault(f"{path}: not JSON ({error})", "mend or save it again") from None
    if not isinstance(found, dict):
        raise Fault(f"{path}: not a JSON object", "mend or save it again")
    return found


def tree(subject: Subject) -> Iterator[Finding]:
    """Whether all that is packed is there, and the handler compiles."""
    packed = subject.packed
    package.check_handler(packed.handler)
    yield ok(f"version {packed.version}: {', '.join(each.name for each in packed.files)}")


def archive(subject: Subject) -> Iterator[Finding]:
    """Whether the archive is whole, and is the tree."""
    app = subject.app
    if not app.archive.exists():
        yield warning(f"{app.archive} is not built yet", "`make redeploy`")
        return
    built = package.built_version(app.archive)
    if built is None:
        yield failure(f"{app.archive} is no whole archive", "`make redeploy` builds it anew")
    elif built == subject.packed.version:
        yield ok(f"{app.archive.name} is {built} = your tree")
    elif subject.server and subject.packed.version in stage.staged(app):
        yield ok(f"{app.archive.name} is {built}; a reload has brought your tree since")
    else:
        changed = package.changed(app, subject.packed, built)
        yield warning(
            f"{app.archive.name} is {built}, {', '.join(changed) or 'the tree'} changed since",
            "`make reload`" if subject.server else "`make redeploy`",
        )


def asked(subject: Subject) -> Iterator[Finding]:
    """Whether the samples and goldens can be read, and are about the same."""
    app = subject.app.app
    texts, goldens = samples.read(app), golden.read(app)
    yield ok(f"{len(texts)} samples, {len(goldens)} goldens")
    if new := [each.id for each in texts if each.id not in goldens]:
        yield warning(
            f"{golden.path(app)}: no golden for {_some(new)}",
            "`make accept` makes the answers the goldens",
        )
    if lost := compare.orphans(texts, goldens):
        yield warning(
            f"{golden.path(app)}: without a sample: {_some(lost)}", "`make accept` drops them"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
