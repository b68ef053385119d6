"""From what a worker said to the root cause: what went wrong, on which line of the user's, and the
cure where the fault is a known one.

The first exception of a chain counts: Python prints the cause before its consequence. So does the
first traceback: when a handler's import fails, TorchServe goes on to try a handler of its own, and
the last traceback is about that one.
"""

import ast
import linecache
import re
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loop import catalogue

TRACEBACK = "Traceback (most recent call last):"
# Of a traceback, and, without the comma, of what faulthandler writes.
FRAME = re.compile(r'^ +File "(?P<file>.+)", line (?P<line>\d+)(?:,? in (?P<function>.+))?$')
# What TorchServe's own code in a worker says first of a failure.
LOAD_FAILED = re.compile(r"Failed to load model|Load model .* OOM")
FAILED = re.compile(
    r"Invoking custom service failed|Prediction error|System out of memory|CUDA out of memory"
    r"|model: .*(Invalid return type|number of batch response mismatched)"
    rf"|Unable to serialize model output|Backend worker process died\.|{LOAD_FAILED.pattern}"
)
LINK = re.compile(r"(During handling of the above|The above) exception")
# Python's own library, the installed packages, what calls them, and code that has no file.
STANDARD = (sysconfig.get_path("stdlib"), str(Path(__file__).parent))
LIBRARY = re.compile(rf"/(site|dist)-packages/|^<|^({'|'.join(map(re.escape, STANDARD))})/")
ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
SHOWN_LINES = 3
SHOWN_COLUMNS = 400


@dataclass(frozen=True)
class Frame:
    """One line of code that was being executed.

    Attributes:
        function: empty where the fault is the line itself, as of a syntax error.
        source: the line; empty where it was not told.
    """

    file: str
    line: int
    function: str
    source: str

    @property
    def is_the_users(self) -> bool:
        return not LIBRARY.search(self.file)

    @property
    def package(self) -> str:
        """What it belongs to, where it is not the user's: transformers, say."""
        installed = re.search(r"-packages/(\w+)", self.file)
        return installed[1] if installed else "Python"

    def __str__(self) -> str:
        function = f" in {self.function}" if self.function else ""
        source = f": {self.source}" if self.source else ""
        return f"{Path(self.file).name}:{self.line}{function}{source}"


@dataclass(frozen=True)
class Cause:
    """Why something failed.

    Attributes:
        what: the exception, or what TorchServe or the system said.
        frame: the user's line that was being executed, where there is one.
        beyond: the frames of libraries that were called from there, the failing one last.
        then: the exception that the user's code made of it, where it did.
        cure: what to do, where the fault is a known one.
    """

    what: str
    frame: Frame | None = None
    beyond: tuple[Frame, ...] = ()
    then: str = ""
    cure: str = ""

    def __str__(self) -> str:
        lines = [self.what]
        if self.frame:
            lines.append(str(self.frame))
        if self.beyond:
            count = f"{len(self.beyond)} frame{'s' * (len(self.beyond) > 1)}"
            packages = " and ".join(dict.fromkeys(each.package for each in self.beyond))
            last = self.beyond[-1]
            place = f"{Path(last.file).name}:{last.line} in {last.function}"
            lines.append(f"then {count} of {packages}, to {place}")
        if self.then:
            lines.append(f"then {self.then}")
        if self.cure:
            lines.append(f"cure: {self.cure}")
        return "\n  ".join(lines)


def of(messages: Sequence[str]) -> Cause:
    """The cause in what a worker said: in its first traceback, or in its own words."""
    start = next((i for i, each in enumerate(messages) if each.startswith("Traceback ")), None)
    if start is None:
        # TorchServe's own complaint, with the place of the entry point, if the worker told it.
        told = [each for each in messages if not each.startswith(" ")]
        frames = _frames(messages)
        return named("\n".join(told[:SHOWN_LINES]), frames)
    chain = _exceptions(messages[start:])
    what, frames = chain[0]
    if not any(each.is_the_users for each in frames):
        # TorchServe could not read the input, say, and the handler was called all the same.
        frames = next((own for _, own in chain if any(e.is_the_users for e in own)), frames)
    last, last_frames = chain[-1]
    # What the user's own code raised in its place; not what TorchServe's search for a handler did.
    then = len(chain) > 1 and bool(last_frames) and last_frames[-1].is_the_users
    return named(what, frames, then=last.split("\n")[0] if then else "")


def named(what: str, frames: Sequence[Frame] = (), then: str = "") -> Cause:
    """A cause, with what the catalogue knows of it.

    Args:
        frames: those of the traceback, the innermost last.
    """
    own = [index for index, each in enumerate(frames) if each.is_the_users]
    place = frames[own[-1]] if own else None
    beyond = tuple(frames[own[-1] + 1 :]) if own else ()
    known = catalogue.look_up(what)
    if known is None:
        return Cause(_cut(what), place, beyond, then)
    return Cause(known.cause or _cut(what), place, beyond, then, known.cure)


def of_stack(what: str, stack: Sequence[str]) -> Cause:
    """The cause of a worker's end without an exception.

    Args:
        what: how it ended.
        stack: what faulthandler wrote, the innermost frame of each thread first.
    """
    threads: list[list[str]] = [[]]
    for line in map(_unescaped, stack):
        if "hread 0x" in line:
            threads.append([])
        threads[-1].append(line)
    # The main one is last; where a crash was in another, that is the current one, and first.
    ordered = sorted(threads, key=lambda lines: "".join(lines[:1]).startswith("Current"))
    return named(what, _frames(ordered[-1])[::-1])


def call(handler: Path, name: str) -> Frame | None:
    """The one line of a handler on which it calls a function of that name, if it is one."""
    try:
        tree = ast.parse(handler.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call))
    lines = [each.lineno for each in calls if ast.unparse(each.func).split(".")[-1] == name]
    if len(lines) != 1:
        return None
    return Frame(str(handler), lines[0], "", source_line(str(handler), lines[0]))


def source_line(file: str, line: int) -> str:
    """A line of code; empty if the file has gone."""
    return linecache.getline(file, line).strip()


def _exceptions(messages: Sequence[str]) -> list[tuple[str, list[Frame]]]:
    """The exceptions of a chain, the first cause first: what each says, and its frames."""
    found = []
    part: list[str] = []
    for message in [*messages, TRACEBACK]:
        if message.startswith("Traceback ") or LINK.match(message) or FAILED.match(message):
            if any(_frames(part)):
                found.append((_said(part), _frames(part)))
            part = []
        part.append(message)
    return found or [("\n".join(messages[:SHOWN_LINES]), [])]


def _said(traceback: Sequence[str]) -> str:
    """The exception itself: what stands behind the frames."""
    index = next(i for i in range(1, len(traceback)) if not traceback[i].startswith(" "))
    said: list[str] = []
    for line in traceback[index:]:
        if not line.strip() and said:
            break
        said.append(line)
    return "\n".join(said[:SHOWN_LINES])


def _frames(messages: Sequence[str]) -> list[Frame]:
    found = []
    for index, message in enumerate(messages):
        if match := FRAME.match(message):
            below = messages[index + 1] if index + 1 < len(messages) else ""
            told = below.startswith("    ") and not FRAME.match(below)
            found.append(
                Frame(
                    match["file"],
                    int(match["line"]),
                    match["function"] or "",
                    below.strip() if told else source_line(match["file"], int(match["line"])),
                )
            )
    return found


def _unescaped(line: str) -> str:
    """A line of faulthandler's, which writes ASCII."""
    return ESCAPE.sub(lambda match: chr(int(match[match.lastindex or 0], 16)), line)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_COLUMNS else f"{text[:SHOWN_COLUMNS]}…"
