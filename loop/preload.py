"""What the warm process does once, so that no worker has to: imports, and nothing that computes.

No forward pass, no thread pool and no CUDA context: none of them survives a fork. What is warmed
for the app's own checkpoint is pure Python too: the modules of its architecture and tokenizer, a
model without storage (torch's "meta" device), and the 1,000 regular expressions with which
transformers translates the names of old checkpoints. Measured for MiniLM on 2 cores, a worker's
first load takes 1.06 s with the imports alone and 0.07 s with all of it; a second load in the same
process takes 0.05 s.
"""

import ctypes
import importlib
import json
import os
import traceback
from collections.abc import Iterable
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
        for warm in (warm_tokenizer, warm_model):
            try:
                warm(checkpoint)
            except Exception:
                traceback.print_exc()


def warm_tokenizer(checkpoint: Path) -> None:
    """Import the tokenizer's modules."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    written = checkpoint / "tokenizer_config.json"
    if written.is_file():
        name = json.loads(written.read_text(encoding="utf-8")).get("tokenizer_class")
        tokenizer_class_from_name(name or "PreTrainedTokenizerFast")


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
