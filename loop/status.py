"""Is the server up, what does it serve, and is that what lies in the tree."""

import contextlib
import os
import time
from typing import Any

from loop import contents, failures, launch, package, server, server_log, settings, versions, warm
from loop.management import Management, device, memory
from loop.settings import Settings
from loop.versions import Versions
from smoke.fault import Fault, Unanswered, run


def main() -> int:
    """Print the state of the app's server; exit 3 if it is not running."""
    app = settings.read(os.environ["APP"])
    process = server.find(app)
    print(f"app        {app.app}")
    if process is None:
        print(f"server     not running{_vanished(app)}")
        print(f"warm       {warm.describe(app)}")
        print(f"tree       {_tree(app, None)}")
        return Unanswered.exit_code
    up = time.time() - process.create_time()
    print(f"server     running, pid {process.pid}, up {_duration(up)}")
    started = settings.as_started(app)
    wanted = launch.started_with(app)
    if wanted and wanted.config != launch.request(app).config:
        print("settings   config.properties has changed since the start: `make redeploy`")
    for address in started.addresses:
        print(f"{address.key.removesuffix('_address'):10} {address.url}")
    print(f"{'workflow' if started.is_workflow else 'model':10} {started.inference_url}")
    print(f"warm       {warm.describe(app)}")
    management = Management(started)
    if started.is_workflow:
        _print_workflow(app, management)
        return 0
    found = versions.find(started, management)
    for described in management.versions():
        print(f"version    {_version(described, found)}")
    print(f"serving    {_tree(app, found.live)}")
    print_failure(app, found.live, process.create_time())
    return 0


def _print_workflow(app: Settings, management: Management) -> None:
    """Print the nodes of a workflow with their workers, and whether it is the tree's."""
    try:
        nodes = management.nodes()
    except Fault:
        print("serving    nothing: the workflow is not registered: `make redeploy`")
        return
    for described in nodes:
        name = str(described["modelName"]).removeprefix(f"{app.name}__")
        workers = ", ".join(_worker(each) for each in described.get("workers", []))
        version = f" {described['modelVersion']}" if "modelUrl" in described else ""
        print(f"node       {name}{version}: {workers or 'no worker'}")
    record = server.recorded(app)
    print(f"serving    {_tree(app, record.version if record else 'unknown')}")


def print_failure(app: Settings, live: str, since: float) -> None:
    """Print what failed last of the live version, or of the tree's, since the server began."""
    with contextlib.suppress(Fault):
        versions = {live, contents.of(app).version}
        known = [each for each in failures.everything(app) if each.time >= since]
        if failed := [each for each in known if each.version in versions]:
            clock = time.strftime("%H:%M:%S", time.localtime(failed[-1].time))
            what = str(failed[-1].cause).split("\n")[0]
            where = f", {failed[-1].cause.frame.place}" if failed[-1].cause.frame else ""
            print(f"failed     {failed[-1].version} at {clock}: {what}{where}: `make why`")


def _vanished(app: Settings) -> str:
    record = server.recorded(app)
    if record is None:
        return ""
    why = server_log.how_it_ended(app)
    return f": pid {record.pid} ended without `make stop`, {why}; `make redeploy` starts it again"


def _version(described: dict[str, Any], found: Versions) -> str:
    """One version in a line: what it is, its workers, what is waiting."""
    names: dict[str | None, str] = dict.fromkeys(found.kept, " (kept)")
    names |= {found.previous: " (previous)", found.live: " (live)"}
    name = str(described["modelVersion"])
    workers = ", ".join(_worker(each) for each in described.get("workers", [])) or "no worker"
    queue = described.get("jobQueueStatus", {})
    return f"{name}{names.get(name, '')}: {workers} · {queue.get('pendingRequests', 0)} waiting"


def _worker(worker: dict[str, Any]) -> str:
    return (
        f"worker {worker['id']} {str(worker['status']).lower()}"
        f" (pid {worker.get('pid')}, {device(worker)}, {memory(worker) / 2**20:.0f} MiB)"
    )


def _tree(app: Settings, served: str | None) -> str:
    """The served version against the tree's: the same, or which files have changed since."""
    try:
        packed = contents.of(app)
    except Fault as fault:
        return f"{served or 'nothing'}; the tree cannot be packed: {fault}"
    if served is None:
        built = package.built_version(app.archive)
        state = "is built" if built == packed.version else f"is not built (archive: {built})"
        return f"{packed.version} {state}"
    if served == packed.version:
        return f"{served} = your tree"
    changed = ", ".join(package.changed(app, packed, served)) or "the tree"
    cure = "workflow" if app.is_workflow else "reload"
    return f"{served}, {changed} changed since: `make {cure}`"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


if __name__ == "__main__":
    run("status", main)
