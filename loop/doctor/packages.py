"""What is installed, against what is pinned and what each package says that it needs.

A pair of packages is known not to work if the one names versions of the other and the installed one
is none of them: what `pip check` looks at, for the packages that a deploy needs.
"""

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loop.checks.finding import Finding, failure, ok, warning

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
# A deploy cannot do without these; the other files are of training, tests and the default model.
NEEDED = "serve.txt"
PINNED = "constraints.txt"


def check(folder: Path = REQUIREMENTS) -> Iterator[Finding]:
    """Look at the packages that the files in `folder` list."""
    needed = _listed(folder / NEEDED)
    pinned = {canonicalize_name(each.name): each for each in _listed(folder / PINNED)}
    pinned |= {canonicalize_name(each.name): each for each in needed}
    found = [*_missing(needed), *_others(pinned.values()), *_conflicts(needed)]
    installed = sum(_installed(name) is not None for name in pinned)
    yield from found or [ok(f"{installed} as pinned, and those that a deploy needs fit each other")]


def _missing(needed: Iterable[Requirement]) -> Iterator[Finding]:
    for each in needed:
        if _installed(each.name) is None:
            yield failure(f"{each.name} is not installed", _install(str(each)))


def _others(pinned: Iterable[Requirement]) -> Iterator[Finding]:
    for each in pinned:
        found = _installed(each.name)
        if found is not None and not _fits(each, found):
            yield warning(
                f"{each.name} {found.version} is installed, and {each} is what was tested",
                _install(str(each)),
            )


def _conflicts(needed: Iterable[Requirement]) -> Iterator[Finding]:
    """Follow what the needed packages need, and so on."""
    waiting = [each.name for each in needed]
    seen = set()
    while waiting:
        name = canonicalize_name(waiting.pop())
        package = _installed(name)
        if package is None or name in seen:
            continue
        seen.add(name)
        for wanted in map(Requirement, package.requires or ()):
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            waiting.append(wanted.name)
            found = _installed(wanted.name)
            if found is None or not _fits(wanted, found):
                version = "not installed" if found is None else found.version
                yield failure(
                    f"{name} {package.version} needs {wanted.name}{wanted.specifier},"
                    f" which is {version}",
                    _install(f"{wanted.name}{wanted.specifier}"),
                )


def _listed(file: Path) -> list[Requirement]:
    lines = (
        line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").split("\n")
    )
    return [Requirement(line) for line in lines if line]


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _fits(wanted: Requirement, found: Distribution) -> bool:
    return wanted.specifier.contains(found.version, prereleases=True)


def _install(what: str) -> str:
    # In quotes: a shell takes > and < for its own.
    return f'{sys.prefix}/bin/python -m pip install "{what}"'
