"""Whether the files of the checkpoint are there and whole, and about the same model."""

import re
from collections.abc import Iterator
from typing import Any

from loop import checkpoint
from loop.checks import tree as trees
from loop.checks import weights
from loop.checks.finding import Finding, failure, ok, warning
from loop.checks.loading import CLASSIFIER
from loop.checks.tree import ADAPTER, Tree
from loop.checks.weights import CURE
from smoke.fault import Fault

SAVE = "save the model with save_pretrained"
# The last layer of transformers' classifiers, with a row for each class.
HEAD = re.compile(
    r"(classifier(\.out_proj|\.linear_out)?|score|classification_head\.out_proj|logits_proj)\.weight"
)
# Any layer that may be part of some classifier's head.
HEADLIKE = re.compile(r"classif|score|logits|summary|(^|\.)head")
# Some of these are in any tokenizer's folder, but in none of a tokenizer that reads bytes.
TOKENIZER = (
    *("tokenizer.json", "vocab*", "*.model", "merges*", "*.tiktoken", "*.codes", "tekken*"),
    *("spm*", "dict*", "source*", "*.vocab"),
)
OF_BYTES = re.compile("byt5|canine|perceiver", re.IGNORECASE)
# What transformers looks for, in this order.
PREFERRED = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
TOKENIZER_CONFIG = "tokenizer_config.json"
NAMES = "index_to_name.json"


def whole(tree: Tree) -> Iterator[Finding]:
    """Whether the files of weights are there and whole; of those not loaded, it is a warning."""
    found = [each for each in tree.files.values() if each.suffix in checkpoint.WEIGHTS]
    loaded = _loaded(tree, {each.name for each in found})
    faults = []
    for each in found:
        try:
            weights.check(each)
        except Fault as fault:
            told = failure if each.name in loaded else warning
            faults.append(told(fault.what, fault.cure))
    for name in sorted(loaded - tree.files.keys()):
        faults.append(failure(f"{tree.folder / name} is not there, its index names it", CURE))
    sizes = (f"{each.name} {each.stat().st_size / 2**20:.1f} MiB" for each in found)
    yield from faults or [ok(", ".join(sizes))]


def _loaded(tree: Tree, found: set[str]) -> set[str]:
    """The files that are sure to be loaded: those that transformers prefers, or the only one."""
    if not tree.loads.model or ADAPTER in tree.files:
        return found if len(found) == 1 else set()
    for name in PREFERRED:
        if name in tree.files:
            path = tree.files[name]
            return trees.shards(path) if path.suffix == ".json" else {name}
    return set()


def complete(tree: Tree) -> Iterator[Finding]:
    """Whether all that transformers needs is there, as far as the handler uses it."""
    yield from _config(tree)
    yield from _tokenizer(tree)


def _config(tree: Tree) -> Iterator[Finding]:
    path = tree.folder / "config.json"
    if ADAPTER in tree.files:
        return  # It names its base model, whose config counts.
    if path.name not in tree.files:
        # A TorchScript file, or a state_dict with its own handler, has none.
        what = f"{path} does not exist: transformers cannot load the weights"
        if tree.loads.model:
            yield failure(what, SAVE)
        elif tree.loads.pretrained and any(each.endswith(".safetensors") for each in tree.files):
            yield warning(what, SAVE)
        return
    if not tree.config.get("model_type"):
        what = f"{path} has no model_type: transformers does not know what to make of it"
        # Some old names of models are found in the folder's own.
        yield warning(what, SAVE)
    kinds = f"{tree.config.get('model_type')}, {', '.join(tree.architectures)}"
    yield ok(f"{kinds}, {classes(tree.config)} class(es)")


def _tokenizer(tree: Tree) -> Iterator[Finding]:
    if not tree.config or any(
        each for pattern in TOKENIZER for each in tree.folder.glob(pattern) if each.is_file()
    ):
        return
    of = str(tree.config.get("model_type", ""))
    if TOKENIZER_CONFIG in tree.files:
        own = trees.mapping(tree.files[TOKENIZER_CONFIG])
        of = "" if "auto_map" in own else f"{of} {own.get('tokenizer_class')}"
    what = f"no tokenizer in {tree.folder}"
    cure = "save it there with save_pretrained"
    if OF_BYTES.search(of):
        return
    if tree.loads.tokenizer and of:
        yield failure(f"{what}: transformers would make an empty one, which knows no word", cure)
    elif tree.loads.pretrained:
        yield warning(what, cure)


def agreed(tree: Tree) -> Iterator[Finding]:
    """Whether config.json, the labels and the head of the weights are about the same classes."""
    if tree.config:
        yield from _head(tree)
        yield from _labels(tree)
    if NAMES in tree.files:
        yield from _names(tree)


def _head(tree: Tree) -> Iterator[Finding]:
    path = tree.files["config.json"]
    if any(each.endswith(CLASSIFIER) for each in tree.architectures):
        return
    where = tree.line(path, "architectures")
    what = f"{where}: {', '.join(tree.architectures) or 'no architecture'} is no …{CLASSIFIER}"
    cure = "save a model that was trained to classify"
    headless = tree.shapes and not any(HEADLIKE.search(each) for each in tree.shapes)
    if headless and tree.loads.classifier and tree.is_plain:
        yield failure(
            f"{what}, and the weights have no head to classify with: answers would be noise", cure
        )
    elif tree.loads.classifies:
        yield warning(f"{what}: the weights may be without a head", cure)


def _labels(tree: Tree) -> Iterator[Finding]:
    if not any(each.endswith(CLASSIFIER) for each in tree.architectures) or not tree.is_plain:
        return
    heads = [each for each in tree.shapes if HEAD.fullmatch(each)]
    number = classes(tree.config)
    if len(heads) != 1 or tree.shapes[heads[0]][0] == number:
        return
    key = "num_labels" if "num_labels" in tree.config else "id2label"
    told = failure if tree.loads.classifier else warning
    yield told(
        f"{tree.line(tree.files['config.json'], key)}: {number} class(es), and {heads[0]} in the"
        f" weights has {tree.shapes[heads[0]][0]}",
        f"write {tree.shapes[heads[0]][0]} labels there, or take the config.json that the weights"
        " were saved with",
    )


def classes(config: dict[str, Any]) -> int:
    """As transformers counts them: it writes no labels for two classes without names."""
    number, labels = config.get("num_labels"), config.get("id2label")
    if isinstance(number, int):
        return number
    return len(labels) if isinstance(labels, dict) and labels else 2


def _names(tree: Tree) -> Iterator[Finding]:
    """TorchServe's own handlers take names in a list too, and names for some classes only."""
    path = tree.files[NAMES]
    names, number = trees.json_of(path), classes(tree.config)
    # A handler may read names in another form than the usual.
    usual = isinstance(names, dict) and all(each.isdecimal() for each in names)
    if not tree.config or not usual:
        return
    if set(names) != {str(each) for each in range(number)}:
        told = failure if tree.loads.names and tree.loads.classifier else warning
        yield told(
            f"{path} names {_some(names)}, and the model has {number} class(es)",
            f"name 0 to {number - 1}",
        )


def _some(names: dict[str, Any]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return (", ".join(listed[:5]) + more) or "no class"
