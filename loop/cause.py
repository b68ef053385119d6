"""From what a worker said to the root cause: what went wrong, on which line of the user's, and the
cure where the fault is a known one.

The first exception of a chain counts: Python prints the cause before its consequence. So does the
first traceback: when a handler's import fails, TorchServe goes on to try a handler of its own, and
the last traceback is about that one.
"""

import ast
import itertools
import linecache
import re
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loop import catalogue
from smoke.terminal import escape

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
FIRST_OF_GROUP = re.compile(r"^[ |]*\+-\+-+ 1 -+$")
RULE = re.compile(r"^ *\+-+( \d+ -+)?$")
NUMBER = re.compile(r"\d+(\.\d+)?")
MARGIN = re.compile(r"^ +[|+] ?")
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

    @property
    def place(self) -> str:
        """FILE:LINE in FUNCTION."""
        function = f" in {self.function}" if self.function else ""
        return f"{Path(self.file).name}:{self.line}{function}"

    def __str__(self) -> str:
        return f"{self.place}: {self.source}" if self.source else self.place


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

    @property
    def kind(self) -> str:
        """The same for two causes that differ in numbers alone: sizes, times."""
        return f"{NUMBER.sub('#', self.what)} {self.frame and self.frame.place}"

    def __str__(self) -> str:
        lines = [self.what]
        if self.frame:
            lines.append(str(self.frame))
        if self.beyond:
            count = f"{len(self.beyond)} frame{'s' * (len(self.beyond) > 1)}"
            packages = " and ".join(dict.fromkeys(each.package for each in self.beyond))
            last = self.beyond[-1]
            lines.append(f"then {count} of {packages}, to {last.place}")
        if self.then:
            lines.append(f"then {self.then}")
        if self.cure:
            lines.append(f"cure: {self.cure}")
        # What a request has sent may be in it.
        return "\n".join(map(escape, "\n  ".join(lines).split("\n")))


def of(messages: Sequence[str]) -> Cause:
    """The cause in what a worker said: in its first traceback, or in its own words."""
    messages = _first_of_group(messages)
    start = next((i for i, each in enumerate(messages) if each.startswith("Traceback ")), None)
    if start is None:
        # A complaint of TorchServe's, or of our own checks.
        return named("\n".join(messages[:SHOWN_LINES]))
    chain = _exceptions(messages[start:])
    what, frames = chain[0]
    if _users(frames) is None:
        # A library has raised and caught it; what came of that says where it was called.
        frames = next((each for _, each in chain if _users(each)), frames)
    last, last_frames = chain[-1]
    place = _users(last_frames)
    # What the user's own code came to after it; not what TorchServe's search for a handler did.
    if len(chain) == 1 or place is None:
        return named(what, frames)
    found = named(what, frames)
    then = last.split("\n")[0]
    if any(LINK.match(each) and "During" in each for each in messages):
        # It was being handled: the fault may be in how.
        found = replace(found, cure=named(last).cure or found.cure)
    return replace(found, then=then if place == found.frame else f"{then}\n    {place}")


def _users(frames: Sequence[Frame]) -> Frame | None:
    """The innermost frame of the user's own."""
    return next((each for each in reversed(frames) if each.is_the_users), None)


def named(what: str, frames: Sequence[Frame] = ()) -> Cause:
    """A cause, with what the catalogue knows of it.

    Args:
        frames: those of the traceback, the innermost last.
    """
    own = [index for index, each in enumerate(frames) if each.is_the_users]
    if own and what.startswith("RecursionError"):
        # Where it ran out of room is chance: the line counts that comes again and again.
        again = Counter(frames[each] for each in own).most_common(1)[0][0]
        own = own[: own.index(frames.index(again)) + 1]
        frames = frames[: own[-1] + 1]
    place = frames[own[-1]] if own else None
    beyond = tuple(frames[own[-1] + 1 :]) if own else ()
    known = catalogue.look_up(what)
    if known is None:
        return Cause(_cut(what), place, beyond)
    return Cause(known.cause or _cut(what), place, beyond, cure=known.cure)


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
    """The one line of a handler on which it calls a function, os._exit say, if it is one."""
    try:
        tree = ast.parse(handler.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call))
    lines = [each.lineno for each in calls if ast.unparse(each.func) == name]
    if len(lines) != 1:
        return None
    return Frame(str(handler), lines[0], "", source_line(str(handler), lines[0]))


def source_line(file: str, line: int) -> str:
    """A line of code; empty if the file has gone."""
    return linecache.getline(file, line).strip()


def _first_of_group(messages: Sequence[str]) -> Sequence[str]:
    """Of an ExceptionGroup, as of asyncio.TaskGroup, the first exception that is in it."""
    for index, message in enumerate(messages):
        if FIRST_OF_GROUP.match(message):
            inner = itertools.takewhile(lambda each: not RULE.match(each), messages[index + 1 :])
            return _first_of_group([MARGIN.sub("", each) for each in inner])
    return messages


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
