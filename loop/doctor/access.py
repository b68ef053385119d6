"""Who can reach the server, and what the environment asks for."""

from collections.abc import Callable, Iterator

from loop import gate, launch
from loop.checks.finding import Finding, failure, ok, warning
from loop.doctor.subject import Subject
from smoke import arguments
from smoke.fault import Fault


def access(subject: Subject) -> Iterator[Finding]:
    """Who can reach the server, and whether it asks for a token."""
    app = subject.app
    launch.refuse_open_server(app)
    beyond = [each.url for each in app.addresses if not each.is_loopback]
    reach = f"open to the network: {', '.join(beyond)}" if beyond else "loopback only"
    if app.tokens:
        yield ok(f"tokens on, {reach}")
    else:
        yield warning(
            f"{app.where('disable_token_authorization')}: every user of this machine, and every"
            " page in your browser, can send requests to the server",
            "remove disable_token_authorization",
        )


def variables(_: Subject) -> Iterator[Finding]:
    """Whether WARM, GATE, BUDGET and TOLERANCE say something that is known."""
    readers: tuple[Callable[[], object], ...] = (
        launch.warm_wanted,
        gate.requested,
        arguments.tolerance,
    )
    broken = 0
    for read in readers:
        try:
            read()
        except Fault as fault:
            broken += 1
            yield failure(fault.what, fault.cure)
    if not broken:
        yield ok(f"GATE={gate.requested()}, WARM={int(launch.warm_wanted())}")
