"""Have Locust ask a served model an app's samples, by many users at a time.

This looks at what was given and at the server, and then becomes Locust, which takes the rest of
the command line (swarm.py). Locust replaces Python's own sockets as soon as it is imported: only
that and the traffic, locustfile.py, import it.
"""

import importlib.util
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from smoke import endpoint, fault, samples, terminal, wording
from smoke.arguments import variable
from smoke.client import Client
from smoke.endpoint import Endpoint
from smoke.fault import Fault

USERS = "16"
TIME = "30s"
# Locust's own grammar.
SPAN = re.compile(r"\d+|(?=\d)(\d+h)?(\d+m)?(\d+s)?")
# How long what is in flight at the end may take; what is cut off then is not counted.
STOP_SECONDS = 10
LOCUSTFILE = Path(__file__).with_name("locustfile.py")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured.

    Attributes:
        users: how many asked at a time.
        seconds: from the first request to the last answer.
        milliseconds: how long an answer took, by what they are called: p50, worst.
    """

    users: int
    requests: int
    failed: int
    seconds: float
    milliseconds: dict[str, float]


def app() -> Path:
    """The app's folder, as APP says."""
    return Path(variable("APP", ".") or "")


def found() -> Endpoint:
    """What is asked: what URL and TOKEN say, or the app's own server.

    Raises:
        Fault: see `endpoint.find`.
    """
    return endpoint.find(app(), variable("URL"), variable("TOKEN"), None)


def locust(words: Sequence[str]) -> list[str]:
    """Locust's arguments: ours, then the user's, which win.

    Raises:
        Fault: USERS or TIME says nothing that Locust could take.
    """
    users, time = variable("USERS", USERS) or "", variable("TIME", TIME) or ""
    if not re.fullmatch(r"0*[1-9]\d*", users, re.ASCII):
        raise Fault(f'USERS "{users}": not a number from 1 up', "give one such as 16")
    if not re.fullmatch(SPAN, time) or not re.search("[1-9]", time):
        raise Fault(f'TIME "{time}": not a time', "give one such as 30s, 5m or 1h30m")
    given = ["--locustfile", str(LOCUSTFILE), "--headless", "--only-summary", *_log(words)]
    if "--worker" not in words:
        # All users at once: who measures a server does not wait for its load.
        given += ["--users", users, "--spawn-rate", users, "--run-time", time]
        given += ["--stop-timeout", str(STOP_SECONDS)]
    if any(each.startswith("--processes") for each in words) and "--worker" not in words:
        given += _own_port()
    return [*given, *words]


def _own_port() -> list[str]:
    """Where the processes of one machine meet: nobody else does, and no other run is in the way."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host, port = probe.getsockname()
    bound = ["--master-bind-host", host, "--master-bind-port", str(port)]
    return [*bound, "--master-host", host, "--master-port", str(port)]


def _log(words: Sequence[str]) -> list[str]:
    """Where Locust logs: of machines that find each other, whoever started them wants to see it."""
    if {"--master", "--worker"} & set(words):
        return []
    return ["--logfile", str(app() / ".run" / "load.log")]


def summary(figures: Figures, colour: bool) -> str:
    """One line on all requests."""
    if not figures.requests:
        line = "load: no answer, and no failure, in this time: make it longer with TIME="
        return terminal.paint(line, "red", colour)
    milliseconds = (f"{name} {value:.0f} ms" for name, value in figures.milliseconds.items())
    asked, rate = wording.requests(figures.requests), figures.requests / figures.seconds
    parts = [
        f"{asked} in {figures.seconds:.1f} s, {figures.users} at a time",
        f"{rate:.1f} a second",
        ", ".join(milliseconds),
        f"{figures.failed} failed" if figures.failed else "all answered",
    ]
    hue = "red" if figures.failed else "green"
    return terminal.paint(f"load: {' · '.join(parts)}", hue, colour)


def main() -> NoReturn:
    """Become Locust, if there is a server to ask and something to ask it."""
    arguments = locust(sys.argv[1:])
    if importlib.util.find_spec("locust") is None:
        raise Fault("there is no Locust in this environment", "run `bin/setup.sh load`")
    # Refuses a server that is not there; what it answers, the load will show. The other samples are
    # read by those who ask them.
    first, model = next(samples.stream(app())), found()
    Client(model.url, model.token).ask(first)
    # With the import path that this has.
    safe = ["-P"] if sys.flags.safe_path else []
    os.execv(sys.executable, [sys.executable, *safe, "-m", "smoke.load.swarm", *arguments])  # noqa: S606


if __name__ == "__main__":
    fault.run("load", main)
