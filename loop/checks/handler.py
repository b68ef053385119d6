"""Whether handler.py has what TorchServe looks for in it, by the rules of ts/model_loader.py.

A function `handle` of the module is the entry point. If there is none, the module must define one
class, of any kind, and no other; imported ones do not count. That class is made without arguments
and must have `handle` and `initialize`.
"""

import ast
import difflib
import re
from collections.abc import Iterator

from loop.checks import source as sources
from loop.checks.finding import Finding, failure, ok
from loop.checks.source import Function, Source
from loop.checks.tree import Tree

HANDLE = "def handle(self, data, context)"
# What TorchServe calls of a class, with how many arguments beside self.
CALLED = (("handle", HANDLE, 2), ("initialize", "def initialize(self, context)", 1))
# None of these has such a method.
BARE = ("object", "ABC", "Generic", "Protocol")
NEAR = 0.7


def check(tree: Tree) -> Iterator[Finding]:
    """Whether it compiles, and has one entry point."""
    yield from list(_faults(tree.source)) or [ok(f"{tree.handler} compiles")]


def _faults(source: Source) -> Iterator[Finding]:
    names, classes = source.names, source.classes
    if names is None or any(len(names[each.name]) > 1 for each in classes):
        return
    if "handle" in names:
        function = sources.only(names, "handle")
        if function and not _takes(function, 2):
            what = f"{source.where(function)}: `handle` does not take 2 arguments"
            yield failure(what, "write `def handle(data, context)`")
    elif len(classes) > 1:
        yield _several(source, classes)
    elif classes:
        yield from _of_class(source, classes[0])
    elif not source.tree.body:
        yield failure(f"{source.path} is empty", "write a class with `handle` in it")
    elif not _may_make_classes(source.tree.body):
        meant = _meant("handle", source.tree.body)
        hint = "" if meant else " (what it imports does not count)"
        what = f"{source.path} defines no class and no function `handle`{hint}"
        yield failure(what, meant or f"write a class with `{HANDLE}` in it")


def _several(source: Source, classes: list[ast.ClassDef]) -> Finding:
    told = [f"`{each.name}` at line {each.lineno}" for each in classes]
    helpers = [each for each in classes if "handle" not in _functions(each.body)]
    count = {2: "two", 3: "three"}.get(len(classes), str(len(classes)))
    return failure(
        f"{source.where(classes[1])}: {count} classes, {', '.join(told[:-1])} and {told[-1]}:"
        " TorchServe takes a handler that defines one, and counts helpers and exceptions too",
        f"move `{(helpers or classes[-1:])[0].name}` to a file in torch_model/, which is packed as"
        " well, and import it",
    )


def _of_class(source: Source, node: ast.ClassDef) -> Iterator[Finding]:
    names = sources.definitions(node.body)
    if names is None:
        return
    inherits = any(sources.last_name(each) not in BARE for each in node.bases)
    for name, shape, number in CALLED:
        method = sources.only(names, name)
        if method and not _takes(method, number + 1):
            what = f"`{name}` does not take {number} argument(s) beside self"
            cure = f"write `{shape}`"
        elif name not in names and not inherits:
            what = f"class `{node.name}` has no `{name}`, which TorchServe calls"
            cure = _meant(name, node.body) or f"write `{shape}` in it"
        else:
            continue
        if not _is_changed(source, node, name):
            yield failure(f"{source.where(method or node)}: {what}", cure)
    if (method := sources.only(names, "__init__")) and not _takes(method, 1):
        what = f"{source.where(method)}: `__init__` needs arguments, and TorchServe gives none"
        yield failure(what, "move that to initialize(self, context)")


def _is_changed(source: Source, node: ast.ClassDef, name: str) -> bool:
    """Whether `self.handle = …`, `Handler.handle = …` or `register(Handler)` may give it that."""
    called = [each.func for each in source.nodes if isinstance(each, ast.Call)]
    said = [each for each in source.nodes if isinstance(each, ast.Name) and each.id == node.name]
    return f".{name}" in source.stored or any(each not in called for each in said)


def _may_make_classes(body: list[ast.stmt]) -> bool:
    """A call may make a class that counts as the module's own, and so may a decorator."""
    made = [each for each in body if type(each) in (ast.Assign, ast.AnnAssign)]
    made += [each for each in body if getattr(each, "decorator_list", ())]
    return any(re.search(r"(?<!getLogger)\(", ast.unparse(each)) for each in made)


def _functions(body: list[ast.stmt]) -> dict[str, Function]:
    return {each.name: each for each in body if isinstance(each, Function)}


def _takes(function: Function, number: int) -> bool:
    """Whether a function can be called with so many arguments, by their places."""
    given = function.args
    places = len(given.posonlyargs) + len(given.args)
    most = number if given.vararg else places
    return places - len(given.defaults) <= number <= most and None not in given.kw_defaults


def _meant(name: str, body: list[ast.stmt]) -> str | None:
    functions = _functions(body)
    near = difflib.get_close_matches(name, functions, n=1, cutoff=NEAR)
    return f"did you mean: `{near[0]}` at line {functions[near[0]].lineno}" if near else None
