"""Versions by hand on the real TorchServe: what is said is so, and something always serves."""

import json
import threading

import pytest

from loop import server, stage
from loop.management import ready_workers
from smoke import endpoint
from smoke.client import Answer, Client, Reply
from smoke.samples import Sample
from tests.tiny_app import HANDLER, TinyApp, management, registered, wait_for

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _first_handler(served: TinyApp) -> None:
    """Each test finds the first handler served by one worker, and nothing kept."""
    served.write("handler.py", HANDLER)
    assert served.run("reload")[0] == 0
    for version in registered(served) - {live(served)}:
        assert served.run("unregister", version)[0] == 0


def live(app: TinyApp) -> str:
    return management(app).live()


def ready(app: TinyApp, version: str) -> int:
    return ready_workers(management(app).describe(version))


def edited(app: TinyApp, word: str = "points") -> str:
    """Register an edited handler. Returns its version."""
    app.write("handler.py", HANDLER.replace('stars"', f'{word}"'))
    before = registered(app)
    code, out, err = app.run("register")
    assert code == 0, out + err
    (new,) = registered(app) - before
    assert f"{app.settings.inference_url}/{new} answers, beside {live(app)}" in out
    return new


def test_a_registered_version_answers_beside_the_live_one_and_stays(served: TinyApp) -> None:
    before = live(served)
    kept = edited(served)
    assert live(served) == before
    code, out, _ = served.run("predict", "--version", kept, "good food")
    assert code == 0
    assert json.loads(out)["label"].endswith("points")
    # Reloads retire what nobody wants any more, and this one is wanted.
    for word in ("dots", "marks", "ticks"):
        served.write("handler.py", HANDLER.replace('stars"', f'{word}"'))
        assert served.run("reload")[0] == 0
    assert kept in registered(served)
    assert len(registered(served)) == 3
    code, out, _ = served.run("models")
    assert code == 0
    (line,) = [line for line in out.splitlines() if kept in line]
    assert line.split()[:6] == ["tiny", kept, "kept", "1", "of", "1"]
    assert f"{live(served)}  live" in out


def test_the_live_version_is_never_taken_away_to_be_registered(served: TinyApp) -> None:
    version = live(served)
    code, out, _ = served.run("register")
    assert code == 0
    assert f"{version} is the live one, and stays" in out
    # As if its worker had died.
    management(served).scale(version, 0)
    wait_for(lambda: not management(served).describe(version)["workers"])
    code, _, err = served.run("register")
    assert code == 4
    assert f"make scale WORKERS=1 VERSION={version}" in err
    assert live(served) == version
    assert served.run("scale", "1")[0] == 0


def test_what_has_fewer_workers_is_no_wreck(served: TinyApp) -> None:
    version = edited(served)
    assert served.run("scale", "0", "--version", version)[0] == 0
    # The tree is the kept version's: it gets its worker back, and stays.
    code, out, err = served.run("compare")
    assert code == 1, out + err
    assert ready(served, version) == 1
    assert served.run("default", version)[0] == 0


def test_a_redeploy_says_which_versions_go(served: TinyApp) -> None:
    version = edited(served)
    served.write("handler.py", HANDLER + "# another tree")
    code, _, err = served.run("redeploy")
    assert code == 0
    assert f"{version} will not be registered any more" in err


def test_a_version_that_does_not_answer_is_not_registered(served: TinyApp) -> None:
    before = registered(served)
    served.write("handler.py", HANDLER.replace('body["text"]', 'body["txet"]'))
    code, _, err = served.run("register")
    assert code == 4
    assert "handler.py:15 in answer" in err
    assert registered(served) == before


def test_a_version_can_be_taken_away_and_loaded_again_by_its_name(served: TinyApp) -> None:
    version = edited(served)
    code, out, _ = served.run("unregister", version)
    assert (code, version in registered(served)) == (0, False)
    assert "is gone" in out
    served.write("handler.py", HANDLER)
    code, out, err = served.run("register", version)
    assert code == 0, err
    assert version in registered(served)
    code, _, err = served.run("register", "nope")
    assert code == 2
    assert "no version nope" in err


def test_another_version_becomes_the_live_one_and_rollback_goes_back(served: TinyApp) -> None:
    before, version = live(served), edited(served)
    code, out, _ = served.run("default", version)
    assert (code, live(served)) == (0, version)
    assert before in out
    assert served.run("default", version)[1] == f"tiny serves {version} already\n"
    assert served.run("rollback")[0] == 0
    assert live(served) == before
    code, _, err = served.run("default", "nope")
    assert (code, live(served)) == (2, before)
    assert version in err


def test_workers_come_and_go_and_it_is_said_when_they_have(served: TinyApp) -> None:
    version = live(served)
    code, out, err = served.run("scale", "3")
    assert (code, ready(served, version)) == (0, 3), err
    assert "3 workers; it had 1" in out
    assert "minWorkers" in err
    code, out, _ = served.run("scale", "1")
    assert (code, len(management(served).describe(version)["workers"])) == (0, 1)
    assert served.ask() is not None


def test_more_workers_of_what_does_not_answer_are_taken_back(served: TinyApp) -> None:
    served.write("handler.py", HANDLER.replace('body["text"]', 'body["txet"]'))
    assert served.run("reload", GATE="none")[0] == 0
    code, _, err = served.run("scale", "2")
    assert code == 4
    assert "handler.py:15 in answer" in err
    assert ready(served, live(served)) == 1


def test_workers_that_do_not_load_leave_as_many_as_there_were(served: TinyApp) -> None:
    version = edited(served)
    folder = stage.folder(served.settings, version)
    staged = folder / "handler.py"
    staged.write_text(f"import nope\n{HANDLER}", encoding="utf-8")
    code, _, err = served.run("scale", "2", "--version", version)
    assert code == 4
    assert "No module named 'nope'" in err
    assert len(management(served).describe(version)["workers"]) == 1
    staged.write_text(HANDLER, encoding="utf-8")


def test_more_workers_than_fit_into_memory_are_refused(served: TinyApp) -> None:
    code, _, err = served.run("scale", "100000")
    assert code == 4
    assert "do not fit into memory" in err
    assert ready(served, live(served)) == 1


def test_what_would_leave_nothing_serving_is_refused(served: TinyApp) -> None:
    version = live(served)
    code, _, err = served.run("scale", "0")
    assert code == 4
    assert "nothing would serve" in err
    code, _, err = served.run("unregister", version)
    assert code == 4
    assert "nothing would serve" in err
    assert served.ask() is not None
    idle = edited(served)
    assert served.run("scale", "0", "--version", idle)[0] == 0
    code, _, err = served.run("default", idle)
    assert (code, live(served)) == (4, version)
    assert f"make scale WORKERS=1 VERSION={idle}" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scale", "two"), "two is no number of workers"),
        (("scale", "1", "--version", "nope"), "no version nope"),
        (("unregister", "nope"), "no version nope"),
        (("unregister",), "required: version"),
        (("compare", "nope"), "no version nope"),
        (("compare", "a", "b", "c"), "more than two"),
    ],
)
def test_wrong_usage_is_named(served: TinyApp, words: tuple[str, ...], said: str) -> None:
    code, _, err = served.run(*words)
    assert code == 2
    assert said in err


def test_two_versions_that_are_named_are_compared(served: TinyApp) -> None:
    first, second = edited(served, "points"), edited(served, "dots")
    code, out, _ = served.run("compare", first, second)
    assert code == 1
    assert f"{first} (registered) → {second} (registered)" in out
    assert "points" in out
    assert "4 labels changed" in out
    code, out, _ = served.run("compare", first)
    assert f"{live(served)} (live) → {first} (registered)" in out
    code, _, err = served.run("compare", first, first)
    assert code == 2
    assert "one version, not two" in err


def test_no_request_is_lost_while_workers_come_and_versions_change_places(
    served: TinyApp,
) -> None:
    before, after = live(served), edited(served)
    found = endpoint.find(served.folder, None, None, None)
    replies: list[Reply] = []
    over = threading.Event()

    def ask() -> None:
        client = Client(found.url, found.token)
        while not over.is_set():
            replies.append(client.ask(Sample("one", "good food")))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for each in askers:
        each.start()
    try:
        assert served.run("scale", "2")[0] == 0
        assert served.run("default", after)[0] == 0
        assert served.run("unregister", before)[0] == 0
    finally:
        over.set()
        for each in askers:
            each.join()
    assert len(replies) > 20
    assert [each for each in replies if not isinstance(each, Answer)] == []


def test_without_a_server_it_is_said(tiny_app: TinyApp) -> None:
    for words in (("models",), ("register",), ("scale", "2")):
        code, _, err = tiny_app.run(*words)
        assert code == 3
        assert "make redeploy" in err
    assert server.find(tiny_app.settings) is None
