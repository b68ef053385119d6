"""What runs, and what is left of what ran: by this app alone, and told by its run folder."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from loop import server, settings, warm
from loop.checks.finding import Finding, ok, warning
from loop.doctor.subject import Subject
from loop.settings import Settings
from smoke.fault import Fault

FIX = "`bin/doctor.sh --fix`"
ASIDE = (".aside", ".next", ".next.aside")


def running(subject: Subject) -> Iterator[Finding]:
    """Whether the server is up, and the process that forks its workers."""
    process = subject.server
    yield ok(f"running, pid {process.pid}" if process else "not running")
    yield ok(f"warm process: {warm.describe(subject.app)}")


def lock(subject: Subject) -> Iterator[Finding]:
    """Which command deploys now; others wait for it."""
    yield ok(f"held by {subject.holder}" if subject.holder else "free")


def watching(subject: Subject) -> Iterator[Finding]:
    """Who reloads at each save."""
    path = subject.app.run / "watch.lock"
    try:
        pid = int(path.read_text(encoding="utf-8"))
        # The file stays when a watch ends, and its pid may be another process by now.
        opened = {each.path for each in psutil.Process(pid).open_files()}
    except (FileNotFoundError, ValueError, psutil.Error):
        pid, opened = 0, set()
    yield ok(f"pid {pid} reloads at each save" if str(path.resolve()) in opened else "nobody")


def orphans(subject: Subject) -> Iterator[Finding]:
    """Processes of this app that have lost their server. A deploy under way may have some."""
    if subject.server or subject.holder:
        return
    app = subject.app
    found = {each.pid for each in server.family(app)}
    found |= {each.pid for first, forks in warm.find(app).items() for each in (first, *forks)}
    if found:
        yield warning(
            f"without a server, there still run: {', '.join(map(_named, sorted(found)))}",
            f"{FIX} or `make stop` ends them",
            partial(_end, app),
        )
    else:
        yield ok("none")


def stale(subject: Subject) -> Iterator[Finding]:
    """Pid file, sockets, keys and unpacked models of a server that is gone."""
    if subject.server or subject.holder:
        return
    run, record = subject.app.run, server.recorded(subject.app)
    found = [*_entries(run / "tmp"), *_entries(run / "cwd")]
    found += [each for each in (run / "server.json", run / "endpoint.json") if each.exists()]
    if found:
        who = f"pid {record.pid} ended without `make stop`" if record else "a server is gone"
        names = ", ".join(str(each.relative_to(run)) for each in found)
        yield warning(
            f"{who}, and left in {run}: {names}",
            f"{FIX} or the next start removes them",
            partial(_clear, subject.app),
        )
    else:
        yield ok("nothing of a server that is gone")


def unfinished(subject: Subject) -> Iterator[Finding]:
    """Files of builds and reloads that were killed."""
    if subject.holder:
        return
    app = subject.app
    found = [each for name in ("versions", "store") for each in (app.run / name).glob("*.aside")]
    if _entries(app.run / "build"):
        found.append(app.run / "build")
    try:
        beside = [app.archive.with_name(app.archive.name + suffix) for suffix in ASIDE]
    except Fault:
        beside = []  # Another check says that config.properties names no archive.
    found += [each for each in beside if each.exists()]
    if found:
        yield warning(
            f"of a build or reload that was killed: {', '.join(map(str, found))}",
            f"{FIX} or the next one removes it",
            partial(_remove, found),
        )
    else:
        yield ok("nothing of a build that was killed")


def links(_: Subject) -> Iterator[Finding]:
    """Links of apps that are gone, in the folder where each app has one."""
    found = [each for each in _entries(settings.LINKS) if _dangles(each)]
    if found:
        yield warning(
            f"{len(found)} link(s) in {settings.LINKS} lead nowhere: their apps are gone",
            f"{FIX} removes them",
            partial(_unlink, found),
        )
    else:
        yield ok(f"none in {settings.LINKS} leads nowhere")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _dangles(link: Path) -> bool:
    try:
        link.stat()
    except (FileNotFoundError, NotADirectoryError):
        return link.is_symlink()
    except OSError:
        pass  # It may lead somewhere that we must not see.
    return False


def _named(pid: int) -> str:
    try:
        return f"pid {pid} ({' '.join(psutil.Process(pid).cmdline())[:60]})"
    except psutil.Error:
        return f"pid {pid}"


def _refuse_running(app: Settings) -> None:
    """The lock keeps our own commands away, but not a torchserve that somebody types."""
    if process := server.find(app):
        raise Fault(f"the server runs again (pid {process.pid})", "look again with `make doctor`")


def _end(app: Settings) -> str:
    _refuse_running(app)
    # Their folder is found by it.
    settings.link_run_folder(app)
    warm_ones = len(warm.find(app))
    killed = server.end(app)
    warm.stop(app)
    return (
        f"ended {killed} process(es) of the server and {warm_ones} warm one(s), and cleared away"
        " what they left"
    )


def _clear(app: Settings) -> str:
    _refuse_running(app)
    killed = server.end(app)
    return f"removed, and ended {killed} process(es)" if killed else "removed"


def _remove(paths: list[Path]) -> str:
    for each in paths:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)
    return "removed"


def _unlink(found: list[Path]) -> str:
    for each in found:
        if _dangles(each):
            each.unlink(missing_ok=True)
    return "removed"
