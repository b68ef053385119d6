"""One text, as a user gives it on the command line, as the bytes that are sent, and its answer."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

from smoke.fault import Fault

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent: as it is, since the handler judges it."""

    body: bytes
    content_type: str


def add_to(made: ArgumentParser) -> None:
    """Add the ways to give a text."""
    source = made.add_mutually_exclusive_group()
    source.add_argument("text", nargs="?", help="the text itself; - reads stdin; -- before a dash")
    source.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="FILE",
        help="send this file; one that ends in .json as JSON",
    )
    made.add_argument(
        "--top-k", type=int, metavar="N", help="ask for the N labels with the highest scores"
    )


def of(given: Namespace) -> Question:
    """What the arguments of such a parser ask.

    Raises:
        Fault: the file cannot be read, or what is in it cannot be sent with --top-k.
    """
    if given.text is None and given.file is None:
        raise Fault("there is no text", 'give it as "text", -f FILE, or - for stdin')
    question = _given(given)
    return question if given.top_k is None else _with_top_k(question, given.top_k)


def texts(question: Question) -> dict[str, str]:
    """What is asked as the `text`, and perhaps `text_pair`, of a sample.

    Raises:
        Fault: it is neither a plain text nor an object of these.
    """
    try:
        text = question.body.decode()
        content = json.loads(text) if question.content_type == JSON else text
    except ValueError as error:
        raise Fault(f"the input is no plain text ({error})", "save it as UTF-8") from None
    found = content if isinstance(content, dict) else {"text": content}
    plain = all(isinstance(each, str) and "\0" not in each for each in found.values())
    if not plain or not {"text"} <= found.keys() <= {"text", "text_pair"}:
        raise Fault(
            "the input is no single plain text, so it cannot be a sample",
            'give a text, or JSON {"text": …, "text_pair": …}',
        )
    return found


def _given(given: Namespace) -> Question:
    if given.file is not None:
        is_json = given.file.suffix.lower() == ".json"
        return Question(_read(given.file), JSON if is_json else TEXT)
    if given.text == "-":
        return Question(sys.stdin.buffer.read(), TEXT)
    return Question(os.fsencode(given.text), TEXT)


def _with_top_k(question: Question, top_k: int) -> Question:
    """The same input as JSON that also says `top_k`: TorchServe drops the query of predictions.

    Raises:
        Fault: the input is not UTF-8, or not JSON where it should be, so it cannot carry more.
    """
    body = question.body
    try:
        content = json.loads(body) if question.content_type == JSON else body.decode()
    except ValueError as error:
        raise Fault(f"the input cannot be sent with --top-k ({error})", "mend the input") from None
    carrier = content if isinstance(content, dict) else {"data": content}
    return Question(json.dumps({**carrier, "top_k": top_k}).encode(), JSON)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(
            f"{path}: cannot be read ({error.strerror})", "name a file that can, or - for stdin"
        ) from error


def shown(answer: bytes) -> str:
    """An answer for stdout: JSON indented on a terminal and on one line elsewhere."""
    try:
        content = json.loads(answer)
    except ValueError:
        return answer.decode("utf-8", "replace").rstrip("\n") + "\n"
    indent = 2 if sys.stdout.isatty() else None
    return json.dumps(content, ensure_ascii=False, indent=indent) + "\n"


def words(answer: bytes) -> str:
    """What an answer that is a refusal says: its `message` where there is one, else all of it."""
    text = answer.decode("utf-8", "replace").strip()
    try:
        content = json.loads(text)
    except ValueError:
        return text
    message = content.get("message") if isinstance(content, dict) else None
    return message if isinstance(message, str) else text
