"""All of the server's logs as one readable stream: time, who, level, message.

ts_log.log holds every record once and in order (loop/log4j2.xml sees to that); here it is only
followed, across restarts of the server, and made to read well.
"""

import argparse
import contextlib
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from loop import errors, settings
from smoke import terminal
from smoke.fault import Fault, run

RECORD = re.compile(
    r"^\S+?T(?P<time>[\d:]+),(?P<ms>\d+) \[(?P<level>\w+) *\] (?P<thread>\S+) (?P<logger>\S+) - "
    r"(?P<message>.*)$"
)
WORKER = re.compile(r"^W-(?P<port>\d+)-(?P<model>.+)-std(?:out|err)$")
COLOURS = {"ERROR": "red", "FATAL": "red", "WARN": "yellow", "DEBUG": "dim"}
POLL_SECONDS = 0.1
# What `make metrics` and Prometheus ask every few seconds, and one line a batch for the first.
QUIET = re.compile(
    r'ACCESS_LOG - \S+ "GET /(metrics|models/\S+) HTTP/\S+" 200 '
    r"|WorkerLifeCycle - result=\[METRICS\]"
)


def main() -> int:
    """Print the last records, then follow what comes until Ctrl-C."""
    parser = argparse.ArgumentParser("bin/logs.sh", description=__doc__)
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many to begin with")
    parser.add_argument("--no-follow", action="store_true", help="print what is there, and end")
    parser.add_argument("--errors", action="store_true", help="only failures, each whole and once")
    given = parser.parse_args()
    app = settings.read(os.environ["APP"])
    if given.errors:
        errors.tell(app, given.lines, not given.no_follow)
        return 0
    path = app.run / "logs" / "ts_log.log"
    if not path.exists():
        raise Fault(f"{path} does not exist yet", "start the server with `make redeploy`")
    colour = terminal.has_colour(sys.stdout)
    with path.open(encoding="utf-8", errors="replace") as log:
        for line in deque(telling(log), maxlen=max(0, given.lines)):
            print(readable(line, colour))
        if not given.no_follow:
            for line in telling(follow(path, log)):
                print(readable(line, colour), flush=True)
    return 0


def telling(lines: Iterable[str]) -> Iterator[str]:
    """The lines less those that tell nothing to a reader."""
    return (line for line in lines if not QUIET.search(line))


def follow(path: Path, log: TextIO) -> Iterator[str]:
    """Yield whole lines as they are written, from the file that stands at `path` at the time."""
    begun = ""
    while True:
        line = log.readline()
        if line.endswith("\n"):
            yield begun + line
            begun = ""
        elif line:
            begun += line
        elif _is_another(path, log):
            log = path.open(encoding="utf-8", errors="replace")
        else:
            time.sleep(POLL_SECONDS)


def _is_another(path: Path, log: TextIO) -> bool:
    """Whether there is another file at `path` by now: that of the next server."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino != os.fstat(log.fileno()).st_ino
    return False


def readable(line: str, colour: bool) -> str:
    """One record of TorchServe's as `time who level message`; what is no record, as it is."""
    match = RECORD.match(line.rstrip("\n"))
    if match is None:
        return line.rstrip("\n")
    text = (
        f"{match['time']}.{match['ms']} {_who(match['thread'], match['logger']):20} "
        f"{match['level']:5} {match['message']}"
    )
    painted = colour and match["level"] in COLOURS
    return terminal.paint(text, COLOURS[match["level"]], on=True) if painted else text


def _who(thread: str, logger: str) -> str:
    worker = WORKER.match(thread)
    if logger == "MODEL_LOG" and worker:
        return f"{worker['model']}:{worker['port']}"
    if logger == "ACCESS_LOG":
        return "access"
    return "server"


if __name__ == "__main__":
    run("logs", main)
