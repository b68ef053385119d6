"""What the warm process does once, so that no worker has to: imports, and nothing that computes.

No forward pass, no thread pool and no CUDA context: none of them survives a fork. What is warmed
for the app's own checkpoint is pure Python too: the modules of its architecture and tokenizer, a
model without storage (torch's "meta" device), and the 1,000 regular expressions with which
transformers translates the names of old checkpoints. Measured for MiniLM on 2 cores, a worker's
first load takes 1.06 s with the imports alone and 0.07 s with all of it; a second load in the same
process takes 0.05 s. So does the first in a spare worker, which has rehearsed: see `rehearse`.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

# What ts/model_service_worker.py imports, and what handlers of text classifiers do.
# Not ts.torch_handler: what it prints when it is imported belongs into the worker's log.
MODULES = (
    "torch",
    "transformers",
    "ts.arg_parser",
    "ts.async_service",
    "ts.metrics.metric_cache_yaml_impl",
    "ts.model_loader",
    "ts.protocol.otf_message_handler",
)

CUDA_ERROR_NOT_INITIALIZED = 3


def preload(modules: Iterable[str], checkpoint: Path | None) -> None:
    """Import the modules, and warm what the checkpoint's architecture needs.

    A checkpoint that cannot be warmed only makes its workers slower: the traceback goes to stderr.

    Args:
        modules: names, imported in this order.
        checkpoint: a folder as save_pretrained writes it; its weights are not read.
    """
    # Ask for GPUs in torch's way that leaves CUDA usable after a fork.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for module in modules:
        importlib.import_module(module)
    if checkpoint is not None:
        _try(checkpoint, warm_tokenizer, warm_model)
    _forget_what_was_said()


def rehearse(checkpoint: Path | None) -> None:
    """In a spare worker: do what it will have to do and is pure Python, and drop the result.

    A fork shares its memory with the warm process until one of them writes, be it a reference
    count: then the page is copied. MiniLM's load takes 7,700 page faults in a fresh fork, and
    2,800 after a rehearsal. Nothing computes here either: no forward pass and no thread pool.

    A rehearsal that fails only makes the worker slower: the traceback goes to stderr.

    Args:
        checkpoint: as for `preload`.
    """
    if checkpoint is not None:
        _try(checkpoint, load_tokenizer, warm_model)
    gc.collect()
    _forget_what_was_said()


def _try(checkpoint: Path, *steps: Callable[[Path], None]) -> None:
    for step in steps:
        try:
            step(checkpoint)
        except Exception:
            traceback.print_exc()


def _forget_what_was_said() -> None:
    """Leave nothing that would come out, or would be missing, in a worker's log."""
    sys.stdout.flush()
    # A warning that is given once per process has not been given by the worker. At the end of this
    # context `warnings` forgets what it has shown; transformers keeps a record of its own.
    with warnings.catch_warnings():
        pass
    with contextlib.suppress(KeyError, AttributeError):
        sys.modules["transformers.utils.logging"].warning_once.cache_clear()


def warm_tokenizer(checkpoint: Path) -> None:
    """Import the tokenizer's modules."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    written = checkpoint / "tokenizer_config.json"
    if written.is_file():
        name = json.loads(written.read_text(encoding="utf-8")).get("tokenizer_class")
        tokenizer_class_from_name(name or "PreTrainedTokenizerFast")


def load_tokenizer(checkpoint: Path) -> None:
    """Load the tokenizer as handlers do, but run no code that came with the checkpoint."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)


def warm_model(checkpoint: Path) -> None:
    """Import the architecture's modules, and do once what each load would do first."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    get_model_conversion_mapping(model)
    # A load makes a regular expression of each weight's name; `re` keeps the last 512.
    for name in model.state_dict():
        WeightRenaming(name, name)


def cuda_is_initialised() -> bool:
    """Whether this process has initialised CUDA, which its forks then cannot."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return bool(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != CUDA_ERROR_NOT_INITIALIZED)
