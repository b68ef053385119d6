"""The tree's workflow in place of the one that serves.

A workflow has no versions, and TorchServe takes no second one of the same name. So the new one is
first registered under a name of its own and asked the samples; whatever fails by then leaves the
one that serves untouched. Then that one gives up the name, and the new one is registered under it:
for about as long as its models take to load, the name is not found.
"""

import contextlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import psutil

from loop import (
    candidate,
    contents,
    failures,
    gate,
    package,
    ready,
    reload,
    server,
    server_log,
    settings,
)
from loop.budget import Budget
from loop.checks import deploy
from loop.gate import Gate
from loop.management import Management
from loop.process import is_alive
from loop.settings import Settings
from loop.signals import uninterrupted
from smoke import arguments, endpoint
from smoke.client import Client, Failure
from smoke.fault import Fault, Refused, Unanswered, run
from smoke.suite import Suite
from smoke.tally import Tally

VERB = os.environ.get("VERB", "workflow")
POLL_SECONDS = 0.02


def plan(app: Settings) -> None:
    """Print for bash what there is to do.

    SERVING: the version that is served already, if it is the tree's and answers.
    COLD: why the server has to be started anew, if it has.
    """
    packed = contents.of(app)
    record = server.recorded(app)
    serving, cold = "", reload.needs_redeploy(app)
    if not cold and record and record.version == packed.version and ready.answers(app):
        serving = packed.version
    else:
        deploy.refuse_bad(app, packed, VERB)
    print(f"SERVING={serving}")
    print(f"COLD={shlex.quote(cold or '')}")


def register_first(app: Settings, process: psutil.Process) -> None:
    """Register the workflow with a server that is starting.

    Raises:
        Unanswered: it does not load, or the server has ended or does not answer.
    """
    outcome: SimpleQueue[Fault | None] = SimpleQueue()
    Thread(target=_register_once_up, args=(app, outcome), daemon=True).start()
    began = process.create_time()
    for _ in ready.ticks(time.monotonic() + ready.START_SECONDS):
        with contextlib.suppress(Empty):
            fault = outcome.get(timeout=POLL_SECONDS)
            if fault is None:
                return
            raise Unanswered("the workflow does not load", _why(app, fault, began))
        if not is_alive(process):
            raise Unanswered("TorchServe ended before it answered", server_log.last_words(app))
    raise Unanswered(f"no answer within {ready.START_SECONDS:.0f} s", server_log.last_words(app))


def _register_once_up(app: Settings, outcome: SimpleQueue[Fault | None]) -> None:
    """Register the workflow as soon as the port is open, and put what was wrong with it."""
    while True:
        try:
            management = Management(app)
            management.workflows()
            break
        except Unanswered:
            # No key file yet, or no port yet.
            time.sleep(POLL_SECONDS)
    try:
        management.register_workflow(app.name, app.archive.name)
        outcome.put(None)
    except Fault as fault:
        outcome.put(fault)


def swap(app: Settings, kind: Gate) -> None:
    """Put the tree's workflow in place of the one that serves.

    Raises:
        Refused: it is no good; what was serving serves.
        Unanswered: the server does not answer.
        Fault: a file cannot be read.
    """
    budget = Budget()
    management = Management(app)
    packed = contents.of(app)
    loaded = gate.load(app, kind)
    built = app.archive.with_name(f"{app.archive.name}.next")
    built = built if built.exists() else app.archive
    if package.built_version(built) != packed.version:
        raise Fault("the tree has changed while it was packed", "run it again")
    with _candidate(app, management, packed.version, built, budget) as name:
        if kind is not Gate.NONE:
            since = time.time()
            tally = _ask(app, name, loaded)
            gate.show(tally, kind, VERB, budget.spent(f"{tally.size or 1} samples"))
            gate.check(app, packed.version, kind, tally, since)
        with uninterrupted():
            _take_over(app, management, built)
            if record := server.recorded(app):
                server.record(app, replace(record, version=packed.version))
                ready.note_endpoint(app, packed.version)
        budget.spent("switch")
    package.remember(app, packed)
    print(f"{app.inference_url} answers · {packed.version} · {budget}")


@contextlib.contextmanager
def _candidate(
    app: Settings, management: Management, version: str, file: Path, budget: Budget
) -> Iterator[str]:
    """Have a workflow registered beside the one that serves, and take it away again."""
    _take_away(app, management)
    candidate.keep_warm(app)
    since = time.time()
    name = f"{app.name}-{version}"
    if name in management.workflows():
        raise Refused(
            f"somebody has registered a workflow {name}", "unregister it, and run it again"
        )
    # TorchServe unpacks nothing that has another suffix.
    own = file.with_name(f"{name}.war")
    _note(app, name)
    try:
        _copy(file, own)
        try:
            # Ctrl-C waits for it: TorchServe goes on loading, and lists it only when that is done.
            with ThreadPoolExecutor(1) as beside:
                beside.submit(management.register_workflow, name, own.name).result()
        except Unanswered:
            raise
        except Fault as fault:
            why = _why(app, fault, since)
            raise Refused(f"{app.name} {version} does not load", why) from None
        budget.spent("register")
        yield name
    finally:
        with uninterrupted(), contextlib.suppress(Fault):
            own.unlink(missing_ok=True)
            _take_away(app, management)


def _take_away(app: Settings, management: Management) -> None:
    """Remove our candidate, that of a run that was killed too; no other is ours."""
    record = server.recorded(app)
    if record and record.candidate in management.workflows():
        management.unregister_workflow(record.candidate)
    _note(app, None)


def _note(app: Settings, candidate: str | None) -> None:
    """Leave word of which workflow is our candidate."""
    if record := server.recorded(app):
        server.record(app, replace(record, candidate=candidate))


def _ask(app: Settings, name: str, loaded: Suite | None) -> Tally:
    """Ask a candidate all samples; where there are none, one question."""
    since = time.time()
    url = f"{app.addresses[0].url}/wfpredict/{name}"
    client = Client(url, endpoint.find(app.app, None, None, None).token, arguments.THREADS)
    if loaded is not None:
        return Tally.of(loaded.judge(client, arguments.tolerance(), arguments.THREADS, VERB))
    reply = client.ask(ready.question(app))
    if isinstance(reply, Failure):
        why = failures.of_replies(app, [reply], since)[reply]
        raise Refused(f"{name} does not answer: {reply}", str(why))
    return Tally()


def _take_over(app: Settings, management: Management, built: Path) -> None:
    """Give the name to a new archive; if that fails, to the one that had it.

    Raises:
        Refused: it has failed, and what had the name serves again.
        Unanswered: neither loads.
    """
    since, served = time.time(), app.archive.with_name(f"{app.archive.name}.served")
    if built != app.archive:
        built.replace(app.archive)
    try:
        _register_anew(app, management)
        failure = ready.failure(app)
        if failure:
            raise Fault(f"it does not answer: {failure}", "see `make logs`")
    except Fault as fault:
        why = _why(app, fault, since)
        try:
            _copy(served, app.archive)
            _register_anew(app, management)
        except (Fault, OSError):
            what = f"{app.name} does not load once more, nor what served before: {why}"
            raise Unanswered(what, "`make redeploy` starts anew") from None
        raise Refused(f"{app.name} does not load once more", why) from None
    _copy(app.archive, served)


def _register_anew(app: Settings, management: Management) -> None:
    if app.name in management.workflows():
        management.unregister_workflow(app.name)
    management.register_workflow(app.name, app.archive.name)


def _copy(source: Path, target: Path) -> None:
    aside = target.with_suffix(".aside")
    shutil.copyfile(source, aside)
    aside.replace(target)


def _why(app: Settings, fault: Fault, since: float) -> str:
    """Why a workflow does not load: what its workers say, else what TorchServe said."""
    known = [each for each in failures.everything(app) if each.time >= since and each.is_load]
    return str(known[0].cause) if known else str(fault)


def main() -> int:
    """`python -m loop.swap plan`, and `python -m loop.swap`, for bin/workflow.sh."""
    app = settings.read(os.environ["APP"])
    if not app.is_workflow:
        raise Fault(
            f"{app.where('load_models')}: {app.name} is a model, not a workflow",
            "`make reload` swaps it in, or name a workflow's app with APP=",
        )
    kind = gate.requested()
    if "plan" in sys.argv:
        try:
            plan(app)
        except (Fault, OSError) as fault:
            return reload.refusal(VERB, fault, "nothing was touched")
        return 0
    try:
        swap(settings.as_started(app), kind)
    except (Fault, OSError) as fault:
        return reload.refusal(VERB, fault)
    return 0


if __name__ == "__main__":
    run(VERB, main)
