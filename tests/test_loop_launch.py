"""What is refused before a server starts, and what it is started with."""

import itertools
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import javaproperties
import pytest

from loop import gpu, launch, ports, settings
from smoke.fault import Fault
from tests.tiny_app import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a b é"
    folder.mkdir()
    yield folder
    (settings.LINKS / settings.Settings(folder, {}, {}).link.name).unlink(missing_ok=True)


def app_of(folder: Path, *lines: str) -> settings.Settings:
    text = "\n".join(["load_models=a=a.mar", *lines])
    (folder / "config.properties").write_text(text, encoding="utf-8")
    app = settings.read(folder)
    settings.link_run_folder(app)
    return app


def effective(app: settings.Settings, request: str = "auto") -> dict[str, str]:
    launch.write_effective_config(app, launch.Request("hash", request, workers=1))
    text = app.effective_config.read_text(encoding="ascii")
    return javaproperties.loads(text)


def test_a_server_open_to_the_network_without_tokens_is_refused(folder: Path) -> None:
    lines = ["management_address=http://0.0.0.0:8081", "disable_token_authorization=true"]
    with pytest.raises(Fault, match=r"config\.properties:2: .* open to the network"):
        launch.refuse_open_server(app_of(folder, *lines))
    launch.refuse_open_server(app_of(folder, lines[0]))
    launch.refuse_open_server(app_of(folder, lines[1]))


@pytest.mark.parametrize("key", ["grpc_inference_address", "grpc_management_address"])
def test_grpc_that_is_open_without_tokens_is_refused_too(folder: Path, key: str) -> None:
    app = app_of(folder, f"{key}=0.0.0.0", "disable_token_authorization=true")
    with pytest.raises(Fault, match=rf"config\.properties:2: {key}=0.0.0.0 is open"):
        launch.refuse_open_server(app)


def test_variables_that_would_replace_what_was_checked_are_refused(folder: Path) -> None:
    with pytest.raises(Fault, match=r"config\.properties:2: variables TS_"):
        launch.refuse_open_server(app_of(folder, "enable_envvars_config=true"))


def test_a_taken_port_names_its_line_and_its_holder(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        app = app_of(folder, f"metrics_address=http://127.0.0.1:{port}")
        message = rf"port {port} is taken by pid {os.getpid()} .* metrics_address in .*:2"
        with pytest.raises(Fault, match=message):
            launch.refuse_taken_ports(app, ours={8080, 8081})
        launch.refuse_taken_ports(app, ours={port, 8080, 8081})


def test_two_addresses_on_one_port_are_refused(folder: Path) -> None:
    app = app_of(folder, "management_address=http://127.0.0.1:8080")
    with pytest.raises(Fault, match="are both port 8080"):
        launch.refuse_taken_ports(app, ours={8080})


def test_the_users_keys_win_and_the_loops_are_added(folder: Path) -> None:
    found = effective(app_of(folder, "default_workers_per_model=3", "job_queue_size=7"))
    assert found["default_workers_per_model"] == "3"
    assert found["job_queue_size"] == "7"
    assert found["enable_model_api"] == "true"
    assert found["grpc_inference_port"] != found["grpc_management_port"]


def test_the_effective_config_is_ascii_with_paths_that_java_finds(folder: Path) -> None:
    found = effective(app_of(folder, "keystore=keys é.p12", "vmargs=-Xmx2g"))
    assert found["keystore"] == str(folder / "keys é.p12")
    assert Path(found["model_store"]).resolve() == folder / "model_store"
    assert found["vmargs"].endswith(" -Xmx2g")


def test_only_the_apps_own_folder_may_be_registered_unless_the_user_says_else(
    folder: Path,
) -> None:
    app = app_of(folder)
    assert effective(app)["allowed_urls"] == f"file://{app.link}/.*"
    assert effective(app_of(folder, "allowed_urls=https://x/.*"))["allowed_urls"] == "https://x/.*"


@pytest.mark.parametrize(
    ("request_", "number", "visible"),
    [
        ("auto", None, None),
        ("cpu", 0, ""),
        ("all", 2, "0,1"),
        ("1", 1, "1"),
        ("1,0", 2, "1,0"),
    ],
)
def test_gpu_requests(
    monkeypatch: pytest.MonkeyPatch, request_: str, number: int | None, visible: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu, "count", lambda: 2)
    assert gpu.resolve(request_) == gpu.Gpus(number, visible)


@pytest.mark.parametrize("request_", ["2", "0,0", "gpu", "0, 1", "-1", ""])
def test_gpu_requests_that_cannot_be_met_are_refused(
    monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: 2)
    with pytest.raises(Fault, match="use "):
        gpu.resolve(request_)


@pytest.mark.parametrize("visible", ["GPU-5f1d", "MIG-77", "-1"])
def test_names_of_devices_that_would_abort_the_start_are_refused(
    monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(Fault, match="CUDA_VISIBLE_DEVICES"):
        gpu.resolve("auto")


def test_a_server_without_gpu_has_none_configured_and_none_visible(folder: Path) -> None:
    app = app_of(folder)
    assert effective(app, "cpu")["number_of_gpu"] == "0"
    assert launch.additions(app, gpu.resolve("cpu"))["CUDA_VISIBLE_DEVICES"] == ""


def test_what_a_server_was_started_with_is_known_whatever_the_file_says_now(folder: Path) -> None:
    app = app_of(folder, "metrics_address=http://127.0.0.1:9")
    launch.write_effective_config(app, launch.request(app))
    now = app_of(folder, "metrics_address=http://127.0.0.1:10")
    assert settings.as_started(now).addresses[2].port == 9
    assert launch.started_with(now) != launch.request(now)
    assert launch.started_with(app_of(folder, "metrics_address=http://127.0.0.1:9")) == (
        launch.request(app)
    )


def test_the_servers_environment_has_nothing_of_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "of another server")
    monkeypatch.setenv("TS_CONFIG_FILE", "/other")
    monkeypatch.setenv("MINE", "kept")
    found = launch.environment(app_of(folder), gpu.Gpus())
    assert found["MINE"] == "kept"
    assert not found.keys() & set(launch.REMOVED)


def test_nothing_that_make_exports_reaches_a_handler() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    exported = re.search(r"^VARIABLES := (.*)$", makefile, flags=re.MULTILINE)
    assert exported
    assert set(exported[1].split()) <= {*launch.REMOVED}


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    assert [launch.threads(workers) for workers in (1, 2, 3, 8)] == [4, 2, 1, 1]


def test_the_ports_for_grpc_are_none_of_the_apps_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = itertools.cycle([40001, 40002, 40003])

    class Probe(socket.socket):
        def bind(self, _: object) -> None:
            self.port = next(given)

        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", self.port

    monkeypatch.setattr(socket, "socket", Probe)
    assert ports.free(1, but=[40001, 40003]) == [40002]
