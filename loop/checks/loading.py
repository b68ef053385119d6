"""What a handler loads from the checkpoint's folder, as far as its source tells.

Sure is `X.from_pretrained(folder)` of a class of transformers, where every load comes by: in
`initialize`, `__init__` or a function that these call, on the folder itself, and without an option
that would make something else of it. All else is only likely.
"""

import ast
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import NamedTuple

from loop.checks.source import Function, Source, definitions, only, stored

CLASSIFIER = "ForSequenceClassification"
# Whether the parts of these are evaluated depends on what comes before.
PERHAPS = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.comprehension, ast.Yield)
# Options that change nothing about which files are read, and into which shape.
HARMLESS = {"device_map", "dtype", "local_files_only", "output_loading_info", "torch_dtype"}
# Weights that `from_pretrained` does not look for.
OTHER_WEIGHTS = {".pt", ".pth"}
# A handler that says one of these may have other files or other weights than the folder's.
ELSEWHERE = {
    *("PeftModel", "extractall", "from_config", "get_peft_model", "hf_hub_download"),
    *("load_adapter", "load_file", "load_state_dict", "resize_token_embeddings", "safe_open"),
    *("snapshot_download", "unpack_archive", "urlretrieve"),
}


class Loads(NamedTuple):
    """What a handler does with the folder of its checkpoint."""

    # Sure to load from there: a model of transformers, a sequence classifier, a tokenizer.
    model: bool
    classifier: bool
    tokenizer: bool
    # Says at all: `from_pretrained`, a sequence classifier, index_to_name.json.
    pretrained: bool
    classifies: bool
    names: bool


def of(source: Source, files: Iterable[str] = ()) -> Loads:
    """Read a handler's source.

    Args:
        files: the names of the checkpoint's files: what a handler does with weights that
            `from_pretrained` does not look for counts only where there are any.
    """
    words = source.words
    absent = OTHER_WEIGHTS - {Path(each).suffix for each in files}
    sure = set() if words & ELSEWHERE else set(_sure(source, absent))
    return Loads(
        model=any("Model" in each or "For" in each for each in sure),
        classifier=any(each.endswith(CLASSIFIER) for each in sure),
        tokenizer=any("Tokenizer" in each for each in sure),
        pretrained="from_pretrained" in words,
        classifies=any(each.endswith(CLASSIFIER) for each in words),
        names=any("index_to_name" in each for each in words),
    )


def _sure(source: Source, absent: Set[str]) -> Iterator[str]:
    """The classes that are sure to be loaded from the folder."""
    names = source.names or {}
    # With a function `handle`, nobody calls the class.
    if len(source.classes) == 1 and "handle" not in names:
        own = definitions(source.classes[0].body) or {}
        functions = {name: only(names, name) for name in names}
        functions |= {f"self.{name}": only(own, name) for name in own}
        for name in ("self.__init__", "self.initialize"):
            yield from _loaded(name, set(), functions, source, absent)


def _loaded(
    called: str,
    known: set[str],
    functions: dict[str, Function | None],
    source: Source,
    absent: Set[str],
) -> Iterator[str]:
    """What a function loads, in which the `known` names are the folder, and all that it calls."""
    # By the text of a call; each is followed once.
    function = functions.pop(called, None)
    for step in _steps(function.body if function else [], absent):
        for call in ast.walk(step):
            match call:
                case ast.Call(ast.Attribute(ast.Name(name), "from_pretrained"), [folder], options):
                    imports = (source.names or {}).get(name, [])
                    ours = [getattr(each, "module", None) for each in imports] == ["transformers"]
                    if ours and {each.arg for each in options} <= HARMLESS:
                        yield from [name] if _is_folder(folder, known) else []
                case ast.Call(ast.Name() | ast.Attribute(ast.Name()) as inner):
                    text = ast.unparse(inner)
                    if callee := functions.get(text):
                        inner_known = _given(callee, call, known)
                        yield from _loaded(text, inner_known, functions, source, absent)
        match step:
            case ast.Assign([target], value) if _is_folder(value, known):
                text = ast.unparse(target)
                # Of several values, it may have any.
                if source.stored[text.removeprefix("self")] == 1:
                    known.add(text)


def _steps(body: list[ast.stmt], absent: Set[str]) -> Iterator[ast.stmt]:
    """The plain statements that run whenever the body does."""
    for each in body:
        if isinstance(each, ast.If) and _asks_for(each.test) <= absent:
            continue
        inner = list(ast.walk(each))
        plain = isinstance(each, ast.Assign | ast.Expr | ast.Return)
        if plain and not any(isinstance(node, PERHAPS) for node in inner):
            yield each
        # What follows a `return` that may be taken may not be reached.
        if any(isinstance(node, ast.Return) for node in inner):
            return


def _asks_for(test: ast.expr) -> Set[str]:
    """The suffixes of files for which a condition asks, if that is all that it does."""
    match test:
        case ast.Compare(ast.Attribute(_, "suffix"), [ast.Eq()], [ast.Constant(str(suffix))]):
            return {suffix}
        case ast.Compare(ast.Attribute(_, "suffix"), [ast.In()], [ast.Tuple(suffixes)]):
            constants = [each for each in suffixes if isinstance(each, ast.Constant)]
            if constants and len(constants) == len(suffixes):
                return {str(each.value) for each in constants}
    return {"anything"}


def _given(function: Function, call: ast.Call, known: set[str]) -> set[str]:
    """What stands for the folder in a function that is called so."""
    places = [*function.args.posonlyargs, *function.args.args]
    parameters = [each.arg for each in places if each.arg != "self"]
    starred = any(isinstance(each, ast.Starred) for each in call.args)
    given = {} if starred else dict(zip(parameters, call.args, strict=False))
    changed = set(stored(ast.walk(function)))
    found = {each for each in given if _is_folder(given[each], known) and each not in changed}
    return found | {each for each in known if each.startswith("self.")}


def _is_folder(node: ast.expr, known: set[str]) -> bool:
    """Whether an expression is the model's folder itself, and no file or folder in it."""
    match node:
        case ast.Call(ast.Name("Path" | "str"), [inner], []):
            return _is_folder(inner, known)
        case ast.Subscript(_, ast.Constant("model_dir")):
            return True
        case ast.Call(ast.Attribute(_, "get"), [ast.Constant("model_dir")], []):
            return True
        case ast.Name() | ast.Attribute():
            return ast.unparse(node) in known
    return False
