"""Locust itself, begun as our commands are: what ends it is told in a line, without a traceback.

Locust replaces Python's sockets when it is imported, before whatever uses them may be: this is the
first that a process runs.
"""

from smoke import fault
from smoke.fault import Fault


def main() -> int:
    """Read Locust's arguments and do as they say; it leaves by itself."""
    from locust.exception import RPCError
    from locust.main import main as locust

    try:
        locust()
    except RPCError as error:
        raise Fault(str(error), "name another port with --master-bind-port") from error
    return 0


if __name__ == "__main__":
    fault.run("load", main)
