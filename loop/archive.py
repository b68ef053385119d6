"""What bin/archive.sh has to build, if anything, and the archiver's arguments for it."""

import os
import shlex
from pathlib import Path

from loop import contents, package, settings, workflow
from loop.checks import deploy
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import run

VERB = os.environ.get("VERB", "archive")


def arguments(app: Settings, packed: Contents) -> list[str]:
    """The archiver's arguments; relative to the app, since a path may hold a comma."""
    if app.is_workflow:
        words = ["--workflow-name", app.archive.stem, "--spec-file", workflow.SPEC]
        return [*words, "--handler", workflow.HANDLER, "--extra-files", str(_version_file(app))]
    extra = ",".join(str(each.relative_to(app.app)) for each in packed.extra)
    words = ["--model-name", app.archive.stem, "--version", packed.version]
    words += ["--handler", "handler.py", "--extra-files", extra]
    words += ["--archive-format", "zip-store"]
    if packed.config:
        words += ["--config-file", packed.config.name]
    if packed.requirements:
        words += ["--requirements-file", packed.requirements.name]
    return words


def _version_file(app: Settings) -> Path:
    """What bin/archive.sh packs beside the files of a workflow; by a path without a comma."""
    return app.link / "build" / package.VERSION_FILE


def main() -> int:
    """Print what is to be built; nothing to build if the archive is current."""
    app = settings.read(os.environ["APP"])
    packed = contents.of(app)
    deploy.refuse_bad(app, packed, VERB)
    package.remember(app, packed)
    if app.is_workflow:
        _version_file(app).write_text(packed.version, encoding="ascii")
    print(f"APPS=({shlex.join(map(str, workflow.apps(app)) if app.is_workflow else ())})")
    print(f"TOOL=torch-{'workflow' if app.is_workflow else 'model'}-archiver")
    print(f"TREE={packed.version}")
    print(f"FILES=({shlex.join(map(str, packed.files))})")
    print(f"BUILT={shlex.quote(package.built_version(app.archive) or '')}")
    print(f"ARGUMENTS=({shlex.join(arguments(app, packed))})")
    return 0


if __name__ == "__main__":
    run(VERB, main)
