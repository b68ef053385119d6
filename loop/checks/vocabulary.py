"""Whether the model has an embedding for each token of its tokenizer.

A token beyond the last row is an index out of range, and only in a text that has it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from loop.checks import tree as trees
from loop.checks.finding import Finding, failure, ok, warning
from loop.checks.loading import CLASSIFIER
from loop.checks.tree import Tree

# Of the embeddings: another model has as many more, an added token or three are less.
FEW = 0.01
CURE = "save the tokenizer that the model was trained with, with save_pretrained"
# The embedding of the tokens in transformers' models of text.
EMBEDDING = re.compile(
    r"(.*\.)?(word_embeddings?|wte|embed_tokens|shared|tok_embeddings|embed_in)\.weight"
)


@dataclass(frozen=True)
class Vocabulary:
    """The highest ids of a tokenizer.

    Attributes:
        name: the file that tells them.
        top: the highest of the vocabulary itself.
        added: the tokens that were added to it, with their ids.
    """

    name: str
    top: int
    added: dict[str, int]


def check(tree: Tree) -> Iterator[Finding]:
    """Whether the ids fit, as far as the files tell."""
    rows, where = _rows(tree)
    yield from _of_config(tree, rows)
    found = read(tree)
    if found is None or rows is None:
        return
    path = tree.folder / found.name
    beyond = sorted((number, token) for token, number in found.added.items() if number >= rows)
    if found.top >= rows:
        # With a few more, most texts are answered.
        many = found.top > rows * (1 + FEW)
        sure = many and tree.loads.model and tree.loads.tokenizer and tree.is_plain
        yield (failure if sure else warning)(
            f"{path} has tokens up to id {found.top}, and {where} ends at {rows - 1}: they are of"
            " different models",
            CURE,
        )
    elif beyond:
        number, token = beyond[-1]
        yield warning(
            f"{path}: the added token {token} has id {number}, and {where} ends at {rows - 1}: a"
            " text with it, or a batch padded with it, fails",
            "resize_token_embeddings(len(tokenizer)), train, and save both again",
        )
    elif 2 * (found.top + 1) < rows:
        yield warning(
            f"{path} has {found.top + 1} tokens, and {where} has {rows}: they may be of different"
            " models",
            CURE,
        )
    else:
        yield ok(f"{found.top + 1} tokens, {rows} embeddings")


def _rows(tree: Tree) -> tuple[int | None, str]:
    """How many tokens the model knows, and what tells so."""
    found = {tree.shapes[each][0] for each in tree.shapes if EMBEDDING.fullmatch(each)}
    if len(found) == 1:
        return found.pop(), "the embedding in the weights"
    size = tree.config.get("vocab_size")
    if isinstance(size, int) and not found:
        return size, "vocab_size in config.json"
    return None, ""


def _of_config(tree: Tree, rows: int | None) -> Iterator[Finding]:
    """transformers makes the embedding by the config, and loads only one of the same size."""
    size = tree.config.get("vocab_size")
    if not isinstance(size, int) or rows in (None, size) or not tree.is_plain:
        return
    classifies = any(each.endswith(CLASSIFIER) for each in tree.architectures)
    yield (failure if tree.loads.classifier and classifies else warning)(
        f"{tree.line(tree.files['config.json'], 'vocab_size')}: vocab_size is {size}, and the"
        f" embedding in the weights has {rows} rows",
        f"write {rows}, or take the config.json that the weights were saved with",
    )


def read(tree: Tree) -> Vocabulary | None:
    """The ids of the tokenizer's tokens; None if its files do not tell.

    Raises:
        Fault: one of them is no JSON.
    """
    files = tree.files
    if "tokenizer.json" in files:
        return _of_tokenizer(tree)
    if "vocab.json" in files:
        ids = _ids(trees.mapping(files["vocab.json"]))
        name, top = "vocab.json", max(ids.values(), default=-1)
    elif "vocab.txt" in files:
        # The last line ends, or does not.
        name, top = "vocab.txt", len(files["vocab.txt"].read_bytes().splitlines()) - 1
    else:
        return None
    added = files.get("added_tokens.json")
    more = _ids(trees.mapping(added)) if added else {}
    return Vocabulary(name, top, more) if top >= 0 else None


def _of_tokenizer(tree: Tree) -> Vocabulary | None:
    whole = trees.mapping(tree.files["tokenizer.json"])
    model = whole.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        top = max(_ids(vocabulary).values(), default=-1)
    elif isinstance(vocabulary, list):
        top = len(vocabulary) - 1
    else:
        return None
    listed = whole.get("added_tokens")
    added = {
        str(each.get("content")): each["id"]
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and isinstance(each.get("id"), int)
    }
    return Vocabulary("tokenizer.json", top, added) if top >= 0 else None


def _ids(vocabulary: dict[str, object]) -> dict[str, int]:
    return {token: number for token, number in vocabulary.items() if isinstance(number, int)}
