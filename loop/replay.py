"""Ask the version that failed the same again, in a process of its own.

Prints what it answers now, or the failure. What the handler prints or logs goes to stderr.
"""

import os
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from loop import failures, package, recorder, settings, solo, stage, trial
from loop.failures import Failure
from loop.settings import Settings
from smoke.fault import Fault, run


def main() -> int:
    """Replay a request: 0 if it is answered now, 1 if it fails."""
    parser = ArgumentParser(
        "bin/replay.sh", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("request", nargs="?", help="the x-request-id; without it, the last failure")
    parser.add_argument("--pdb", action="store_true", help="stand in the failing frame")
    given = parser.parse_args()
    app = settings.read_model(os.environ["APP"])
    settings.link_run_folder(app)
    failure = find(app, given.request)
    # Its whole batch is asked: it may have failed only as such.
    batch = recorder.decode(failure.batch or [])
    request = given.request or failure.requests[0]
    with ExitStack() as stack:
        model = folder(app, failure.version) or stack.enter_context(_tree(app, failure.version))
        answer = solo.ask(app, model, batch, request, given.pdb)
    return solo.tell("replay", answer, given.pdb)


def find(app: Settings, request: str | None) -> Failure:
    """A failed request, or the last one, whose input was kept.

    Raises:
        Fault: there is none.
    """
    if request is None:
        known = [each for each in failures.everything(app) if not each.is_load]
        if not known:
            raise Fault("no request is known to have failed", "see `make logs`")
        failure = known[-1]
    else:
        failure = failures.find(app, request)
    if failure.batch is None:
        raise Fault(
            "the input of that request was not kept: model-config.yaml says `log_inputs: false`,"
            " or its worker was not forked from the warm process (WARM=0)",
            "try the input itself with `bin/try.sh`",
        )
    return failure


def folder(app: Settings, version: str) -> Path | None:
    """Where a version lies as it is served, or was."""
    staged = stage.folder(app, version)
    if staged.is_dir():
        return staged
    unpacked = (app.tmp / "models").iterdir() if (app.tmp / "models").is_dir() else ()
    return next((each for each in unpacked if recorder.version_in(str(each)) == version), None)


def _tree(app: Settings, version: str) -> AbstractContextManager[Path]:
    """The tree, if it is that version.

    Raises:
        Fault: it is another.
    """
    if package.contents(app).version != version:
        raise Fault(
            f"version {version}, which failed, has been cleared away, and the tree is another",
            "try the input on the tree with `bin/try.sh`",
        )
    return trial.unpacked(app)


if __name__ == "__main__":
    run("replay", main)
