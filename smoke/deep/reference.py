"""What the pipeline says, asked in a process of its own: this one knows no torch.

Importing that takes seconds, so what was said is kept until the checkpoint, the texts or a package
changes: APP/.run/smoke/pipeline.json.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoke import atomic
from smoke.client import Answer
from smoke.samples import Sample
from smoke.terminal import Progress

PACKAGES = ("torch", "transformers", "tokenizers")
# What it is asked in: bash and make have put the toolkit on its path.
CHILD = (sys.executable, "-P", "-m", "smoke.deep.pipeline")


@dataclass(frozen=True, slots=True)
class Said:
    """What the pipeline says of one text.

    Attributes:
        answer: its answer.
        logits: what its score is made of, by class.
        is_cut: whether the text has more tokens than the model takes.
    """

    answer: Answer
    logits: tuple[float, ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """What the pipeline says of all texts.

    Attributes:
        labels: of each class.
        limit: the longest input of the model, in tokens; None if it has no limit.
        said: of each sample, in their order.
    """

    labels: tuple[str, ...]
    limit: int | None
    said: tuple[Said, ...]


class UncheckedError(Exception):
    """The pipeline cannot be asked; the message says why."""


def ask(app: Path, samples: Sequence[Sample]) -> Reference:
    """What the pipeline says of samples, on APP/torch_model.

    Raises:
        UncheckedError: it cannot load or run what lies there.
    """
    folder = (app / "torch_model").absolute()
    if not folder.is_dir():
        raise UncheckedError(f"there is no {folder}")
    texts = [[each.text, each.text_pair] for each in samples]
    question = json.dumps({"folder": str(folder), "texts": texts})
    kept, key = app / ".run" / "smoke" / "pipeline.json", _key(folder, question)
    said = _kept(kept, key)
    if said is None:
        with Progress("smoke: pipeline", len(samples)) as progress:
            progress(0)
            said = _child(question)
        if "unchecked" not in said:
            atomic.write(kept, json.dumps({"key": key, "said": said}).encode())
    if "unchecked" in said:
        raise UncheckedError(said["unchecked"])
    answers = (
        Said(Answer(each["label"], each["score"]), tuple(each["logits"]), each["is_cut"])
        for each in said["answers"]
    )
    return Reference(tuple(said["labels"]), said["limit"], tuple(answers))


def _key(folder: Path, question: str) -> str:
    """What makes an answer stale: the files, by size and time; packages; texts; our own code."""
    code = Path(__file__).with_name("pipeline.py")
    files = [code, *sorted(each for each in folder.iterdir() if each.is_file())]
    states = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    versions = [importlib.metadata.version(each) for each in PACKAGES if _is_installed(each)]
    return hashlib.sha256(repr((states, versions, question)).encode()).hexdigest()


def _is_installed(package: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(package))
    return False


def _kept(file: Path, key: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(file.read_bytes())
        if content["key"] == key:
            return dict(content["said"])
    return None


def _child(question: str) -> dict[str, Any]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(
        CHILD,
        input=question,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    last = (done.stderr.strip().splitlines() or ["no words"])[-1]
    return {"unchecked": f"the pipeline's process ended with {done.returncode}: {last}"}
