"""What a process that has imported everything depends on: when it changes, the imports are stale.

The environment counts as a whole, less what a terminal, a shell or make sets anew. A list of what
import-time code reads would not last: torch and transformers read 300 variables while they are
imported, HOME and TMPDIR among them, and their native libraries read more.
"""

import hashlib
import os
import re
import site
import sys
from collections.abc import Mapping
from pathlib import Path

# Carried by the warm process from its first moment, and thus by its forks, but by nothing that they
# start. Its value is the app's run link.
MARK = "TORCH_DEBUG_LOOP_WARM"

# PYTHONPATH differs per model: see `zygote.hiding`. TEMP is how the server's own family is told.
# TorchServe sets TS_… for each worker, and no module that is imported beforehand reads them.
IGNORED = re.compile(
    rf"{MARK}|PYTHONPATH|TEMP|TS_.*|_|COLUMNS|LINES|MAKE.*|MFLAGS|OLDPWD|PWD|SHLVL|WINDOWID"
    r"|(DBUS|DIRENV|SSH|TERM|TMUX|VSCODE|XDG_SESSION)(_.*)?"
)

# What runs in the warm process and the stand-in.
CODE = [
    Path(__file__).with_name(f"{name}.py")
    for name in ("fingerprint", "preload", "recorder", "standin", "worker", "zygote")
]


def fingerprint(environment: Mapping[str, str]) -> dict[str, str]:
    """All that counts, by its name, for this interpreter in the given environment."""
    counted = {
        # Hashed, since it is written to a file, and there may be a token among them.
        f"${name}": hashlib.sha256(os.fsencode(value)).hexdigest()
        for name, value in environment.items()
        if not IGNORED.fullmatch(name)
    }
    return counted | {
        "Python": _stamp(Path(sys.executable).resolve()),
        "the set of installed packages": " ".join(_packages()),
        "torch-debug-loop": " ".join(map(_stamp, CODE)),
    }


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of what differs."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _packages() -> list[str]:
    """Every installed package, with its version and the time of its installation."""
    users = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return sorted(
        f"{entry.name}@{entry.stat().st_mtime_ns}"
        for folder in site.getsitepackages() + users
        if os.path.isdir(folder)  # noqa: PTH112 - scandir below knows no Path either
        for entry in os.scandir(folder)
        if entry.name.endswith(".dist-info")
    )


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{file}@{status.st_mtime_ns}:{status.st_size}"
