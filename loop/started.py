"""After TorchServe was launched: until the app answers, or it is known that it will not."""

import os
import sys

from loop import ready, settings, stage, swap
from smoke.fault import run


def main() -> int:
    """Wait until the server that was just launched answers."""
    app = settings.as_started(settings.read(os.environ["APP"]))
    process = ready.note_start(app)
    if app.is_workflow:
        swap.register_first(app, process)
    seconds = ready.wait_until_answered(app, process)
    print(f"{app.inference_url} answers after {seconds:.1f} s")
    if "--as-served" not in sys.argv:
        # Of the server before; one that serves as before may be about to need them.
        stage.sweep(app, keep=())
    return 0


if __name__ == "__main__":
    run(os.environ.get("VERB", "start"), main)
