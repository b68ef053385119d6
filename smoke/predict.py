"""Ask a served model about one text, and print its answer as JSON."""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

from smoke import arguments, fault
from smoke.client import Client, Failure
from smoke.fault import Fault

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


def predict(given: Namespace) -> int:
    """Send what was given, as the bytes it is: the handler judges it.

    Returns:
        0 if the model answered, 1 if the server said something else.
    """
    body, content_type = _body(given)
    if given.top_k is not None:
        body, content_type = _with_top_k(body, content_type, given.top_k), JSON
    found = arguments.find(given)
    response = Client(found.url, found.token).post(body, content_type)
    if isinstance(response, Failure):
        print(f"predict: {response}: see why with `make logs`", file=sys.stderr)
        return 1
    sys.stdout.write(_shown(response.content))
    return 0


def _body(given: Namespace) -> tuple[bytes, str]:
    """The bytes to send, and their content type."""
    if given.file is not None:
        return _read(given.file), JSON if given.file.suffix.lower() == ".json" else TEXT
    if given.text == "-":
        return sys.stdin.buffer.read(), TEXT
    return os.fsencode(given.text), TEXT


def _with_top_k(body: bytes, content_type: str, top_k: int) -> bytes:
    """The same input as JSON that also says `top_k`: TorchServe drops the query of predictions.

    Raises:
        Fault: the input is not UTF-8, or not JSON where it should be, so it cannot carry more.
    """
    try:
        content = json.loads(body) if content_type == JSON else body.decode()
    except ValueError as error:
        raise Fault(f"the input cannot be sent with --top-k ({error})", "mend the input") from None
    carrier = content if isinstance(content, dict) else {"data": content}
    return json.dumps({**carrier, "top_k": top_k}).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(
            f"{path}: cannot be read ({error.strerror})", "name a file that can, or - for stdin"
        ) from error


def _shown(content: bytes) -> str:
    """An answer for stdout: JSON indented on a terminal and on one line elsewhere."""
    try:
        answer = json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace").rstrip("\n") + "\n"
    indent = 2 if sys.stdout.isatty() else None
    return json.dumps(answer, ensure_ascii=False, indent=indent) + "\n"


def main() -> int:
    """Read the command line and do it."""
    parser = arguments.parser("predict", __doc__ or "")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("text", nargs="?", help="the text itself; - reads stdin; -- before a dash")
    source.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="FILE",
        help="send this file; one that ends in .json as JSON",
    )
    parser.add_argument(
        "--top-k", type=int, metavar="N", help="ask for the N labels with the highest scores"
    )
    return predict(parser.parse_args())


if __name__ == "__main__":
    fault.run("predict", main)
