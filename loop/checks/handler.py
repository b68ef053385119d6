"""Whether handler.py has what TorchServe looks for in it, by the rules of ts/model_loader.py.

A function `handle` of the module is the entry point. If there is none, the module must define one
class, of any kind, and no other; imported ones do not count, a second name for the class does. That
class is made without arguments and must have `handle` and `initialize`.
"""

import ast
import difflib
from collections.abc import Iterator

from loop.checks.finding import Finding, failure, ok
from loop.checks.names import Kind, Names, last_name, names
from loop.checks.source import FUNCTIONS, Function, Source
from loop.checks.tree import Tree

HANDLE = "def handle(self, data, context)"
INITIALIZE = "def initialize(self, context)"
# None of these has a method that TorchServe calls.
BARE = frozenset(("object", "ABC", "Generic", "Protocol"))
NEAR = 0.7


def check(tree: Tree) -> Iterator[Finding]:
    """Whether it compiles, and has one entry point."""
    source = tree.source
    found = names(source)
    faults = list(_faults(source, found))
    yield from faults or [ok(f"{source.path} compiles")]


def _faults(source: Source, found: Names) -> Iterator[Finding]:
    if not _is_bound(found, "handle"):
        if found.known:
            yield from _of_classes(source, found)
    elif (function := _function(found, "handle")) and not _takes(function, 2):
        yield failure(
            f"{source.where(function)}: `handle` does not take 2 arguments",
            "write `def handle(data, context)`",
        )


def _is_bound(found: Names, name: str) -> bool:
    return any(each.kind is not Kind.NOTHING for each in found.of(name))


def _function(found: Names, name: str) -> Function | None:
    """The function of that name, if it can be nothing else."""
    binding = found.only(name)
    node = binding.node if binding else None
    return node if isinstance(node, FUNCTIONS) and not node.decorator_list else None


def _of_classes(source: Source, found: Names) -> Iterator[Finding]:
    sure, perhaps = [], []
    for name, ways in found.bound.items():
        if all(each.kind is Kind.CLASS for each in ways):
            sure.append((name, ways[-1].node))
        elif found.may_be(name, Kind.CLASS, Kind.PERHAPS):
            perhaps.append(name)
    if len(sure) > 1:
        yield _several(source, [(name, node) for name, node in sure if node])
    elif not sure and not perhaps:
        yield _none(source)
    elif not perhaps and isinstance(node := sure[0][1], ast.ClassDef):
        yield from _of_class(source, node)


def _several(source: Source, classes: list[tuple[str, ast.stmt]]) -> Finding:
    told = [f"`{name}` at line {node.lineno}" for name, node in classes]
    helpers = [
        name
        for name, node in classes
        if isinstance(node, ast.ClassDef) and "handle" not in _methods(node)
    ]
    other = helpers[0] if helpers else classes[-1][0]
    count = {2: "two", 3: "three"}.get(len(classes), str(len(classes)))
    return failure(
        f"{source.where(classes[1][1])}: {count} classes, {', '.join(told[:-1])} and {told[-1]}:"
        " TorchServe takes a handler that defines one, and counts helpers and exceptions too",
        f"move `{other}` to a file in torch_model/, which is packed as well, and import it",
    )


def _none(source: Source) -> Finding:
    if not source.tree.body:
        return failure(f"{source.path} is empty", "write a class with `handle` in it")
    functions = [each for each in source.tree.body if isinstance(each, FUNCTIONS)]
    if near := _near("handle", functions):
        return failure(
            f"{source.path} defines no class and no function `handle`",
            f"did you mean: `{near.name}` at line {near.lineno}",
        )
    return failure(
        f"{source.path} defines no class and no function `handle` (what it imports does not count)",
        f"write a class with `{HANDLE}` in it",
    )


def _of_class(source: Source, node: ast.ClassDef) -> Iterator[Finding]:
    where = source.where(node)
    methods = _methods(node)
    if not _inherits(node) and "__getattr__" not in methods and "__new__" not in methods:
        for name, shape in (("handle", HANDLE), ("initialize", INITIALIZE)):
            if name in methods or _is_set(source, name):
                continue
            near = _near(name, [each for each in methods.values() if each])
            cure = f"did you mean: `{near.name}` at line {near.lineno}" if near else ""
            yield failure(
                f"{where}: class `{node.name}` has no `{name}`, which TorchServe calls",
                cure or f"write `{shape}` in it",
            )
    arguments = (("handle", HANDLE, 3), ("initialize", INITIALIZE, 2), ("__init__", "", 1))
    for name, shape, number in arguments:
        method = methods.get(name)
        if method is None or method.decorator_list or _takes(method, number):
            continue
        if shape:
            what, cure = f"does not take {number - 1} argument(s) beside self", f"write `{shape}`"
        else:
            what = "needs arguments, and TorchServe gives none"
            cure = "move that to initialize(self, context)"
        yield failure(f"{source.where(method)}: `{name}` {what}", cure)


def _inherits(node: ast.ClassDef) -> bool:
    """Whether methods may come from elsewhere."""
    bases = [each.value if isinstance(each, ast.Subscript) else each for each in node.bases]
    return any(last_name(each) not in BARE for each in bases) or bool(node.decorator_list)


def _methods(node: ast.ClassDef) -> dict[str, Function | None]:
    """What the body of a class binds: the function, where it can be nothing else."""
    found: dict[str, Function | None] = {}
    for statement in node.body:
        if isinstance(statement, FUNCTIONS):
            found[statement.name] = statement
            continue
        for each in ast.walk(statement):
            match each:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found[name] = None
                case ast.Name(id=name, ctx=ast.Store()):
                    found[name] = None
                case ast.alias(name=name, asname=other):
                    found[other or name] = None
    return found


def _is_set(source: Source, name: str) -> bool:
    """Whether something sets that attribute later: `self.handle = …`, `Handler.handle = …`."""
    return any(
        each.attr == name and isinstance(each.ctx, ast.Store) for each in source.all(ast.Attribute)
    )


def _takes(function: Function, number: int) -> bool:
    """Whether a function can be called with so many arguments, by their places."""
    given = function.args
    places = len(given.posonlyargs) + len(given.args)
    named = sum(each is None for each in given.kw_defaults)
    most = number if given.vararg else places
    return places - len(given.defaults) <= number <= most and not named


def _near(name: str, functions: list[Function]) -> Function | None:
    by_name = {each.name: each for each in functions}
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=NEAR)
    return by_name[near[0]] if near else None
