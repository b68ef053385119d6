"""handler.py as Python reads it, without running it."""

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from smoke.fault import Fault

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Source:
    """A module's source that compiles."""

    path: Path
    tree: ast.Module

    @cached_property
    def nodes(self) -> dict[type[ast.AST], list[Any]]:
        """The nodes of its tree by their kinds."""
        found: dict[type[ast.AST], list[Any]] = defaultdict(list)
        waiting: list[ast.AST] = [self.tree]
        # Half the time of ast.walk, which looks at each Load and Store as well.
        while waiting:
            node = waiting.pop()
            found[type(node)].append(node)
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, list):
                    waiting += [each for each in value if isinstance(each, ast.AST)]
                elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                    waiting.append(value)
        return found

    def all(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """The nodes of these kinds."""
        return itertools.chain.from_iterable(self.nodes.get(kind, ()) for kind in kinds)

    @cached_property
    def words(self) -> frozenset[str]:
        """All names, attributes, imports and short texts in it."""
        found = {each.id for each in self.all(ast.Name)}
        found |= {each.attr for each in self.all(ast.Attribute)}
        found |= {each.name for each in self.all(ast.ClassDef, *FUNCTIONS)}
        found |= {word for each in self.all(ast.alias) for word in each.name.split(".")}
        texts = (each.value for each in self.all(ast.Constant))
        return frozenset(found.union(each for each in texts if isinstance(each, str)))

    def where(self, node: ast.stmt | ast.expr) -> str:
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
        line = (error.text or _line(content, error.lineno)).strip()
        raise Fault(f"{path}:{error.lineno}: {error.msg}: {line}", "mend that line") from None
    except ValueError as error:
        raise Fault(f"{path}: {error}", "save it as UTF-8 text") from None
    except RecursionError:
        raise Fault(f"{path}: nested too deeply for Python", "write it in more lines") from None
    return Source(path, tree)


def _line(content: bytes, number: int | None) -> str:
    lines = content.decode(errors="replace").splitlines()
    return lines[number - 1] if number and number <= len(lines) else ""
