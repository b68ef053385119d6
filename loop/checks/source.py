"""handler.py as Python reads it, without running it.

Only what is plain is judged. Of a module that defines things under a condition, by a call or behind
Python's back, nothing is said: TorchServe says it a moment later.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from smoke.fault import Fault

Function = ast.FunctionDef | ast.AsyncFunctionDef
Names = dict[str, list[ast.stmt]]
# Who says one of these may have names or methods that no statement shows.
OPAQUE = {
    *("exec", "f_globals", "globals", "locals", "modules", "setattr", "vars"),
    *("__dict__", "__getattr__", "__getattribute__", "__module__", "__new__"),
}
# What is false where a worker imports the module.
NEVER = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


@dataclass(frozen=True)
class Source:
    """A module's source that compiles."""

    path: Path
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def words(self) -> set[str]:
        """All names, attributes, imports and texts in it."""
        return {word for node in self.nodes for word in vars(node).values() if type(word) is str}

    @cached_property
    def names(self) -> Names | None:
        """What the module binds; None where that is not plain."""
        if self.words & OPAQUE or any(isinstance(each, ast.Global) for each in self.nodes):
            return None
        return definitions(self.tree.body)

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        found = [node for each in (self.names or {}).values() for node in each]
        return [each for each in found if isinstance(each, ast.ClassDef)]

    @cached_property
    def stored(self) -> Counter[str]:
        """How often each name and attribute is assigned to."""
        return Counter(stored(self.nodes))

    def where(self, node: ast.stmt) -> str:
        return f"{self.path}:{node.lineno}"


def read(path: Path) -> Source:
    """Parse and compile a handler.

    Raises:
        Fault: it is no Python, with file, line, and the line itself.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        tree = ast.parse(content, path)
        # Some of what is wrong shows only here: a `return` that stands outside of a function.
        compile(tree, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        number, lines = error.lineno or 1, content.decode(errors="replace").splitlines()
        line = (error.text or "".join(lines[number - 1 : number])).strip()
        raise Fault(f"{path}:{error.lineno}: {error.msg}: {line}", "mend that line") from None
    except (ValueError, RecursionError) as error:
        raise Fault(f"{path}: {error}", "save it as UTF-8 text, in lines of one step") from None
    return Source(path, tree)


def definitions(body: list[ast.stmt]) -> Names | None:
    """By each name that a module or a class binds, the statements that do; None if not plain."""
    found: Names = defaultdict(list)
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names = [node.name]
            # Any other decorator, or a metaclass, may make anything of a class.
            case ast.ClassDef(keywords=[]) if {*map(last_name, node.decorator_list)} <= {
                "dataclass"
            }:
                names = [node.name]
            case ast.Import() | ast.ImportFrom():
                names = [each.asname or each.name.partition(".")[0] for each in node.names]
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Expr() | ast.Pass():
                names = list(stored(ast.walk(node)))
            case ast.If(test=test, orelse=[]) if ast.unparse(test) in NEVER:
                names = []
            case _:
                return None
        for name in names:
            found[name].append(node)
    return None if "*" in found else dict(found)


def only(names: Names, name: str) -> Function | None:
    """The function of that name, if it can be nothing else."""
    match names.get(name):
        case [ast.FunctionDef(decorator_list=[]) | ast.AsyncFunctionDef(decorator_list=[]) as node]:
            return node
    return None


def stored(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names that they assign to in any way, and the attributes, as `.attribute`."""
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield f".{name}"


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`, `c`, `c(…)` and `c[…]`."""
    return re.split(r"[(\[]", ast.unparse(node))[0].rpartition(".")[2]
