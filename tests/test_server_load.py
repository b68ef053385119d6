"""Load on the real server: nothing is lost while versions come and go, and what fails says why."""

import re

import pytest

from tests.tiny_app import HANDLER, TinyApp, wait_for

pytestmark = pytest.mark.server


def test_a_reload_meanwhile_loses_nothing(served: TinyApp) -> None:
    log = served.settings.run / "load.log"
    load = served.popen("load", USERS="4", TIME="3s")
    wait_for(lambda: log.exists() and "All users spawned" in log.read_text(encoding="utf-8"))
    served.replace('stars"', 'points"')
    assert served.run("reload")[0] == 0
    assert load.poll() is None, "the reload was to end before the load"
    out, err = load.communicate(timeout=60)
    assert load.returncode == 0, out + err
    assert " · all answered\n" in out
    assert str((served.ask() or {})["label"]).endswith("points")


def test_what_fails_is_counted_and_its_cause_is_told(served: TinyApp) -> None:
    fails = HANDLER.replace(
        "text = body", 'if "food 2" in str(body): body["nope"]\n        text = body'
    )
    served.write("handler.py", fails)
    assert served.run("reload", GATE="none")[0] == 0
    code, out, _ = served.run("load", USERS="2", TIME="1s")
    assert code == 1
    (count,) = re.findall(r"failed  (\d+) requests  503 Prediction failed\n        s2\n", out)
    cause = r"KeyError: 'nope'\n  handler\.py:15 in answer: .*\n"
    assert re.search(rf"{cause}  {count} requests, samples: s2\n", out)
