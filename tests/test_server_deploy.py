"""What a cluster runs, run here: the bundle, the pod's own commands, and the gate in front."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from loop.bundle import POD
from tests.tiny_app import ROOT, TinyApp, own_ports, wait_for

pytestmark = pytest.mark.server

TOKEN = "Bead5"  # noqa: S105 - not a secret
OTHER = "other"
MODEL = "/predictions/tiny"
KSERVE = "/v1/models/tiny:predict"


class Pod:
    """The two containers of a pod, as processes on ports of their own."""

    def __init__(self, app: TinyApp, folder: Path) -> None:
        code, out, err = app.run("bundle")
        assert code == 0, err
        self.bundle = Path(out.strip())
        self.work = folder / "work"
        self.ports = dict(zip(["8085", "8086", "8082", "7070", "7071"], own_ports(5), strict=True))
        self.gate_port = own_ports(1)[0]
        for name in ("config/config.properties", ".run/endpoint.json"):
            self.move(self.bundle / name)
        binaries = Path(sys.prefix) / "bin"
        self.environment = {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "HOME": str(folder),
            "APP": str(self.bundle),
            "WORK": str(self.work),
            "OMP_NUM_THREADS": "1",
            "TOKEN": TOKEN,
            "PORT": str(self.gate_port),
            "TORCHSERVE": str(self.ports["8085"]),
            "METRICS": str(self.ports["8082"]),
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def move(self, file: Path) -> None:
        """Give the file the ports of this pod: here, it is not alone on its addresses."""
        text = file.read_text(encoding="utf-8")
        for port, own in self.ports.items():
            text = text.replace(port, str(own))
        file.write_text(text, encoding="utf-8")

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def start_torchserve(self) -> subprocess.Popen[bytes]:
        started = self.start(ROOT / "deploy" / "serve.sh", self.bundle)
        wait_for(lambda: started.poll() is not None or self.probe() == 0, seconds=90)
        assert started.poll() is None
        return started

    def probe(self, *words: str) -> int:
        """What the kubelet is told."""
        command = [sys.executable, "-m", "smoke.probe", *words]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, check=False
        ).returncode

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gate_port}"

    def ask(self, path: str, token: str = TOKEN) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        body = {"instances": [{"text": "good food"}]}
        return requests.post(self.url + path, json=body, headers=headers, timeout=30)

    def close(self) -> None:
        for process in self.processes:
            # The whole group: its first process may be gone before the others.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinyApp, Pod]]:
    folder = tmp_path_factory.mktemp("pod")
    app = TinyApp(folder / "a b é")
    app.write("handler.py", (ROOT / "handler.py").read_text(encoding="utf-8"))
    pod = Pod(app, folder)
    try:
        pod.start("caddy", "run", "--config", ROOT / "deploy" / "gate" / "Caddyfile")
        pod.start_torchserve()
        yield app, pod
    finally:
        pod.close()
        app.close()


def test_the_pods_own_commands_serve_the_bundle_and_the_probes_say_so(
    pod: tuple[TinyApp, Pod],
) -> None:
    assert pod[1].probe() == 0
    assert pod[1].probe("--alive") == 0


def test_nothing_but_the_gate_listens_beyond_the_pod(pod: tuple[TinyApp, Pod]) -> None:
    served = psutil.Process(int((pod[1].work / ".model_server.pid").read_text(encoding="ascii")))
    listening = {each.laddr for each in served.net_connections("inet") if each.status == "LISTEN"}
    assert {port for _, port in listening} == set(pod[1].ports.values())
    assert {host.removeprefix("::ffff:") for host, _ in listening} == {"127.0.0.1"}


def test_smoke_judges_both_protocols_through_the_gate_by_the_same_goldens(
    pod: tuple[TinyApp, Pod],
) -> None:
    app, served = pod
    assert app.run("smoke", "accept", URL=served.url + MODEL, TOKEN=TOKEN)[0] == 0
    for path in (MODEL, KSERVE):
        code, out, err = app.run("smoke", URL=served.url + path, TOKEN=TOKEN)
        assert code == 0, out + err
    code, out, _ = app.run("smoke", URL=served.url + KSERVE, TOKEN=OTHER)
    assert code == 1
    assert "401" in out


def test_the_gate_lets_in_who_has_the_token_and_to_the_model_alone(
    pod: tuple[TinyApp, Pod],
) -> None:
    assert pod[1].ask(KSERVE).json().keys() == {"predictions"}
    for token in ("", OTHER, TOKEN.upper(), f"{TOKEN}x"):
        assert pod[1].ask(MODEL, token).status_code == 401
    for path in ("/models", "/ping", "/explanations/tiny", "/predictions/../models"):
        assert pod[1].ask(path).status_code == 404
    assert pod[1].ask("/predictions/..%2f..%2fmodels").status_code in (404, 405)


def test_the_end_of_a_pod_is_the_end_of_all_its_processes(pod: tuple[TinyApp, Pod]) -> None:
    serving = pod[1].processes[1]
    family = [psutil.Process(serving.pid), *psutil.Process(serving.pid).children(recursive=True)]
    assert len(family) > 2
    serving.send_signal(signal.SIGTERM)
    serving.wait(timeout=30)
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert pod[1].probe("--alive") == 3


def test_a_bundle_is_as_kserve_expects_it_and_holds_what_is_served(tiny_app: TinyApp) -> None:
    tiny_app.write_config("vmargs=-Xmx1g", "job_queue_size=7", "keystore=mine.p12")
    code, out, err = tiny_app.run("bundle")
    assert code == 0, err
    bundle = Path(out.strip())
    config = (bundle / "config" / "config.properties").read_text(encoding="ascii").splitlines()
    for key, value in POD.items():
        assert f"{key}={value}".replace(":", "\\:") in [*config, f"{key}={value}"]
    assert {"vmargs=-Xmx1g", "job_queue_size=7", "load_models=tiny\\=tiny.mar"} <= set(config)
    assert not [line for line in config if str(tiny_app.folder) in line or "keystore" in line]
    assert "keystore stays behind" in err
    served = (bundle / "model-store" / "tiny.mar").read_bytes()
    assert served == tiny_app.archive.read_bytes()
    assert json.loads((bundle / "smoke" / "samples.jsonl").read_text())["id"] == "s0"
