"""What `make metrics` shows of a served app, and what the metrics address tells Prometheus."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
import requests

from smoke import endpoint
from tests import dashboard
from tests.tiny_app import HANDLER, ROOT, TinyApp, wait_for

pytestmark = pytest.mark.server

# The handler that everyone begins with, with a text that it fails on.
FAILING = (
    (ROOT / "handler.py")
    .read_text(encoding="utf-8")
    .replace("self.inference(inputs)", 'self.inference(None if "boom" in str(data) else inputs)')
)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyApp]:
    app = TinyApp(tmp_path_factory.mktemp("counting") / "a b é")
    app.write("handler.py", FAILING)
    try:
        code, out, err = app.run("redeploy")
        assert code == 0, out + err
        asked = ({"text": "good"}, {"text": "boom"}, {"text": "good food"}, {"no text": "here"})
        assert [ask(app, each) for each in asked] == [200, 503, 200, 400]
        yield app
    finally:
        app.close()


def ask(app: TinyApp, question: dict[str, str]) -> int:
    """Ask a question, and say with which status it was answered."""
    found = endpoint.find(app.folder, None, None, None)
    header = {"Authorization": f"Bearer {found.token}"}
    return requests.post(found.url, json=question, headers=header, timeout=30).status_code


def rows(app: TinyApp) -> list[list[str]]:
    """The table, less its head and its foot."""
    code, out, err = app.run("metrics")
    assert code == 0, err
    return [line.split() for line in out.splitlines()[2:] if re.match(r"\w+\*? +[\d-]", line)]


def told(app: TinyApp) -> str:
    """What the metrics address says, to one who has no token."""
    response = requests.get(f"http://127.0.0.1:{app.ports[2]}/metrics", timeout=10)
    assert response.status_code == 200
    return response.text


def test_requests_and_errors_are_counted_with_times_tokens_and_memory(counting: TinyApp) -> None:
    # A worker's metrics come after its answer.
    wait_for(lambda: re.search(r"handler_seconds_count\{.*\} 5\.0", told(counting)))
    ((version, *figures),) = rows(counting)
    assert re.fullmatch(r"\w{7}\*", version)
    # With the one that asked whether it is ready.
    assert figures[:4] == ["5", "1", "1", "-"]
    times = [float(each) for each in figures[4:10]]
    assert times[:3] == sorted(times[:3])
    assert times[3:] == sorted(times[3:])
    assert all(0 < each < 60_000 for each in times)
    tokens, batch, memory = (float(each) for each in figures[10:])
    assert 1 < tokens < 10
    assert batch == 1
    assert memory > 50


def test_the_dashboard_names_only_metrics_and_labels_that_the_server_tells(
    counting: TinyApp,
) -> None:
    text = told(counting)
    for name, labels in dashboard.selected():
        assert f"# TYPE {name.removesuffix('_bucket').removesuffix('_count')} " in text
        samples = re.findall(rf"^{name}\{{(.*)\}}", text, flags=re.MULTILINE)
        assert samples or name == "Requests5XX", name
        assert all(f'{label}="' in each for each in samples for label in labels), name


def test_the_documented_metrics_are_those_that_the_server_tells(counting: TinyApp) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| (`.*?`) \|", text, flags=re.MULTILINE)
    names = [name for cell in named for name in re.findall(r"`(\w+)`", cell)]
    assert len(names) > 10
    assert {name for name in names if f"# TYPE {name} " not in told(counting)} == set()


def test_on_a_terminal_it_is_drawn_in_place_until_ctrl_c(counting: TinyApp) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(ROOT / "bin" / "metrics.sh"), "--every", "0.2"],
        env=counting.environment(TERM="xterm", COLUMNS="80"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = ""
    while seen.count("\x1b[4F") < 3:
        seen += os.read(ours, 4096).decode()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) == 130
    os.close(ours)
    assert "Traceback" not in seen
    assert "\x1b[4F\x1b[J" in seen
    assert re.search(r"\w{7}\* +5 +1 +1 +0\.00 ", seen)


def test_the_logs_say_no_more_than_they_did(counting: TinyApp) -> None:
    rows(counting)
    assert ask(counting, {"text": "good"}) == 200
    _, out, _ = counting.run("logs", "--no-follow", "-n", "1000")
    assert "POST /predictions/tiny" in out
    assert not [line for line in out.splitlines() if "[METRICS]" in line or "GET /" in line]
    log = (counting.folder / ".run" / "logs" / "ts_log.log").read_text(encoding="utf-8")
    assert "handler_" not in log


def test_another_version_has_a_row_of_its_own_and_its_handler_need_not_count(
    counting: TinyApp,
) -> None:
    before = rows(counting)[0]
    counting.write("handler.py", HANDLER)
    code, out, err = counting.run("reload")
    assert code == 0, out + err
    live, previous = rows(counting)
    assert previous[0] + "*" == before[0]
    assert previous[1] == before[1]
    assert live[1:5] == ["-"] * 4
    assert float(live[8]) > 0
    assert "does not count" in counting.run("metrics", "--once")[1]


def test_a_server_that_is_gone_is_told_of(counting: TinyApp) -> None:
    assert counting.run("stop")[0] == 0
    code, out, err = counting.run("metrics")
    assert (code, out) == (3, "")
    assert err == "metrics: the server is not running: start it with `make redeploy`\n"
