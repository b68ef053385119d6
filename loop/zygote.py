"""The warm process: it has imported everything once, and forks a worker for each that is asked for.

    TorchServe ── stand-in ══ socket ══ zygote
                      ╎ streams            │ fork
                      ╰╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ worker

One worker, the *spare*, it forks ahead of need, once it has other workers and has been left alone
for a while. The spare rehearses (see `loop.preload`) and waits; the next stand-in that asks is
handed to it, and gets a worker that need not be forked any more. Whoever asks when no spare is
ready gets a fork at once.

A stand-in sends its three standard streams and waits. What passes over the socket:

    12, with the streams      from the stand-in: the process that started it
    forked                    from the worker, in the moment before it becomes one
    3, or -9                  from the zygote: the worker's exit code, or the signal it died by

or, in place of the latter two, a sentence that says why there is no worker.

One fate: the zygote kills the worker when the stand-in's end of the socket closes, and the kernel
kills it when the zygote dies. The zygote has one thread and computes nothing, or a fork would not
be safe.
"""

import contextlib
import gc
import importlib.machinery
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from loop import preload, recorder, worker
from loop.fingerprint import changed, fingerprint
from loop.worker import StandIn

# Its arguments: the toolkit's folder, which is on the path for this one import, after everything
# else; and the job, see `main`.
BOOT = """
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv[1]]
from loop import zygote
sys.path.pop()
zygote.main()
"""

# Found on PYTHONPATH, they run when the interpreter starts.
STARTUP_MODULES = {"sitecustomize", "usercustomize"}

# What the kernel lists a spare worker as, so that `loop.warm` takes it for no worker.
SPARE = "spare worker"
READY = b"ready"


def main() -> None:
    """Import, then serve; in a fork, be the worker.

    The job, as JSON: `folder` for the log and the list of what is imported, `listener`, the number
    of the socket, `modules` and `checkpoint` to preload (the latter may be null), `idle_seconds`
    and `spare_after`, see `Zygote`.
    """
    job = json.loads(sys.argv[2])
    folder = Path(job["folder"])
    _write_to(folder / "log")
    # Not every kernel or container has pidfds: better known now than after the first fork.
    os.close(os.pidfd_open(os.getpid()))
    began = time.monotonic()
    checkpoint = job["checkpoint"] and Path(job["checkpoint"])
    preload.preload(job["modules"], checkpoint)
    if preload.cuda_is_initialised():
        sys.exit("CUDA was initialised by an import: a fork could not use it")
    _list_imported_files(folder / "imported")
    log(f"imported {len(sys.modules)} modules in {time.monotonic() - began:.1f} s")

    gc.collect()
    # What is there now stays: without this, each fork's first collection would copy all of it.
    gc.freeze()
    listener = socket.socket(fileno=job["listener"])
    zygote = Zygote(folder.parent, listener, job["idle_seconds"], job["spare_after"], checkpoint)
    standin = zygote.serve()
    if standin is not None:
        runpy.run_path(standin.arguments[0], run_name="__main__")


def _write_to(path: Path) -> None:
    """Put the log in the place of the streams that this process began with.

    Those were pipes, as TorchServe gives them to a worker, so that sys.stdout is made alike.
    """
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in enumerate((nothing, log, log)):
        os.dup2(stream, number)
    os.close(log)
    os.close(nothing)


def _list_imported_files(path: Path) -> None:
    """For `loop.warm`, which asks whether any of them has been edited since."""
    found = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    aside = path.with_suffix(".aside")
    aside.write_text("\0".join(sorted(filter(os.path.isfile, found))), encoding="utf-8")
    aside.replace(path)


@dataclass(frozen=True)
class Fork:
    """A worker, as the zygote sees it.

    Attributes:
        pid: its process, which stays as a zombie until its status has been read.
        end: a pidfd, readable when it has ended.
        connection: to its stand-in.
        server: the process that started the stand-in.
    """

    pid: int
    end: int
    connection: socket.socket
    server: int


@dataclass(frozen=True)
class Spare:
    """A worker that was forked ahead of need.

    Attributes:
        pid: its process, which stays as a zombie until its status has been read.
        end: a pidfd, readable when it has ended.
        channel: to it. It says there that it is ready, and is then sent its stand-in.
    """

    pid: int
    end: int
    channel: socket.socket

    def accepts(self, standin: StandIn, connection: socket.socket) -> bool:
        """Hand it a stand-in, if it is ready."""
        try:
            if self.channel.recv(100, socket.MSG_DONTWAIT) != READY:
                return False
            handed = [*standin.streams, connection.fileno()]
            socket.send_fds(self.channel, [str(standin.pid).encode()], handed)
        except OSError:
            # It is still rehearsing, or has just died.
            return False
        return True


class Zygote:
    """Answers stand-ins until it has been idle for too long.

    Args:
        run: the app's run folder.
        listener: the socket on which stand-ins ask.
        idle_seconds: how long it stays when it has no worker.
        spare_after: for how many seconds it must have been left alone before it forks a spare
            worker: one that rehearses takes a core from those that are loading or answering.
        checkpoint: what the spare rehearses; may be None.
    """

    def __init__(
        self,
        run: Path,
        listener: socket.socket,
        idle_seconds: float,
        spare_after: float,
        checkpoint: Path | None,
    ) -> None:
        self._fingerprint = fingerprint(worker.environment_of(os.getpid()))
        self._imported = {name.partition(".")[0] for name in sys.modules} - {"loop"}
        # Found before a fork: to look through all names would copy, there, the pages they are on.
        self._toolkit = [name for name in sys.modules if name.partition(".")[0] == "loop"]
        self._run = run
        self._idle_seconds = idle_seconds
        self._spare_after = spare_after
        self._checkpoint = checkpoint
        self._forks: dict[int, Fork] = {}
        self._servers: dict[int, int] = {}
        self._spare: Spare | None = None
        self._keeps_spares = True
        # poll, unlike epoll, keeps nothing in the kernel that a fork would share.
        self._selector = selectors.PollSelector()
        self._watch(listener, partial(self._accept, listener))

    def serve(self) -> StandIn | None:
        """Answer until the idle end.

        Returns:
            None in this process; in a fork, the stand-in whose worker it has become.
        """
        while True:
            lacks_spare = bool(self._forks) and self._spare is None and self._keeps_spares
            patience = None if self._forks else self._idle_seconds
            seconds = self._spare_after if lacks_spare else patience
            if events := self._selector.select(seconds):
                standin = self._handle(events)
            elif lacks_spare:
                standin = self._fork_spare()
            else:
                log(f"no worker for {self._idle_seconds:.0f} s: the end")
                return None
            if standin is not None:
                return standin

    def _handle(self, events: list[tuple[selectors.SelectorKey, int]]) -> StandIn | None:
        for key, _ in events:
            # An earlier event of this round may have ended what this one is about.
            if self._selector.get_map().get(key.fd) is key:
                standin: StandIn | None = key.data()
                if standin is not None:
                    return standin
        return None

    def _watch(self, source: socket.socket | int, then: Callable[[], StandIn | None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, then)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self._watch(connection, partial(self._answer, connection))

    def _answer(self, connection: socket.socket) -> StandIn | None:
        """Give a stand-in the worker that it asks for, or say why not."""
        self._selector.unregister(connection)
        streams: list[int] = []
        try:
            server, streams, *_ = socket.recv_fds(connection, 100, 3)
            if len(streams) != 3:
                raise ConnectionAbortedError("it sent no streams")
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            standin = StandIn(struct.unpack("3i", credentials)[0], streams)
            refusal = self._refusal(standin, int(server))
            if not refusal:
                return self._provide(standin, int(server), connection)
            log(f"no worker for {standin.pid}: {refusal}")
            tell(connection, refusal)
        except (OSError, ValueError) as error:
            log(f"no worker for a stand-in: {error}")
            connection.close()
        finally:
            for stream in streams:
                os.close(stream)
        return None

    def _refusal(self, standin: StandIn, server: int) -> str:
        """Why a fork would differ from an ordinary start; empty if it would not."""
        if names := changed(self._fingerprint, fingerprint(standin.environment)):
            return f"{', '.join(names)} changed after the warm process began"
        if standin.parent != server:
            return f"the server {server} has gone"
        if found := hiding(standin.python_path, self._imported | STARTUP_MODULES):
            return f"{found} comes before a module that the warm process has imported"
        return ""

    def _provide(self, standin: StandIn, server: int, connection: socket.socket) -> StandIn | None:
        """The spare worker, if it is ready; else fork one."""
        spare = self._spare
        if spare is None or not spare.accepts(standin, connection):
            return self._fork(standin, server, connection)
        log(f"worker {spare.pid}, the spare one, for {standin.pid}")
        self._spare = None
        spare.channel.close()
        self._selector.unregister(spare.end)
        self._employ(Fork(spare.pid, spare.end, connection, server))
        return None

    def _fork(self, standin: StandIn, server: int, connection: socket.socket) -> StandIn | None:
        zygote = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                worker.die_with(zygote)
                self._let_go()
            except Exception as error:
                give_up(connection, error)
            return self._become(standin, connection)
        self._employ(Fork(pid, os.pidfd_open(pid), connection, server))
        log(f"worker {pid} for {standin.pid}")
        return None

    def _employ(self, fork: Fork) -> None:
        self._watch(fork.connection, partial(self._kill, fork))
        self._watch(fork.end, partial(self._bury, fork))
        self._forks[fork.pid] = fork
        self._watch_server(fork.server)

    def _watch_server(self, server: int) -> None:
        """See that workers end with the server, whose stand-ins do not notice that it has died."""
        if server in self._servers:
            return
        with contextlib.suppress(ProcessLookupError):
            self._servers[server] = os.pidfd_open(server)
            self._watch(self._servers[server], partial(self._kill_workers_of, server))

    def _kill_workers_of(self, server: int) -> None:
        end = self._servers.pop(server)
        self._selector.unregister(end)
        os.close(end)
        for fork in self._forks.values():
            if fork.server == server:
                recorder.forget(self._run, fork.pid)
                signal.pidfd_send_signal(fork.end, signal.SIGKILL)

    def _let_go(self) -> None:
        """In a fork: close all that is the zygote's."""
        if self._spare is not None:
            self._spare.channel.close()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            else:
                os.close(key.fd)

    def _become(self, standin: StandIn, connection: socket.socket) -> StandIn:
        """In a fork: become the stand-in's worker."""
        try:
            worker.take_over(standin, self._toolkit)
            recorder.start(self._run, standin.arguments)
            connection.send(b"forked")
            connection.close()
        except Exception as error:
            give_up(connection, error)
        return standin

    def _fork_spare(self) -> StandIn | None:
        """Fork a spare worker. In that fork, return once it has become a stand-in's."""
        zygote, name = os.getpid(), worker.name()
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            # Named before it exists: at no moment is it taken for a worker.
            worker.rename(SPARE.encode())
            pid = os.fork()
            end = os.pidfd_open(pid) if pid else -1
        except OSError as error:
            self._forgo_spares(f"no {SPARE}: {error}")
            return None
        finally:
            if os.getpid() == zygote:
                worker.rename(name)
        if pid == 0:
            ours.close()
            return self._be_spare(zygote, theirs, name)
        theirs.close()
        self._spare = Spare(pid, end, ours)
        self._watch(end, partial(self._bury_spare, self._spare))
        return None

    def _be_spare(self, zygote: int, channel: socket.socket, name: bytes) -> StandIn:
        """In a spare worker: rehearse, wait for a stand-in, and become its worker.

        What is raised here ends the process: it never comes back into the zygote's loop.
        """
        worker.die_with(zygote)
        self._let_go()
        began = time.monotonic()
        preload.rehearse(self._checkpoint)
        channel.send(READY)
        log(f"{SPARE} {os.getpid()} is ready after {time.monotonic() - began:.2f} s")
        pid, handed, *_ = socket.recv_fds(channel, 100, 4)
        channel.close()
        if not handed:
            sys.exit("the warm process has gone")
        *streams, connection = handed
        worker.rename(name)
        standin = self._become(StandIn(int(pid), streams), socket.socket(fileno=connection))
        for stream in streams:
            os.close(stream)
        return standin

    def _kill(self, fork: Fork) -> None:
        """Its stand-in has gone, so a worker goes too."""
        self._selector.unregister(fork.connection)
        fork.connection.close()
        recorder.ask(self._run, fork.pid, fork.end)
        signal.pidfd_send_signal(fork.end, signal.SIGKILL)

    def _bury(self, fork: Fork) -> None:
        """A worker has ended: tell its stand-in how."""
        status = os.waitstatus_to_exitcode(os.waitpid(fork.pid, 0)[1])
        log(f"worker {fork.pid} ended with {status}")
        recorder.close(self._run, fork.pid, status)
        del self._forks[fork.pid]
        self._selector.unregister(fork.end)
        os.close(fork.end)
        if fork.connection.fileno() != -1:
            self._selector.unregister(fork.connection)
            tell(fork.connection, str(status))

    def _bury_spare(self, spare: Spare) -> None:
        """It has ended before it was of use, and the next might too: no loop of forks."""
        status = os.waitstatus_to_exitcode(os.waitpid(spare.pid, 0)[1])
        self._forgo_spares(f"{SPARE} {spare.pid} ended with {status}")
        self._selector.unregister(spare.end)
        os.close(spare.end)
        spare.channel.close()
        self._spare = None

    def _forgo_spares(self, reason: str) -> None:
        log(f"{reason}: from now on, each worker is forked when it is asked for")
        self._keeps_spares = False


def hiding(folders: Iterable[str], names: set[str]) -> str | None:
    """What in the folders would be imported by one of the names, if anything."""
    suffixes = tuple(importlib.machinery.all_suffixes())
    for folder in filter(os.path.isdir, folders):
        for entry in os.scandir(folder):
            if entry.name.partition(".")[0] in names and (
                entry.name.endswith(suffixes) or Path(entry.path, "__init__.py").exists()
            ):
                return entry.path
    return None


def tell(connection: socket.socket, message: str) -> None:
    """Say a last word to a stand-in, which may have gone."""
    with contextlib.suppress(OSError):
        connection.send(message.encode(errors="replace")[:1000])
    connection.close()


def give_up(connection: socket.socket, error: Exception) -> NoReturn:
    """End a fork that cannot become a worker: never back into the zygote's loop."""
    tell(connection, f"the fork failed: {error}")
    os._exit(1)


def log(message: str) -> None:
    """Write to the warm process's own log."""
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)
