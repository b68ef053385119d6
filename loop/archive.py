"""What bin/archive.sh has to build, if anything, and the archiver's arguments for it."""

import os
import shlex

from loop import package, settings
from loop.checks import deploy
from loop.package import Contents
from loop.settings import Settings
from smoke.fault import run

VERB = os.environ.get("VERB", "archive")


def arguments(app: Settings, packed: Contents) -> list[str]:
    """The archiver's arguments; relative to the app, since a path may hold a comma."""
    extra = ",".join(str(each.relative_to(app.app)) for each in packed.extra)
    words = ["--model-name", app.archive.stem, "--version", packed.version]
    words += ["--handler", "handler.py", "--extra-files", extra]
    if packed.config:
        words += ["--config-file", packed.config.name]
    if packed.requirements:
        words += ["--requirements-file", packed.requirements.name]
    return words


def main() -> int:
    """Print what is to be built; nothing to build if the archive is current."""
    app = settings.read(os.environ["APP"])
    packed = package.contents(app)
    deploy.refuse_bad(app, packed, VERB)
    package.remember(app, packed)
    print(f"TREE={packed.version}")
    print(f"FILES=({shlex.join(map(str, packed.files))})")
    print(f"BUILT={shlex.quote(package.built_version(app.archive) or '')}")
    print(f"ARGUMENTS=({shlex.join(arguments(app, packed))})")
    return 0


if __name__ == "__main__":
    run(VERB, main)
