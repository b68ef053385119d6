"""`watch` on the real TorchServe: each save that counts gets its verdict, and no other does."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from loop.watch import LOOK_MS
from tests.tiny_app import HANDLER, TinyApp, registered, wait_for

pytestmark = pytest.mark.server

# Until the folders are watched; a save that comes even sooner is found by the next look.
BEGIN_SECONDS = 0.3
# Long enough for a turn that has nothing to do: what a wrong turn after a verdict would be.
QUIET_SECONDS = 1.0


class Watch:
    """A running `bin/watch.sh`, and what it prints."""

    def __init__(self, app: TinyApp) -> None:
        self.process: subprocess.Popen[str] = app.popen("watch")
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            threading.Thread(target=self._read, args=[stream], daemon=True).start()

    def _read(self, stream: Iterable[str]) -> None:
        for line in stream:
            self._lines.put(line)

    def until(self, text: str, seconds: float = 30) -> list[str]:
        """What is printed, up to a line with the text."""
        said: list[str] = []
        deadline = time.monotonic() + seconds
        while not said or text not in said[-1]:
            said.append(self._lines.get(timeout=max(0.01, deadline - time.monotonic())))
        return said

    def for_a_while(self, seconds: float = QUIET_SECONDS) -> list[str]:
        """What is printed until it has been quiet for a while, or has not been for far too long."""
        said: list[str] = []
        deadline = time.monotonic() + 10 * seconds
        with contextlib.suppress(queue.Empty):
            while time.monotonic() < deadline:
                said.append(self._lines.get(timeout=seconds))
        return said

    def end(self) -> int:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.fixture
def watch(served: TinyApp) -> Iterator[Watch]:
    served.write("handler.py", HANDLER)
    watch = Watch(served)
    try:
        watch.until("watching")
        watch.for_a_while(BEGIN_SECONDS)
        yield watch
    finally:
        watch.end()


def test_a_save_is_served_and_judged_in_two_lines(served: TinyApp, watch: Watch) -> None:
    served.replace("asked about", "was asked about")
    said = watch.until("tiny serves") + watch.for_a_while()
    assert len(said) == 2
    assert "4 samples" in said[0]
    assert "tiny serves" in said[1]


def test_what_changes_nothing_does_nothing(served: TinyApp, watch: Watch) -> None:
    served.write(".handler.py.swp", "x")
    served.write("handler.py~", "x")
    served.write("4913", "x")
    (served.folder / "__pycache__").mkdir(exist_ok=True)
    served.write("__pycache__/handler.pyc", "x")
    served.write("handler.py", HANDLER)
    os.utime(served.folder / "handler.py")
    # Past its next look, too, which it takes without being told of a change.
    assert watch.for_a_while(LOOK_MS / 1000 + 0.5) == []


def test_a_burst_of_saves_is_one_reload_of_the_last(served: TinyApp, watch: Watch) -> None:
    for number in range(10):
        served.write("handler.py", HANDLER.replace("stars", f"of {number}"))
        time.sleep(0.02)
    said = watch.until("tiny serves") + watch.for_a_while()
    assert sum("tiny serves" in line for line in said) == 1
    answer = served.ask()
    assert answer is not None
    assert str(answer["label"]).endswith("of 9")


def test_a_save_by_renaming_counts_as_any_other(served: TinyApp, watch: Watch) -> None:
    handler = served.folder / "handler.py"
    handler.rename(served.folder / "handler.py~")
    served.write("handler.new", HANDLER + "# renamed\n")
    (served.folder / "handler.new").rename(handler)
    assert "tiny serves" in watch.until("tiny serves")[-1]


def test_a_broken_save_is_reported_and_the_next_good_one_recovers(
    served: TinyApp, watch: Watch
) -> None:
    served.replace("import torch\n", "import torch\nimport nope\n")
    said = "".join(watch.until("goes on serving"))
    assert "No module named 'nope'" in said
    assert "handler.py:2 in <module>: import nope" in said
    assert served.ask() is not None
    served.write("handler.py", HANDLER + "# mended\n")
    watch.until("tiny serves")


def test_a_save_that_takes_another_back_is_judged_too(served: TinyApp, watch: Watch) -> None:
    before = registered(served)
    served.replace(".eval()", ".eval()\n        import time\n        time.sleep(1)")
    wait_for(lambda: registered(served) > before)
    served.write("handler.py", HANDLER)
    said = "".join(watch.until("nothing has changed") + watch.for_a_while())
    assert "tiny serves" not in said.replace("nothing has changed: tiny serves", "")


def test_a_save_during_a_load_that_hangs_is_not_kept_waiting(served: TinyApp, watch: Watch) -> None:
    before = registered(served)
    served.replace(".eval()", ".eval()\n        import time\n        time.sleep(60)")
    wait_for(lambda: registered(served) > before)
    served.write("handler.py", HANDLER + "# mended\n")
    assert "tiny serves" in watch.until("tiny serves", seconds=10)[-1]


def test_a_change_of_the_checkpoint_is_a_save(served: TinyApp, watch: Watch) -> None:
    names = served.folder / "torch_model" / "index_to_name.json"
    try:
        names.write_text('{"0": "a", "1": "b", "2": "c"}', encoding="utf-8")
        watch.until("tiny serves")
    finally:
        names.unlink()


def test_a_changed_config_is_redeployed_and_judged(served: TinyApp, watch: Watch) -> None:
    pid = served.pid
    served.write_config("default_response_timeout=98")
    said = "".join(watch.until("4 samples"))
    assert "config.properties has changed" in said
    assert served.pid not in (None, pid)


def test_ctrl_c_leaves_the_server_running_and_says_so(served: TinyApp, watch: Watch) -> None:
    pid = served.pid
    os.killpg(watch.process.pid, signal.SIGINT)
    assert "runs on" in "".join(watch.until("watch: ended"))
    assert watch.process.wait(timeout=10) == 0
    assert served.pid == pid
    assert served.ask() is not None


def test_a_second_watch_is_refused_and_names_the_first(served: TinyApp, watch: Watch) -> None:
    code, _, err = served.run("watch")
    assert code == 2
    assert f"pid {watch.process.pid} is watching" in err
