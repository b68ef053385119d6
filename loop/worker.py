"""A fork of the warm process becomes the worker that TorchServe meant to start.

TorchServe started a stand-in. What the stand-in has from it, the kernel can tell: arguments,
environment, folder, limits. Only its open streams have to be handed over.
"""

import ctypes
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]


def kernel_strings(file: Path) -> list[str]:
    """The strings in a file of /proc, each ended by a NUL."""
    return [os.fsdecode(each) for each in file.read_bytes().split(b"\0")[:-1]]


def environment_of(pid: int) -> dict[str, str]:
    """The environment with which a process began."""
    pairs = (each.partition("=") for each in kernel_strings(Path(f"/proc/{pid}/environ")))
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True)
class StandIn:
    """A process that TorchServe takes for its worker.

    Attributes:
        pid: its process.
        streams: copies of its standard input, output and error.
    """

    pid: int
    streams: list[int]

    @cached_property
    def arguments(self) -> list[str]:
        """Those of the worker, its script first."""
        # Before them the kernel has put what the stand-in's first line says: PYTHON -IS STAND-IN.
        return kernel_strings(Path(f"/proc/{self.pid}/cmdline"))[3:]

    @cached_property
    def environment(self) -> dict[str, str]:
        return environment_of(self.pid)

    @property
    def python_path(self) -> list[str]:
        """The folders of PYTHONPATH, as the interpreter puts them on its own path."""
        value = self.environment.get("PYTHONPATH")
        if not value:
            return []
        cwd = Path(f"/proc/{self.pid}/cwd").readlink()
        return list(dict.fromkeys(os.path.normpath(cwd / each) for each in value.split(":")))

    @property
    def parent(self) -> int:
        """The process that started it."""
        return int(self._status["PPid"])

    @property
    def umask(self) -> int:
        return int(self._status["Umask"], 8)

    @property
    def _status(self) -> dict[str, str]:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8", errors="replace")
        return dict(line.split(":", 1) for line in status.splitlines())


def name() -> bytes:
    """The name by which the kernel lists this process."""
    return Path("/proc/self/comm").read_bytes().removesuffix(b"\n")


def rename(name: bytes) -> None:
    """Give this process another name, of 15 bytes at most."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone, however that ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def take_over(standin: StandIn, toolkit: Iterable[str]) -> None:
    """Make this process what the stand-in would be, had it become the real python.

    Args:
        standin: whose place it takes.
        toolkit: the names of the toolkit's own modules, which a worker does not have.

    Raises:
        OSError, ValueError: the stand-in has gone, or may do what this process may not.
    """
    _take_over_process(standin)
    _take_over_interpreter(standin)
    # A model folder may have a module of that name.
    for name in toolkit:
        del sys.modules[name]


def _take_over_process(standin: StandIn) -> None:
    os.setsid()
    for number, stream in enumerate(standin.streams):
        os.dup2(stream, number)
    os.chdir(f"/proc/{standin.pid}/cwd")
    os.umask(standin.umask)
    os.sched_setaffinity(0, os.sched_getaffinity(standin.pid))
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, standin.pid))
    for limit in LIMITS:
        resource.setrlimit(limit, resource.prlimit(standin.pid, limit))


def _take_over_interpreter(standin: StandIn) -> None:
    os.environ.clear()
    os.environ.update(standin.environment)
    sys.argv = list(standin.arguments)
    sys.orig_argv = [sys.executable, *standin.arguments]
    script_folder = [] if sys.flags.safe_path else [str(Path(standin.arguments[0]).parent)]
    first = standin.python_path
    sys.path[:] = [*script_folder, *first, *(each for each in sys.path if each not in first)]

    # Found in the old environment.
    tempfile.tempdir = None
    # Drawn before the fork, where each worker draws its own; `random` sees to that itself.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()
