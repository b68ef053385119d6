"""Which files of the tree's checkpoint are not those that are served: `smoke --deep` cannot know.

bin/smoke.sh tells it in CHANGED_SINCE.
"""

from pathlib import Path

from loop import contents, package, settings
from smoke import arguments
from smoke.fault import run

OTHERS = ("handler.py", "model-config.yaml", "requirements.txt")


def main() -> int:
    """`python -m loop.changed`, with the words of `python -m smoke`: print their names."""
    given, _ = arguments.parser("changed", __doc__ or "").parse_known_args()
    if not given.url:
        print(", ".join(since(given.app, arguments.find(given).made_with.get("version"))))
    return 0


def since(folder: Path, version: str | None) -> list[str]:
    """The files of torch_model/ that differ from a version's, where those are known."""
    app = settings.read(folder)
    packed = contents.of(app)
    return [each for each in package.changed(app, packed, version or "") if each not in OTHERS]


if __name__ == "__main__":
    run("changed", main)
