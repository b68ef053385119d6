"""A whole app with a tiny model, on free ports, for tests against the real TorchServe."""

import json
import os
import signal
import subprocess
from pathlib import Path

from loop import ports, server, settings, warm
from tests import tiny_checkpoints

ROOT = Path(__file__).parents[1]

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


class TinyApp:
    """An app's folder, and the commands that a user would run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = ports.free(3)
        (folder / "smoke").mkdir(parents=True)
        tiny_checkpoints.save_bert(folder / "torch_model", num_labels=3)
        self.write("handler.py", HANDLER)
        self.write_config()
        samples = [{"id": f"s{i}", "text": f"good food {i}"} for i in range(4)]
        lines = "".join(json.dumps(sample) + "\n" for sample in samples)
        self.write("smoke/samples.jsonl", lines)

    def write_config(self, *lines: str) -> None:
        kinds = ("inference", "management", "metrics")
        addresses = [
            f"{kind}_address=http://127.0.0.1:{port}"
            for kind, port in zip(kinds, self.ports, strict=True)
        ]
        self.write(
            "config.properties", "\n".join(["load_models=tiny=tiny.mar", *addresses, *lines])
        )

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
        kept = {
            k: v for k, v in os.environ.items() if k not in ("URL", "TOKEN", "MAKEFLAGS", "WARM")
        }
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
