"""The header that curl needs: `curl -H "$(bin/token.sh)" …`."""

import os
import sys

from loop import management, settings
from smoke.fault import Fault, run


def main() -> int:
    """Print the header for the inference API, or for the one that is named."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "inference"
    if kind not in ("inference", "management"):
        raise Fault(f"there is no {kind} token", "say inference or management")
    app = settings.as_started(settings.read(os.environ["APP"]))
    for name, value in management.header(app, kind).items():
        print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    run("token", main)
