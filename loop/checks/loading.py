"""What a handler loads from the checkpoint's folder, as far as its source tells.

Sure is a `from_pretrained` that is reached whenever the handler loads, on the folder itself, and
without an option that would make something else of it. All else is only likely.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from loop.checks.names import last_name
from loop.checks.source import FUNCTIONS, Function, Source

FOLDER = "model_dir"
CLASSIFIER = "ForSequenceClassification"
LOAD = "from_pretrained"
# Options that change nothing about which files are read, and into which shape.
HARMLESS = frozenset(
    (
        *("attn_implementation", "cache_dir", "device_map", "dtype", "local_files_only"),
        *("low_cpu_mem_usage", "max_length", "model_max_length", "output_loading_info"),
        *("padding_side", "token", "torch_dtype", "truncation_side", "use_fast", "use_safetensors"),
    )
)
# A handler that says one of these may have other files or other weights than the folder's.
ELSEWHERE = frozenset(
    (
        *("PeftModel", "extractall", "from_config", "get_peft_model", "hf_hub_download"),
        *("load_adapter", "load_file", "load_state_dict", "resize_token_embeddings", "safe_open"),
        *("snapshot_download", "unpack_archive", "urlretrieve"),
    )
)
# What TorchServe calls when it loads a handler.
BEGIN = ("__init__", "initialize")


@dataclass(frozen=True)
class Loads:
    """What a handler does with the folder of its checkpoint.

    Attributes:
        model: whether it is sure to load transformers' model from there.
        classifier: whether that is a sequence classifier.
        tokenizer: whether it is sure to load a tokenizer from there.
        pretrained: whether it says `from_pretrained` at all.
        classifies: whether it names a sequence classifier at all.
        names: whether it names index_to_name.json.
    """

    model: bool
    classifier: bool
    tokenizer: bool
    pretrained: bool
    classifies: bool
    names: bool


def of(source: Source) -> Loads:
    """Read a handler's source."""
    words = source.words
    pretrained = LOAD in words
    sure = _sure(source) if pretrained and not words & ELSEWHERE else set()
    return Loads(
        model=any("Model" in each or "For" in each for each in sure),
        classifier=any(each.endswith(CLASSIFIER) for each in sure),
        tokenizer=any("Tokenizer" in each for each in sure),
        pretrained=pretrained,
        classifies=any(each.endswith(CLASSIFIER) for each in words),
        names=any("index_to_name" in each for each in words),
    )


@dataclass
class _Module:
    """A module's functions by name, and what each name is given anywhere; None: not known."""

    functions: dict[str, list[Function]] = field(default_factory=lambda: defaultdict(list))
    given: dict[str, list[ast.expr | None]] = field(default_factory=lambda: defaultdict(list))


def _sure(source: Source) -> set[str]:
    """The classes that are sure to be loaded from the folder."""
    module = _read(source)
    waiting = [source.tree.body, *(each.body for each in _begin(source))]
    seen: set[str] = set()
    found: set[str] = set()
    while waiting:
        for call in _calls(waiting.pop()):
            name = last_name(call)
            if name == LOAD and isinstance(call.func, ast.Attribute):
                if _is_of_folder(call, module):
                    found.add(last_name(call.func.value))
            elif name in module.functions and name not in seen:
                seen.add(name)
                if len(module.functions[name]) == 1:
                    waiting.append(module.functions[name][0].body)
    return found


def _read(source: Source) -> _Module:
    module = _Module()
    for function in source.all(*FUNCTIONS):
        module.functions[function.name].append(function)
        _give_defaults(function.args, module)
    for node in source.all(ast.Assign):
        for target in node.targets:
            _give(target, node.value, module)
    for node in source.all(ast.AnnAssign):
        if node.value:
            _give(node.target, node.value, module)
    for node in source.all(ast.AugAssign, ast.For, ast.NamedExpr, ast.comprehension):
        _give(node.target, None, module)
    for node in source.all(ast.withitem):
        if node.optional_vars:
            _give(node.optional_vars, None, module)
    for call in source.all(ast.Call):
        _give_arguments(call, module)
    return module


def _give(target: ast.expr, value: ast.expr | None, module: _Module) -> None:
    if isinstance(target, ast.Name | ast.Attribute):
        module.given[last_name(target)].append(value)
        return
    for each in ast.walk(target):
        if isinstance(each, ast.Name | ast.Attribute) and isinstance(each.ctx, ast.Store):
            module.given[last_name(each)].append(None)


def _give_defaults(arguments: ast.arguments, module: _Module) -> None:
    places = [*arguments.posonlyargs, *arguments.args]
    number = len(arguments.defaults)
    for place, default in zip(places[len(places) - number :], arguments.defaults, strict=True):
        module.given[place.arg].append(default)
    for place in arguments.kwonlyargs:
        module.given[place.arg].append(None)


def _give_arguments(call: ast.Call, module: _Module) -> None:
    """What a function's parameters are given where it is called."""
    for function in module.functions.get(last_name(call), ()):
        parameters = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
        if parameters[:1] == ["self"]:
            parameters = parameters[1:]
        for parameter, value in zip(parameters, call.args, strict=False):
            module.given[parameter].append(None if isinstance(value, ast.Starred) else value)
        for keyword in call.keywords:
            if keyword.arg:
                module.given[keyword.arg].append(keyword.value)


def _begin(source: Source) -> Iterator[Function]:
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, FUNCTIONS) and each.name in BEGIN:
                    yield each


def _calls(statements: Iterable[ast.stmt]) -> Iterator[ast.Call]:
    """The calls that are made whenever the statements are run."""
    for each in statements:
        match each:
            case ast.If(test=part) | ast.While(test=part):
                yield from _in_expression(part)
            case ast.With(items=items, body=body):
                for item in items:
                    yield from _in_expression(item.context_expr)
                yield from _calls(body)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Expr() | ast.Return():
                if each.value is not None:
                    yield from _in_expression(each.value)
        # What follows a `return` that may be taken may not be reached.
        if any(isinstance(inner, ast.Return) for inner in ast.walk(each)):
            return


def _in_expression(node: ast.AST) -> Iterator[ast.Call]:
    # Whether the parts of these are evaluated depends on what comes before.
    if isinstance(node, ast.IfExp | ast.BoolOp | ast.Lambda | ast.ListComp | ast.GeneratorExp):
        return
    if isinstance(node, ast.Call):
        yield node
    for each in ast.iter_child_nodes(node):
        yield from _in_expression(each)


def _is_of_folder(call: ast.Call, module: _Module) -> bool:
    if any(each.arg not in HARMLESS for each in call.keywords) or len(call.args) != 1:
        return False
    return _is_folder(call.args[0], module, frozenset())


def _is_folder(node: ast.expr | None, module: _Module, seen: frozenset[str]) -> bool:
    """Whether an expression is the model's folder itself, and no file or folder in it."""
    match node:
        case ast.Subscript(slice=ast.Constant(value=key)):
            return bool(key == FOLDER)
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=key), *_]):
            return bool(key == FOLDER)
        case ast.Call(func=ast.Name(id="Path" | "str"), args=[inner]):
            return _is_folder(inner, module, seen)
        case ast.Name() | ast.Attribute():
            name = last_name(node)
            ways = module.given.get(name, [])
            return name in seen or (
                bool(ways) and all(_is_folder(way, module, seen | {name}) for way in ways)
            )
        case _:
            return False
