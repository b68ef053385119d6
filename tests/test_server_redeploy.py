"""The promises of a cold redeploy, kept against the real server."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loop import server, warm
from tests.tiny_app import TinyApp, wait_for

pytestmark = pytest.mark.server


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ctrl-C: SIGINT to the whole group in the foreground."""
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_an_edit_is_served_after_a_redeploy_and_the_budget_is_printed(served: TinyApp) -> None:
    pid = served.pid
    served.replace("stars", "stars!")
    code, out, err = served.run("redeploy")
    assert code == 0, err
    assert "total" in out
    assert served.pid != pid
    assert str((served.ask() or {})["label"]).endswith("stars!")


def test_a_handler_that_answers_wrongly_is_deployed_and_turns_smoke_red(served: TinyApp) -> None:
    assert served.run("smoke", "accept")[0] == 0
    assert served.run("smoke")[0] == 0
    handler = (served.folder / "handler.py").read_text(encoding="utf-8")
    served.replace("logits.argmax()", "logits.argmin()")
    assert served.run("redeploy")[0] == 0
    code, out, _ = served.run("smoke")
    served.write("handler.py", handler)
    assert code == 1
    assert "4 labels changed" in out


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('context.system_properties["model_dir"]', 'context["x"]', "handler.py:7 in initialize"),
        ("return [self.answer", "return [self.answr", "handler.py:12 in <listcomp>"),
    ],
    ids=["load", "predict"],
)
def test_a_handler_that_fails_is_refused_with_its_cause_and_the_old_one_serves_again(
    served: TinyApp, old: str, new: str, cause: str
) -> None:
    before = served.ask()
    archive = served.archive.read_bytes()
    handler = (served.folder / "handler.py").read_text(encoding="utf-8")
    served.replace(old, new)
    code, _, err = served.run("redeploy")
    served.write("handler.py", handler)
    assert code == 4
    assert cause in err
    assert "what was serving before serves again" in err
    assert served.archive.read_bytes() == archive
    assert served.ask() == before


def test_a_syntax_error_touches_nothing_and_names_its_line(served: TinyApp) -> None:
    pid, handler = served.pid, (served.folder / "handler.py").read_text(encoding="utf-8")
    served.replace("return [self.answer(", "return [self.answer((")
    code, _, err = served.run("redeploy")
    served.write("handler.py", handler)
    assert code == 4
    assert "handler.py:12" in err
    assert served.pid == pid


def test_an_archive_that_never_answered_is_not_what_a_redeploy_goes_back_to(
    served: TinyApp,
) -> None:
    before, handler = served.ask(), (served.folder / "handler.py").read_text(encoding="utf-8")
    archive = served.archive.read_bytes()
    served.replace("import torch\n", "import torch\nimport no_such_module\n")
    assert served.run("archive")[0] == 0
    assert served.archive.read_bytes() != archive
    code, _, err = served.run("redeploy")
    served.write("handler.py", handler)
    assert code == 4
    assert "No module named 'no_such_module'" in err
    assert "what was serving before serves again" in err
    assert served.archive.read_bytes() == archive
    assert served.ask() == before


def test_a_file_that_changes_while_it_is_packed_is_noticed(served: TinyApp) -> None:
    pid, handler = served.pid, (served.folder / "handler.py").read_text(encoding="utf-8")
    served.replace("asked", "was asked")
    process = served.popen("redeploy")
    wait_for(lambda: (served.settings.run / "packed.json").stat().st_mtime > time.time() - 1)
    served.write("handler.py", handler)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "changed while it was packed" in err
    assert served.pid == pid


def test_settings_that_cannot_work_touch_nothing(served: TinyApp) -> None:
    pid = served.pid
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        served.write_config(f"grpc_inference_port={port}")
        code, _, err = served.run("redeploy")
    served.write_config()
    assert code == 4
    assert f"port {port} is taken by pid {os.getpid()}" in err
    assert served.run("redeploy", GPU="7")[0] == 4
    assert served.pid == pid


def test_the_old_server_answers_while_the_archive_is_built_and_survives_ctrl_c(
    served: TinyApp,
) -> None:
    pid, handler = served.pid, (served.folder / "handler.py").read_text(encoding="utf-8")
    archive = served.archive.read_bytes()
    served.replace("asked", "was asked")
    process = served.popen("redeploy")
    wait_for(lambda: (served.settings.run / "build" / "tmp").exists())
    code, err = interrupt(process)
    served.write("handler.py", handler)
    assert code == 130
    assert f"the server still runs (pid {pid})" in err
    assert served.pid == pid
    assert served.ask() is not None
    assert served.archive.read_bytes() == archive
    assert {each.name for each in served.archive.parent.iterdir()} == {
        "tiny.mar",
        "tiny.mar.served",
    }


def test_forked_workers_answer_as_others_do_and_only_they_come_from_a_warm_process(
    served: TinyApp,
) -> None:
    logged = "imports everything anew"
    served.replace("asked about", "warmly asked about")
    assert served.run("redeploy")[0] == 0
    warm_answer = served.ask()
    assert re.search(r"warm +ready \(pid \d+, \d+ MiB", served.run("status")[1])
    assert len(warm.workers(served.settings)) == 1
    assert logged not in served.run("logs", "--no-follow", "-n", "500")[1]
    served.replace("warmly asked", "coldly asked")
    assert served.run("redeploy", WARM="0")[0] == 0
    assert warm.find(served.settings) == {}
    assert served.ask() == warm_answer


def test_ctrl_c_while_the_new_server_starts_leaves_the_old_archive_and_nothing_running(
    served: TinyApp,
) -> None:
    pid, handler = served.pid, (served.folder / "handler.py").read_text(encoding="utf-8")
    archive = served.archive.read_bytes()
    served.replace("asked", "was asked")
    process = served.popen("redeploy")
    wait_for(lambda: served.pid not in (None, pid))
    code, err = interrupt(process)
    served.write("handler.py", handler)
    assert code == 130
    assert "no server runs" in err
    assert served.archive.read_bytes() == archive
    assert server.family(served.settings) == []
    assert served.run("status")[0] == 3
    code, out, err = served.run("start")
    assert code == 0, out + err


def test_settings_that_the_jvm_refuses_are_undone_for_the_server_that_comes_back(
    served: TinyApp,
) -> None:
    served.write_config("vmargs=-XX:NoSuchOption")
    code, _, err = served.run("redeploy")
    served.write_config()
    assert code == 4
    assert "NoSuchOption" in err
    assert "what was serving before serves again" in err
    assert served.ask() is not None
    code, out, err = served.run("redeploy")
    assert "nothing has changed" in out, err


def test_two_redeploys_at_once_are_one_after_the_other(served: TinyApp) -> None:
    served.replace("asked", "was then asked")
    first = served.popen("redeploy")
    wait_for(lambda: (served.settings.run / "build" / "tmp").exists())
    second = served.popen("redeploy")
    assert first.wait(timeout=60) == 0
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0
    assert f"waiting for redeploy (pid {first.pid}" in err
    assert "nothing has changed" in out
    first.communicate()


def test_a_server_that_was_killed_is_reported_and_comes_back_without_orphans(
    served: TinyApp,
) -> None:
    family = server.family(served.settings)
    pid = served.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: served.pid is None)
    code, out, _ = served.run("status")
    assert code == 3
    assert f"pid {pid} ended without `make stop`" in out
    assert served.run("predict", "x")[0] == 3
    assert served.run("redeploy")[0] == 0
    assert served.ask() is not None
    assert not any(process.is_running() for process in family)


def test_two_apps_run_side_by_side_and_stopping_one_leaves_the_other(
    served: TinyApp, tmp_path: Path
) -> None:
    other = TinyApp(tmp_path / "other é")
    # Left to the loop, as most apps leave them; a first one would have TorchServe's own.
    other.grpc_ports = []
    other.write_config()
    try:
        with taken(7070), taken(7071):
            assert other.run("redeploy")[0] == 0
        assert other.run("stop")[0] == 0
        assert served.ask() is not None
        assert psutil.pid_exists(served.pid or 0)
    finally:
        other.close()


@contextlib.contextmanager
def taken(port: int) -> Iterator[None]:
    """See that somebody has the port."""
    with socket.socket() as holder:
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", port))
            holder.listen()
        yield


def test_stop_means_gone_within_a_second_with_its_workers(served: TinyApp) -> None:
    family = server.family(served.settings)
    assert len(family) >= 2
    began = time.monotonic()
    code, out, _ = served.run("stop")
    assert code == 0
    assert "gone" in out
    assert not any(process.is_running() and process.status() != "zombie" for process in family)
    assert warm.find(served.settings) == {}
    assert list((served.settings.run / "tmp").iterdir()) == []
    # Not a figure for speed: the JVM by itself takes 3 s and more.
    assert time.monotonic() - began < 2.5
    assert served.run("stop") == (0, "not running\n", "")


def test_a_pid_file_that_names_a_stranger_harms_nobody(served: TinyApp) -> None:
    stranger = subprocess.Popen(["/bin/sleep", "60"])
    try:
        pid_file = served.settings.run / "tmp" / ".model_server.pid"
        pid_file.write_text(str(stranger.pid), encoding="ascii")
        assert served.run("stop")[0] == 0
        assert stranger.poll() is None
        pid_file.write_text("", encoding="ascii")
        code, _, err = served.run("start")
        assert code == 0, err
        pid_file.write_text(str(stranger.pid), encoding="ascii")
        assert served.run("stop")[0] == 0
        assert stranger.poll() is None
        assert served.pid is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_first_deploy_that_fails_leaves_no_server(tiny_app: TinyApp) -> None:
    tiny_app.replace("import torch\n", "import torch\nimport no_such_module\n")
    code, _, err = tiny_app.run("redeploy")
    assert code == 4
    assert "no_such_module" in err
    assert tiny_app.pid is None
    assert server.family(tiny_app.settings) == []


def test_without_a_checkpoint_nothing_starts_and_the_cure_is_named(tiny_app: TinyApp) -> None:
    (tiny_app.folder / "torch_model" / "model.safetensors").unlink()
    code, _, err = tiny_app.run("redeploy")
    assert code == 4
    assert "no weights in" in err
    assert "make model" in err
