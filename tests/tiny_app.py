"""A whole app with a tiny model, on ports of its own, for tests against the real TorchServe."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from loop import ports, server, settings, warm
from loop.management import Management

ROOT = Path(__file__).parents[1]

# Below those that a system gives to connections and to whoever asks for any free port: none is
# taken by chance before its server is up, or while it is between two starts.
PORTS = range(10_000, 32_000)
given: set[int] = set()

# No user's server has them, and PYTEST_CURRENT_TEST would have each test start warm workers anew.
NOT_THE_USERS = re.compile("URL|TOKEN|MAKEFLAGS|WARM|PYTEST_.*")

HANDLER = """\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Handler:
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def handle(self, data, context):
        return [self.answer(row["body"]) for row in data]

    def answer(self, body):
        text = body["text"] if isinstance(body, dict) else body
        print("asked about", text)
        with torch.inference_mode():
            logits = self.model(**self.tokenizer(text, return_tensors="pt")).logits[0]
        best = int(logits.argmax())
        return {"label": f"{best} stars", "score": float(logits.softmax(-1)[best])}
"""


def own_ports(number: int) -> list[int]:
    """So many loopback ports that no other app of the tests has, whichever process runs them."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    found: list[int] = []
    while len(found) < number:
        port = random.choice(PORTS[process::processes])  # noqa: S311 - no secret
        if port not in given and ports.is_free("127.0.0.1", port):
            found.append(port)
            given.add(port)
    return found


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class TinyApp:
    """An app's folder, and the commands that a user would run on it."""

    def __init__(self, folder: Path) -> None:
        # Not above: see conftest.py.
        from tests import tiny_checkpoints

        self.folder = folder
        self.ports = own_ports(3)
        self.grpc_ports = own_ports(2)
        (folder / "smoke").mkdir(parents=True)
        tiny_checkpoints.save_bert(folder / "torch_model", num_labels=3)
        self.write("handler.py", HANDLER)
        self.write_config()
        samples = [{"id": f"s{i}", "text": f"good food {i}"} for i in range(4)]
        lines = "".join(json.dumps(sample) + "\n" for sample in samples)
        self.write("smoke/samples.jsonl", lines)

    def write_config(self, *lines: str) -> None:
        """Write the config with the app's own ports, and with more lines, which win."""
        urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        own = {"load_models": "tiny=tiny.mar"}
        own |= zip(settings.ADDRESSES, urls, strict=True)
        own |= {key: str(port) for key, port in zip(settings.GRPC, self.grpc_ports, strict=False)}
        more = {line.partition("=")[0] for line in lines}
        kept = [f"{key}={value}" for key, value in own.items() if key not in more]
        self.write("config.properties", "\n".join([*kept, *lines]))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def replace(self, old: str, new: str) -> None:
        """Edit the handler."""
        text = (self.folder / "handler.py").read_text(encoding="utf-8")
        assert old in text
        self.write("handler.py", text.replace(old, new))

    @property
    def settings(self) -> settings.Settings:
        return settings.read(self.folder)

    @property
    def archive(self) -> Path:
        return self.settings.archive

    @property
    def pid(self) -> int | None:
        """The pid of the running server."""
        found = server.find(self.settings)
        return None if found is None else found.pid

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not NOT_THE_USERS.fullmatch(k)}
        return {**kept, "APP": str(self.folder), **more}

    def popen(self, verb: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command of bin/, in a session of its own, as a terminal would."""
        return subprocess.Popen(
            [str(ROOT / "bin" / f"{verb}.sh"), *words],
            env=self.environment(**environment),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, verb: str, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run a command of bin/ to its end: exit code, stdout, stderr."""
        process = self.popen(verb, *words, **environment)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, out, err

    def ask(self, text: str = "good food") -> dict[str, object] | None:
        """What the model says, or None if it does not answer."""
        code, out, _ = self.run("predict", text)
        return dict(json.loads(out)) if code == 0 else None

    def close(self) -> None:
        """Leave nothing running, whatever a test has done."""
        try:
            warm.stop(self.settings)
            server.end(self.settings)
        finally:
            self.settings.link.unlink(missing_ok=True)


def management(app: TinyApp) -> Management:
    return Management(settings.as_started(app.settings))


def registered(app: TinyApp) -> set[str]:
    """The versions that the server knows."""
    return {each["modelVersion"] for each in management(app).versions()}
