"""One deploy of an app at a time."""

import subprocess
import sys
import time
from pathlib import Path


def test_the_lock_lets_one_deploy_in_and_names_its_holder(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("load_models=a=a.mar\n", encoding="utf-8")
    order = tmp_path / "order"
    hold = f"echo first >> '{order}'; sleep 0.5; echo first done >> '{order}'"
    then = f"echo second >> '{order}'"

    def start(verb: str, script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "loop.lock", "bash", "-c", script]
        environment = {"PATH": "/usr/bin:/bin", "APP": str(tmp_path), "VERB": verb}
        root = Path(__file__).parents[1]
        return subprocess.Popen(
            command, env=environment, cwd=root, stderr=subprocess.PIPE, text=True
        )

    first = start("redeploy", hold)
    while not order.exists():
        time.sleep(0.01)
    second = start("stop", then)
    _, said = second.communicate(timeout=20)
    first.communicate(timeout=20)
    assert f"stop: waiting for redeploy (pid {first.pid}" in said
    assert order.read_text(encoding="utf-8").split("\n") == ["first", "first done", "second", ""]
