"""Which names a module has once it is imported, as far as its source tells.

A name may be bound in several ways, of which only one will have happened: all are kept.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from loop.checks.source import FUNCTIONS, Source

# Calls of these make a class that counts as the module's own.
FACTORIES = frozenset(
    (
        *("type", "namedtuple", "NamedTuple", "TypedDict", "make_dataclass", "new_class"),
        *("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "create_model"),
    )
)
# These give back the class that they are put before.
DECORATORS = frozenset(("dataclass", "final", "total_ordering", "unique", "runtime_checkable"))
METACLASSES = frozenset(("ABCMeta", "EnumMeta", "EnumType"))
# Where a module reaches for these, its source does not tell which names it has.
OPAQUE = frozenset(("exec", "globals", "locals", "vars", "setattr"))


class Kind(Enum):
    """What a name may stand for."""

    CLASS = auto()
    """A class that this module defines."""
    PERHAPS = auto()
    """It may be such a class."""
    OTHER = auto()
    """Anything else."""
    NOTHING = auto()
    """The name is not bound."""


@dataclass(frozen=True)
class Binding:
    """One way in which a name may be bound, and the statement that does it."""

    kind: Kind
    node: ast.stmt | None = None


NOTHING = Binding(Kind.NOTHING)


@dataclass
class Names:
    """The names of a module.

    Attributes:
        bound: how each may be bound.
        known: whether these are all.
    """

    bound: dict[str, list[Binding]] = field(default_factory=dict)
    known: bool = True

    def of(self, name: str) -> list[Binding]:
        return self.bound.get(name, [NOTHING])

    def may_be(self, name: str, *kinds: Kind) -> bool:
        return any(each.kind in kinds for each in self.of(name))

    def only(self, name: str) -> Binding | None:
        """The binding of a name that is bound in one way only."""
        found = self.of(name)
        return found[0] if len(found) == 1 else None


def names(source: Source) -> Names:
    """Follow a module's statements."""
    found = Names(known=not _is_opaque(source))
    _follow(source.tree.body, True, found)
    for node in source.all(*FUNCTIONS) if ast.Global in source.nodes else ():
        kind = Kind.PERHAPS if _makes_classes(node) else Kind.OTHER
        for inner in ast.walk(node):
            for name in inner.names if isinstance(inner, ast.Global) else ():
                _bind(name, [Binding(kind, node)], False, found)
    if "__getattr__" in found.bound:
        found.known = False
    return found


def _is_opaque(source: Source) -> bool:
    return any(each.id in OPAQUE for each in source.all(ast.Name)) or any(
        each.attr == "modules" and isinstance(each.value, ast.Name) and each.value.id == "sys"
        for each in source.all(ast.Attribute)
    )


def _bind(name: str, bindings: list[Binding], sure: bool, found: Names) -> None:
    found.bound[name] = bindings if sure else [*found.of(name), *bindings]


def _follow(statements: Iterable[ast.stmt], sure: bool, found: Names) -> None:
    for each in statements:
        _statement(each, sure, found)


def _statement(node: ast.stmt, sure: bool, found: Names) -> None:
    match node:
        case ast.ClassDef():
            _bind(node.name, [Binding(_kind_of_class(node), node)], sure, found)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            _bind(node.name, [Binding(Kind.OTHER, node)], sure, found)
        case ast.Import() | ast.ImportFrom():
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                found.known = found.known and name != "*"
                _bind(name, [Binding(Kind.OTHER, node)], sure, found)
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                _assign(target, value, node, sure, found)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            _assign(target, value, node, sure, found)
        case ast.Delete(targets=targets):
            for target in targets:
                if isinstance(target, ast.Name):
                    _bind(target.id, [NOTHING], sure, found)
        case ast.If(test=test, body=body, orelse=orelse):
            never = _is_never(test)
            _follow([] if never else body, False, found)
            _follow(orelse, sure and never, found)
        case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
            for item in items:
                _targets(item, node, found)
            _follow(body, sure, found)
        case ast.Try() | ast.TryStar():
            for part in (node.body, *(each.body for each in node.handlers), node.orelse):
                _follow(part, False, found)
            _follow(node.finalbody, sure, found)
        case ast.For() | ast.AsyncFor() | ast.While():
            _targets(node.test if isinstance(node, ast.While) else node.target, node, found)
            _follow([*node.body, *node.orelse], False, found)
        case ast.Match(cases=cases):
            for case in cases:
                _targets(case.pattern, node, found)
                _follow(case.body, False, found)
        case ast.Expr(value=value):
            _targets(value, node, found)


def _targets(part: ast.AST, node: ast.stmt, found: Names) -> None:
    """What is bound on the way: by `as`, `for`, `:=`, a pattern."""
    for inner in ast.walk(part):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            name: str | None = inner.id
        elif isinstance(inner, ast.MatchAs | ast.MatchStar):
            name = inner.name
        else:
            continue
        if name:
            _bind(name, [Binding(Kind.PERHAPS, node)], False, found)


def _assign(target: ast.expr, value: ast.expr, node: ast.stmt, sure: bool, found: Names) -> None:
    if isinstance(target, ast.Name):
        if isinstance(value, ast.Name) and value.id in found.bound:
            # Another name for the same thing; TorchServe counts a class once a name.
            _bind(target.id, [Binding(each.kind, node) for each in found.of(value.id)], sure, found)
        else:
            kind = Kind.PERHAPS if _may_be_class(value, found) else Kind.OTHER
            _bind(target.id, [Binding(kind, node)], sure, found)
        return
    for inner in ast.walk(target):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            _bind(inner.id, [Binding(Kind.PERHAPS, node)], sure, found)


def _may_be_class(value: ast.expr, found: Names) -> bool:
    instances = {
        each.func.id
        for each in ast.walk(value)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    }
    for each in ast.walk(value):
        if isinstance(each, ast.Attribute) and each.attr in FACTORIES:
            return True
        if not isinstance(each, ast.Name):
            continue
        if each.id in FACTORIES or any(_makes_classes(way.node) for way in found.of(each.id)):
            return True
        if each.id not in instances and found.may_be(each.id, Kind.CLASS, Kind.PERHAPS):
            return True
    return False


def _makes_classes(node: ast.stmt | None) -> bool:
    """Whether a function may return a class of its own making."""
    if not isinstance(node, FUNCTIONS):
        return False
    return any(
        isinstance(each, ast.ClassDef) or (isinstance(each, ast.Name) and each.id in FACTORIES)
        for each in ast.walk(node)
    )


def _kind_of_class(node: ast.ClassDef) -> Kind:
    """A decorator or a metaclass may make anything of it, and `__module__` may be set."""
    sure = all(last_name(each) in DECORATORS for each in node.decorator_list)
    sure = sure and all(
        each.arg != "metaclass" or last_name(each.value) in METACLASSES for each in node.keywords
    )
    own = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return Kind.CLASS if sure and "__module__" not in own else Kind.PERHAPS


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`, `c` and `c(…)`."""
    match node:
        case ast.Call(func=function):
            return last_name(function)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _is_never(test: ast.expr) -> bool:
    """Whether a condition is false where a worker imports the module."""
    if last_name(test) == "TYPE_CHECKING":
        return True
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()]):
            return True
        case _:
            return False
