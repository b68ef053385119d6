"""A served app, from outside: what it answers, and what is said about it."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from loop import launch, package, server
from tests.tiny_app import ROOT, TinyApp

pytestmark = pytest.mark.server


def test_predict_prints_the_answer_as_json_from_any_folder(served: TinyApp) -> None:
    answer = served.ask("good food")
    assert answer is not None
    assert answer.keys() == {"label", "score"}


def test_a_failed_prediction_exits_1_with_the_servers_words(
    served: TinyApp, tmp_path: Path
) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"no text": "here"}', encoding="utf-8")
    code, out, err = served.run("predict", "-f", str(file))
    assert (code, out) == (1, "")
    assert "503" in err
    assert "x-request-id" in err


def test_the_token_is_printed_as_the_header_that_curl_needs(served: TinyApp) -> None:
    _, header, _ = served.run("token")
    assert re.fullmatch(r"Authorization: Bearer \S+\n", header)
    url = served.settings.inference_url
    command = ["curl", "-s", "-m", "10", "-H", header.strip(), "-H", "Content-Type: text/plain"]
    curl = subprocess.run([*command, "-d", "good", url], capture_output=True, check=True)
    assert json.loads(curl.stdout)["label"]
    bare = subprocess.run([*command[:4], "-d", "good", url], capture_output=True, check=True)
    assert b"InvalidKeyException" in bare.stdout


def test_status_names_pid_addresses_workers_and_that_it_is_the_tree(served: TinyApp) -> None:
    code, out, _ = served.run("status")
    assert code == 0
    assert f"pid {served.pid}" in out
    for port in served.ports:
        assert f"http://127.0.0.1:{port}" in out
    assert re.search(r"worker 9000 ready \(pid \d+, CPU, \d+ MiB\)", out)
    assert "= your tree" in out


def test_status_names_what_has_changed_since(served: TinyApp) -> None:
    before = (served.folder / "handler.py").read_text(encoding="utf-8")
    served.replace("asked about", "was asked about")
    try:
        assert "handler.py changed since" in served.run("status")[1]
    finally:
        served.write("handler.py", before)


def test_status_says_that_settings_have_changed(served: TinyApp) -> None:
    served.write_config("job_queue_size=7")
    try:
        assert "config.properties has changed" in served.run("status")[1]
    finally:
        served.write_config()


def test_status_asks_the_running_server_whatever_the_file_says_now(served: TinyApp) -> None:
    mine = served.ports[0]
    served.ports[0] = 1
    served.write_config()
    served.ports[0] = mine
    try:
        code, out, _ = served.run("status")
        assert code == 0
        assert f"http://127.0.0.1:{mine}" in out
        assert "config.properties has changed" in out
    finally:
        served.write_config()


def test_a_second_redeploy_changes_nothing_and_says_so(served: TinyApp) -> None:
    pid = served.pid
    code, out, _ = served.run("redeploy")
    assert code == 0
    assert "nothing has changed" in out
    assert served.pid == pid


def test_starting_a_running_server_is_refused(served: TinyApp) -> None:
    pid = served.pid
    code, _, err = served.run("start")
    assert code == 2
    assert f"start: already running (pid {pid})" in err
    assert served.ask() is not None


def test_what_the_handler_prints_is_in_the_logs_once_and_at_once(served: TinyApp) -> None:
    text = f"good {time.time_ns()}"
    assert served.ask(text) is not None
    _, out, _ = served.run("logs", "--no-follow", "-n", "200")
    lines = [line for line in out.splitlines() if f"asked about {text}" in line]
    assert len(lines) == 1
    assert re.match(r"[\d:.]{12} tiny_\w{7}:9000 +INFO  asked about", lines[0])
    changes = [line for line in out.splitlines() if "State change" in line]
    assert changes
    assert len(set(changes)) == len(changes)


def test_the_worker_gets_the_model_folder_and_nothing_of_the_toolkits(served: TinyApp) -> None:
    [worker] = [
        process
        for process in server.family(served.settings)
        if any("model_service_worker" in word for word in process.cmdline())
    ]
    environment = worker.environ()
    first, _, rest = environment["PYTHONPATH"].partition(":")
    assert Path(first).parent == served.folder / ".run" / "tmp" / "models"
    assert str(ROOT) not in rest.split(":")
    assert not environment.keys() & set(launch.REMOVED)
    assert environment["OMP_NUM_THREADS"] == str(launch.threads(1))


def test_smoke_is_red_without_goldens_green_with_them_and_red_when_a_label_changes(
    served: TinyApp,
) -> None:
    assert served.run("smoke")[0] == 1
    assert served.run("smoke", "accept")[0] == 0
    code, out, err = served.run("smoke")
    assert code == 0, out + err
    golden = served.folder / "smoke" / "golden.jsonl"
    accepted = golden.read_text(encoding="utf-8")
    head, *rows = [json.loads(line) for line in accepted.splitlines()]
    made_with = head["made_with"]
    assert made_with["version"] == package.contents(served.settings).version
    assert (made_with["device"], made_with["dtype"]) == ("cpu", "float32")
    assert made_with.keys() >= {"torch", "transformers", "batch"}
    rows[0]["label"] = "another"
    served.write("smoke/golden.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    changed = golden.read_text(encoding="utf-8")
    code, out, _ = served.run("smoke")
    assert code == 1
    assert "s0" in out
    assert golden.read_text(encoding="utf-8") == changed
