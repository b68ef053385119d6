"""Reload on the real TorchServe: a new version takes over, or the old one never noticed."""

import json
import os
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from loop import failures, stage, warm
from smoke import endpoint
from smoke.client import Answer, Client
from smoke.samples import Sample
from tests.tiny_app import HANDLER, TinyApp, management, registered, wait_for

pytestmark = pytest.mark.server

SLOW_ON_DEMAND = """import time
        if "slow" in str(body):
            time.sleep(4)
        """


@pytest.fixture(autouse=True)
def handler(served: TinyApp) -> None:
    """Each test finds the first handler served, whatever the one before has done to it."""
    served.write("handler.py", HANDLER)
    assert served.run("reload")[0] == 0


def live(app: TinyApp) -> str:
    return management(app).live()


def label(app: TinyApp) -> object:
    answer = app.ask()
    return answer and answer["label"]


def test_an_edit_is_served_by_the_same_server_and_said_to_be(served: TinyApp) -> None:
    pid, before = served.pid, live(served)
    served.replace('stars"', 'points"')
    code, out, err = served.run("reload")
    assert code == 0, out + err
    assert str(label(served)).endswith("points")
    assert served.pid == pid
    assert live(served) != before
    assert f"tiny serves {live(served)}" in out
    assert "total" in out
    code, out, _ = served.run("status")
    assert f"{live(served)} (live)" in out
    assert f"{before} (previous)" in out
    assert "= your tree" in out


def test_nothing_changed_is_said_and_nothing_is_done(served: TinyApp) -> None:
    before = registered(served)
    code, out, _ = served.run("reload")
    assert code == 0
    assert "nothing has changed" in out
    assert registered(served) == before


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("import torch\n", "import torch\nimport nope\n", "handler.py:2 in <module>: import nope"),
        ("def handle(", "def handle((", "handler.py:11"),
        (".eval()", '.eval()\n        raise KeyError("x")', "handler.py:10 in initialize"),
        ('body["text"]', 'body["txet"]', "handler.py:15 in answer"),
    ],
    ids=["import", "syntax", "load", "answer"],
)
def test_a_version_that_fails_is_refused_with_its_cause_and_leaves_nothing(
    served: TinyApp, old: str, new: str, cause: str
) -> None:
    before, versions_before = live(served), registered(served)
    served.replace(old, new)
    code, _, err = served.run("reload")
    assert code == 4
    assert cause in err
    assert "goes on serving" in err
    assert live(served) == before
    assert registered(served) == versions_before
    # For a while the folder of the last one that was refused stays, to be replayed.
    refused = set(re.findall(r"tiny (\w{7}) ", err))
    assert stage.staged(served.settings) <= versions_before | refused
    assert label(served) is not None


def test_a_version_whose_worker_does_not_live_is_not_asked_on(served: TinyApp) -> None:
    before = live(served)
    handler = (served.folder / "handler.py").read_text(encoding="utf-8")
    served.replace('        print("', '        import os; os._exit(3)\n        print("')
    code, _, err = served.run("reload")
    served.write("handler.py", handler)
    assert code == 4
    assert "does not live to answer: the worker ended itself while answering" in err
    assert "os._exit(3)" in err
    # One worker, and not one for each sample.
    ended = [each for each in failures.recorded(served.settings) if each.end is not None]
    assert len(ended) == 1
    assert live(served) == before


def test_the_gate_of_goldens_refuses_a_changed_label_that_the_gate_of_errors_shows(
    served: TinyApp,
) -> None:
    golden = served.folder / "smoke" / "golden.jsonl"
    try:
        assert served.run("smoke", "accept")[0] == 0
        before = live(served)
        served.replace('stars"', 'points"')
        code, out, err = served.run("reload", GATE="golden")
        assert code == 4
        assert "changes 4 of 4 labels" in err
        assert live(served) == before
        code, out, _ = served.run("reload")
        assert code == 0
        assert "4 labels changed" in out
        assert live(served) != before
    finally:
        golden.unlink(missing_ok=True)


def test_no_gate_asks_no_sample(served: TinyApp) -> None:
    served.replace('body["text"]', 'body["txet"]')
    code, out, err = served.run("reload", GATE="none")
    assert code == 0, err
    assert "samples" not in out
    assert served.run("smoke")[0] == 1


def test_a_gate_that_does_not_exist_is_wrong_usage(served: TinyApp) -> None:
    code, _, err = served.run("reload", GATE="label")
    assert code == 2
    assert "use errors, golden, none" in err


def test_rollback_goes_back_and_forth_at_once(served: TinyApp) -> None:
    first = live(served)
    served.replace('stars"', 'points"')
    assert served.run("reload")[0] == 0
    second = live(served)
    code, out, _ = served.run("rollback")
    assert (code, live(served)) == (0, first)
    assert f"tiny serves {first} again" in out
    assert str(label(served)).endswith("stars")
    assert served.run("rollback")[0] == 0
    assert live(served) == second


def test_rollback_refuses_a_version_that_does_not_answer(served: TinyApp) -> None:
    served.replace('body["text"]', 'body["txet"]')
    assert served.run("reload", GATE="none")[0] == 0
    served.write("handler.py", HANDLER + "\n")
    assert served.run("reload")[0] == 0
    before = live(served)
    code, _, err = served.run("rollback")
    assert code == 4
    assert "handler.py:15 in answer" in err
    assert live(served) == before


def test_compare_shows_what_the_tree_would_change_and_leaves_no_trace(served: TinyApp) -> None:
    before, all_before = live(served), registered(served)
    served.replace('stars"', 'points"')
    code, out, _ = served.run("compare")
    assert code == 1
    assert "4 labels changed" in out
    assert out.count("p50") == 2
    assert (live(served), registered(served)) == (before, all_before)


def test_compare_takes_the_previous_version_where_the_tree_is_live(served: TinyApp) -> None:
    served.write("handler.py", HANDLER + "# the same\n")
    assert served.run("reload")[0] == 0
    code, out, _ = served.run("compare")
    assert code == 0
    assert "(previous) → " in out
    assert "4 same" in out


def test_versions_and_folders_do_not_pile_up_and_a_stranger_s_version_stays(
    served: TinyApp,
) -> None:
    stranger = by_hand(served)
    for number in range(4):
        served.write("handler.py", f"{HANDLER}# {number}\n")
        assert served.run("reload")[0] == 0
    assert len(registered(served)) == 3
    assert stage.staged(served.settings) == registered(served) - {stranger}
    management(served).unregister(stranger)


def by_hand(app: TinyApp) -> str:
    """Register a version as a user would, past all of ours; it has no worker."""
    folder = app.settings.run / "mine"
    shutil.copytree(stage.folder(app.settings, live(app)), folder, dirs_exist_ok=True)
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["model"]["modelVersion"] = "1.0"
    manifest.write_text(json.dumps(content), encoding="utf-8")
    management(app).register(str(app.settings.link / "mine"), workers=0)
    return "1.0"


def test_an_edit_of_the_tree_does_not_reach_a_worker_that_is_started_again(
    served: TinyApp,
) -> None:
    served.write("handler.py", HANDLER + "\n")
    assert served.run("reload")[0] == 0
    served.replace('stars"', 'points"')
    (worker,) = management(served).describe(live(served))["workers"]
    os.kill(worker["pid"], signal.SIGKILL)
    wait_for(lambda: label(served))
    assert str(label(served)).endswith("stars")


def test_a_changed_config_takes_a_redeploy_and_says_so(served: TinyApp) -> None:
    pid = served.pid
    served.write_config("default_response_timeout=99")
    code, _, err = served.run("reload")
    assert code == 0
    assert "config.properties has changed" in err
    assert served.pid not in (None, pid)


def test_a_redeploy_that_fails_goes_back_to_the_reloaded_version(served: TinyApp) -> None:
    served.replace('stars"', 'points"')
    assert served.run("reload")[0] == 0
    before = live(served)
    served.replace("import torch\n", "import torch\nimport nope\n")
    code, _, err = served.run("redeploy")
    assert code == 4
    assert f"tiny serves {before} again" in err
    assert str(label(served)).endswith("points")


def test_ctrl_c_during_a_load_takes_the_new_version_away(served: TinyApp) -> None:
    before, all_before = live(served), registered(served)
    served.replace(".eval()", ".eval()\n        import time\n        time.sleep(60)")
    process = served.popen("reload")
    wait_for(lambda: len(registered(served)) > len(all_before))
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert (live(served), registered(served)) == (before, all_before)
    assert len(stage.staged(served.settings)) <= 2
    assert label(served) is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_end_of_a_reload_takes_the_new_version_away(
    served: TinyApp, number: signal.Signals
) -> None:
    before = registered(served)
    served.replace(".eval()", ".eval()\n        import time\n        time.sleep(60)")
    process = served.popen("reload")
    wait_for(lambda: len(registered(served)) > len(before))
    os.killpg(process.pid, number)
    process.communicate(timeout=30)
    assert registered(served) == before


def test_what_a_killed_reload_has_left_is_never_promoted_and_is_cleared_away(
    served: TinyApp,
) -> None:
    before = registered(served)
    hangs = HANDLER.replace(".eval()", ".eval()\n        import time\n        time.sleep(60)")
    served.write("handler.py", hangs)
    process = served.popen("reload")
    wait_for(lambda: len(registered(served)) > len(before))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    again = served.popen("reload", GATE="none")
    time.sleep(1)
    assert live(served) in before
    os.killpg(again.pid, signal.SIGINT)
    again.communicate(timeout=30)
    served.write("handler.py", HANDLER)
    assert served.run("reload")[0] == 0
    assert registered(served) == before


def test_a_warm_process_that_died_is_replaced_before_the_next_load(served: TinyApp) -> None:
    for process in warm.find(served.settings):
        process.kill()
    wait_for(lambda: label(served))
    served.write("handler.py", HANDLER + "# warm again\n")
    assert served.run("reload")[0] == 0
    (worker,) = management(served).describe(live(served))["workers"]
    assert worker["pid"] in [each.pid for each in warm.workers(served.settings)]


def test_a_golden_gate_without_goldens_stays_shut(served: TinyApp) -> None:
    served.write("handler.py", HANDLER + "# ungated\n")
    code, _, err = served.run("reload", GATE="golden")
    assert code == 4
    assert "has no goldens" in err


def test_no_request_is_lost_while_versions_come_and_go(served: TinyApp) -> None:
    found = endpoint.find(served.folder, None, None, None)
    wrong: list[object] = []
    sent = [0]
    end = threading.Event()

    def send() -> None:
        client = Client(found.url, found.token)
        while not end.is_set():
            reply = client.ask(Sample("s", "good food"))
            sent[0] += 1
            if not isinstance(reply, Answer):
                wrong.append(reply)

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(send) for _ in range(8)]
        try:
            for number in range(8):
                fails = number % 4 == 3
                tail = "raise KeyError" if fails else f"# {number}"
                served.write("handler.py", f"{HANDLER}{tail}\n")
                assert served.run("reload")[0] == (4 if fails else 0)
        finally:
            end.set()
        for client in clients:
            client.result()
    assert wrong == []
    assert sent[0] > 100


def test_load_tells_that_nothing_was_lost_in_a_reload_and_ctrl_c_ends_it(
    served: TinyApp,
) -> None:
    log = served.settings.run / "load.log"
    load = served.popen("load", USERS="4", TIME="60s")
    wait_for(lambda: log.exists() and "All users spawned" in log.read_text(encoding="utf-8"))
    served.replace('stars"', 'points"')
    assert served.run("reload")[0] == 0
    os.killpg(load.pid, signal.SIGINT)
    out, err = load.communicate(timeout=30)
    assert (load.returncode, err) == (130, "")
    (requests,) = re.findall(r"^load: (\d+) requests in .* · all answered\n", out)
    assert int(requests) > 4
    assert str(label(served)).endswith("points")


def test_a_request_that_takes_long_is_answered_before_its_version_is_retired(
    served: TinyApp,
) -> None:
    served.write_config()
    served.write("model-config.yaml", "minWorkers: 2\nmaxWorkers: 2\n")
    served.write("handler.py", HANDLER.replace("text = body", SLOW_ON_DEMAND + "text = body"))
    try:
        assert served.run("redeploy")[0] == 0
        slow = live(served)
        found = endpoint.find(served.folder, None, None, None)
        client = Client(found.url, found.token, connections=2)
        with ThreadPoolExecutor(2) as pool:
            replies = [pool.submit(client.ask, Sample("s", "slow")) for _ in range(2)]
            # The second reload retires the version that is answering.
            for number in range(2):
                served.write("handler.py", f"{HANDLER}# {number}\n")
                assert served.run("reload")[0] == 0
            assert slow not in registered(served)
            assert all(isinstance(reply.result(), Answer) for reply in replies)
    finally:
        (served.folder / "model-config.yaml").unlink()
