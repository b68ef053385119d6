"""Try the handler of the tree on one text, in a process of its own: no server is asked or needed.

Prints what bin/predict.sh would print if the tree were served. What the handler prints or logs goes
to stderr.
"""

import contextlib
import os
import shutil
import struct
import uuid
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path

from loop import package, settings, solo, stage
from loop.checks import deploy
from loop.checks.table import Part
from loop.settings import Settings
from smoke import question
from smoke.fault import Fault, run
from smoke.question import Question

END_OF_LIST = struct.pack("!i", -1)


def main() -> int:
    """Try it: 0 if it answers, 1 if it does not."""
    parser = ArgumentParser(
        "bin/try.sh", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    question.add_to(parser)
    parser.add_argument("--pdb", action="store_true", help="stand in the failing frame")
    given = parser.parse_args()
    if given.pdb and given.text == "-":
        raise Fault("--pdb reads stdin, and so does -", "give the text as it is, or with -f FILE")
    asked = question.of(given)
    app = settings.read_model(os.environ["APP"])
    settings.link_run_folder(app)
    if not given.pdb:
        # Who wants to stand in the failing frame wants it to fail.
        deploy.refuse_bad(app, package.contents(app), "try", (Part.HANDLER, Part.CHECKPOINT))
    request = str(uuid.uuid4())
    with unpacked(app) as model:
        answer = solo.ask(app, model, message(asked, request), request, given.pdb)
    return solo.tell("try", answer, given.pdb)


@contextlib.contextmanager
def unpacked(app: Settings) -> Iterator[Path]:
    """The tree as it would be unpacked from its archive, in a folder that is gone afterwards.

    Large files are linked: nobody has the time to rewrite them meanwhile.

    Raises:
        Fault: there is no handler, or no checkpoint.
    """
    packed = package.contents(app)
    with solo.scratch(app) as folder:
        (folder / "MAR-INF").mkdir()
        manifest = folder / "MAR-INF" / "MANIFEST.json"
        manifest.write_text(stage.manifest(app, packed), encoding="utf-8")
        for file in packed.files:
            if file.stat().st_size < package.LARGE:
                shutil.copyfile(file, folder / file.name)
            else:
                (folder / file.name).symlink_to(file)
        yield folder


def message(asked: Question, request: str) -> bytes:
    """The request that bin/predict.sh would send, as the frontend hands it to a worker."""
    headers = {
        "explain": "False",
        "Accept": "*/*",
        "Content-Length": str(len(asked.body)),
        "Content-Type": asked.content_type,
        "url_path": "",
    }
    kind = asked.content_type.partition(";")[0]
    parts = [part.encode() for header in headers.items() for part in header]
    body = [b"body", kind.encode(), asked.body]
    return b"".join(
        [
            b"I",
            _sized(request.encode()),
            *map(_sized, parts),
            END_OF_LIST,
            *map(_sized, body),
            END_OF_LIST,
            END_OF_LIST,
        ]
    )


def _sized(content: bytes) -> bytes:
    return struct.pack("!i", len(content)) + content


if __name__ == "__main__":
    run("try", main)
