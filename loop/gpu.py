"""Which GPUs a server may use: GPU=auto, cpu, all, or a list of indices such as 0,2."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from smoke.fault import Fault


@dataclass(frozen=True)
class Gpus:
    """What a GPU request means to TorchServe.

    Attributes:
        number: `number_of_gpu`, or None to let TorchServe count for itself.
        visible: CUDA_VISIBLE_DEVICES for the server, or None to leave it as it is.
    """

    number: int | None = None
    visible: str | None = None


def requested() -> str:
    """What GPU= asks for."""
    return os.environ.get("GPU", "").strip() or "auto"


def resolve(request: str) -> Gpus:
    """Turn a request into what the server is started with.

    TorchServe counts CUDA_VISIBLE_DEVICES=-1 as one GPU, and an empty value makes it ask
    nvidia-smi; so a server without GPU is one with `number_of_gpu=0` *and* nothing visible.

    Args:
        request: auto, cpu, all, or indices as nvidia-smi counts them, such as "0" or "0,2".

    Raises:
        Fault: not of these forms, or a GPU that this machine does not have.
    """
    if request == "cpu":
        return Gpus(number=0, visible="")
    if request == "auto":
        _refuse_device_names()
        return Gpus()
    present = count()
    if request == "all":
        if not present:
            raise Fault("GPU=all, but this machine has no GPU", "use GPU=auto or GPU=cpu")
        return Gpus(number=present, visible=",".join(map(str, range(present))))
    if not re.fullmatch(r"\d+(,\d+)*", request):
        raise Fault(
            f"GPU={request} is no GPU request", "use auto, cpu, all, or indices such as 0,2"
        )
    indices = [int(index) for index in request.split(",")]
    absent = [index for index in indices if index >= present]
    if absent or len(set(indices)) < len(indices):
        raise Fault(f"GPU={request}, but this machine has {present} GPU(s)", _choices(present))
    return Gpus(number=len(indices), visible=request)


def count() -> int:
    """The number of GPUs that nvidia-smi lists; 0 where there is no nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)  # noqa: S607 - found on PATH, as TorchServe does
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


def _choices(present: int) -> str:
    indices = f"GPU={','.join(map(str, range(present)))}, " if present else ""
    return f"use {indices}GPU=auto or GPU=cpu"


def _refuse_device_names() -> None:
    """TorchServe reads CUDA_VISIBLE_DEVICES as integers and dies of a UUID or a MIG id."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if visible and not re.fullmatch(r"-?\d+(,-?\d+)*", visible):
        raise Fault(
            f"CUDA_VISIBLE_DEVICES={visible}: TorchServe reads integers only, not names of devices",
            "ask by index instead, for example GPU=0, or GPU=cpu",
        )
    if "-1" in visible.split(","):
        raise Fault(
            f"CUDA_VISIBLE_DEVICES={visible}: TorchServe would take -1 for a GPU",
            "use GPU=cpu for a server without GPU",
        )
