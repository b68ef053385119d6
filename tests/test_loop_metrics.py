"""What is made of the metrics that TorchServe tells, and of the times in its log."""

import re
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml

from loop import frontend, logs, metrics, settings
from loop.frontend import Times
from loop.metrics import Counts, Exposition, Look, Row
from smoke.fault import Fault, Unanswered
from tests import dashboard
from tests.tiny_app import ROOT

# As a server told it: three versions in turn, batches of up to 8, two kinds of errors.
TOLD = (Path(__file__).parent / "captured" / "metrics.txt").read_text(encoding="utf-8")

LOG = """\
2026-11-21T15:33:09,700 [INFO ] W-9000-tiny_1f-stdout org.pytorch.serve.wlm.WorkerLifeCycle - \
result=[METRICS]PredictionTime.Milliseconds:4.52|#ModelName:tiny,Level:Model|#type:GAUGE|\
#hostname:host,1795275185,39841e0c, pattern=[METRICS]
2026-11-21T15:33:09,703 [DEBUG] W-9000-tiny_1f org.pytorch.serve.job.RestJob - \
Waiting time ns: 70525, Backend time ns: 5985927
2026-11-21T15:33:09,704 [DEBUG] W-9001-tiny_1f org.pytorch.serve.job.RestJob - \
Waiting time ns: 2000000, Backend time ns: 5985927
2026-11-21T15:33:09,705 [DEBUG] W-9002-tiny_2e org.pytorch.serve.job.RestJob - \
Waiting time ns: 1000000, Backend time ns: 5985927
2026-11-21T15:33:09,706 [DEBUG] W-9001-tiny_1f org.pytorch.serve.job.RestJob - \
Waiting time ns: 900000000, Inference time ns: 900100000
2026-11-21T15:33:09,707 [DEBUG] W-9003-other_1f org.pytorch.serve.job.RestJob - \
Waiting time ns: 900000000, Backend time ns: 5985927
"""


def app_of(folder: Path, *lines: str) -> settings.Settings:
    text = "\n".join(["load_models=tiny=tiny.mar", *lines])
    (folder / "config.properties").write_text(text, encoding="utf-8")
    return settings.read(folder)


def look(
    time: float, counts: Counts | None, times: Times | None = None, pid: int = 1, version: str = "1"
) -> Look:
    row = Row(version, live=True, memory=300 << 20, times=times or Times(), counts=counts)
    return Look(time, pid, [row], {"2XX": 7})


def cells_of(now: Look, before: Look | None = None) -> list[str]:
    return metrics.table(now, before)[2].split()


def test_each_version_is_counted_by_itself_and_the_server_as_a_whole() -> None:
    told = metrics.read(TOLD, "tiny")
    assert told == Exposition(
        {
            "fe132aa": Counts({"2XX": 2}, tokens=10, batches=2),
            "30ae282": Counts({"2XX": 590, "4XX": 10}, tokens=6972, batches=77),
            "fed78a0": Counts({"2XX": 272, "4XX": 4, "5XX": 24}, tokens=3226, batches=40),
        },
        {"2XX": 899, "4XX": 14, "5XX": 24},
    )
    assert told.versions["fed78a0"].requests == 300
    assert metrics.read(TOLD, "other").versions == {}


def test_the_times_of_each_version_are_read_from_the_log(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    settings.link_run_folder(app)
    try:
        assert frontend.times(app) == {}
        (app.logs / "ts_log.log").write_text(LOG, encoding="utf-8")
        assert frontend.times(app) == {
            "1f": Times(queue=[0.070525, 2.0], handler=[4.52]),
            "2e": Times(queue=[1.0]),
        }
    finally:
        app.link.unlink()


def test_a_row_has_counts_quantiles_means_and_memory() -> None:
    counts = Counts({"2XX": 272, "4XX": 4, "5XX": 24}, tokens=3226, batches=40)
    times = Times(queue=[float(each) for each in range(100, 0, -1)], handler=[0.5])
    row = "1* 300 4 24 - 50.0 95.0 99.0 0.50 0.50 0.50 10.7 7.50 300"
    assert cells_of(look(0, counts, times)) == row.split()


def test_a_table_fits_80_columns_with_each_figure_below_its_name() -> None:
    counts = Counts(dict.fromkeys(("2XX", "4XX", "5XX"), 333_333), tokens=9e9, batches=1e6)
    times = Times(queue=[99_999.0], handler=[9999.4])
    now = look(1, counts, times, version="fe132aa-and-more")
    _, names, row, *rest = metrics.table(now, look(0, Counts()))
    assert len(names) == len(row) == 80
    # Right-aligned, but for the first.
    ends = [[each.end() for each in re.finditer(r"\S+", line)][1:] for line in (names, row)]
    assert ends[0] == ends[1]
    assert row.startswith("fe132a…* ")
    assert all(len(line) <= 80 for line in rest)


def test_a_version_without_requests_shows_no_figures() -> None:
    assert cells_of(look(0, None)) == ["1*", *"-" * 12, "300"]


def test_a_handler_that_does_not_count_is_told_of() -> None:
    served = Times(queue=[1.0], handler=[1.0])
    assert "does not count" in metrics.table(look(0, None, served), None)[-1]
    assert "does not count" not in metrics.table(look(0, Counts(), served), None)[-1]


def test_a_rate_is_that_since_the_look_before() -> None:
    before, now = look(10, Counts({"2XX": 100})), look(12, Counts({"2XX": 130, "5XX": 1}))
    assert cells_of(now, before)[4] == "15.5"
    assert cells_of(now, look(10, None))[4] == "65.5"


@pytest.mark.parametrize(
    "before",
    [
        look(10, Counts({"2XX": 100})),
        look(10, Counts({"2XX": 1}), pid=2),
        look(10, Counts({"2XX": 1}), version="2"),
    ],
    ids=["has counted more", "is of another server", "had another version"],
)
def test_there_is_no_rate_if_the_look_before(before: Look) -> None:
    assert cells_of(look(12, Counts({"2XX": 5})), before)[4] == "-"


def test_while_the_server_restarts_the_table_stays_and_no_rate_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Unanswered('the server is not running: {\n  "code": 404\n}', "start it")
    again = Counts({"2XX": 200})
    looks = [look(14, again, pid=2), look(16, again, pid=2)]
    found: Iterator[Look | BaseException] = iter([gone, *looks, KeyboardInterrupt()])

    def look_at(_: settings.Settings) -> Look:
        each = next(found)
        if isinstance(each, BaseException):
            raise each
        return each

    monkeypatch.setattr(metrics, "look_at", look_at)
    with pytest.raises(KeyboardInterrupt):
        metrics.follow(app_of(tmp_path), look(10, Counts({"2XX": 100})), every=0)
    drawn = re.split(r"\x1b\[\d+F\x1b\[J", capsys.readouterr().out)
    assert [each.count("\n") for each in drawn] == [4, 5, 4, 4]
    rows = [each.splitlines()[2].split() for each in drawn]
    assert [row[1] for row in rows] == ["100", "100", "200", "200"]
    assert [row[4] for row in rows] == ["-", "-", "-", "0.00"]
    told = [each.splitlines()[-1].startswith("metrics: the server is not") for each in drawn]
    assert told == [False, True, False, False]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0, "0.00"), (0.0705, "0.07"), (9.999, "10.0"), (12.34, "12.3"), (123.4, "123")),
        *((1234.5, "1234"), (9999.9, "10k"), (123_456, "123k"), (2e7, "20M"), (3e10, "30G")),
    ],
)
def test_a_number_takes_four_characters(value: float, shown: str) -> None:
    assert metrics.short(value) == shown


def test_metrics_that_go_to_files_are_refused_with_the_line(tmp_path: Path) -> None:
    app = app_of(tmp_path, "metrics_mode=log")
    with pytest.raises(Fault, match=r"config\.properties:2: metrics_mode=log .*=prometheus"):
        metrics.refuse_other_modes(app, app)
    silent = app_of(tmp_path)
    with pytest.raises(Fault, match=r"started with metrics_mode=log: `make stop redeploy`"):
        metrics.refuse_other_modes(silent, silent)
    metrics.refuse_other_modes(silent, app_of(tmp_path, "metrics_mode= Prometheus"))


def test_a_metrics_address_that_is_closed_is_told_with_the_line(tmp_path: Path) -> None:
    closed = app_of(tmp_path, "metrics_mode=prometheus", "enable_metrics_api=false")
    with pytest.raises(
        Fault, match=r"config\.properties:3: enable_metrics_api=false .* remove the"
    ):
        metrics.refuse_other_modes(closed, closed)
    with pytest.raises(Fault, match=r"started with enable_metrics_api=false: `make stop redeploy`"):
        metrics.refuse_other_modes(app_of(tmp_path), closed)


def test_metrics_that_break_off_are_a_fault() -> None:
    with pytest.raises(Fault, match="tells no metrics"):
        metrics.read(TOLD[: TOLD.index("handler_requests_total{") + 40], "tiny")


def test_the_logs_are_quiet_on_metrics() -> None:
    access = '2026-11-21T15:33:09,708 [INFO ] epollEventLoopGroup-4-1 ACCESS_LOG - /127.0.0.1:5 "'
    asked = [f'{access}GET /{path} HTTP/1.1" 200 1\n' for path in ("metrics", "models/tiny/all")]
    refused = f'{access}GET /models/tiny HTTP/1.1" 400 1\n'
    predicted = f'{access}POST /predictions/tiny HTTP/1.1" 200 1\n'
    lines = [*asked, refused, predicted, LOG.splitlines(keepends=True)[0]]
    assert list(logs.telling(lines)) == [refused, predicted]


def test_the_dashboard_asks_only_for_what_a_server_has_told() -> None:
    told = set(re.findall(r"^(\w+)\{", TOLD, flags=re.MULTILINE))
    assert {name for name, _ in dashboard.selected()} <= told


def test_the_dashboards_variables_are_those_that_its_queries_use() -> None:
    used = {name for each in dashboard.queries() for name in re.findall(r"\$(\w+)", each)}
    known = {each["name"] for each in dashboard.dashboard()["templating"]["list"]}
    assert used <= known
    for each in dashboard.queries():
        promql_parser.parse(each)


def test_prometheus_scrapes_the_metrics_address_of_the_root_app() -> None:
    text = (dashboard.FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    address = settings.read(ROOT).addresses[2]
    assert job["static_configs"] == [{"targets": [f"{address.host}:{address.port}"]}]
    assert job["metrics_path"] == "/metrics"
