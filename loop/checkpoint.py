"""What lies in an app's torch_model/, and what of it is served."""

from pathlib import Path

from smoke.fault import Fault

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def files(app: Path) -> list[Path]:
    """The files of the checkpoint that are packed: all at the top of torch_model/, sorted.

    Folders are left out: what a Trainer leaves there (checkpoint-500/) is not the model.

    Raises:
        Fault: there is no checkpoint, or no weights in it.
    """
    folder = app / "torch_model"
    found = sorted(each for each in folder.glob("[!.]*") if each.is_file())
    if not any(each.suffix in WEIGHTS for each in found):
        raise Fault(
            f"no weights in {folder}",
            "make them with `make model`, or put a checkpoint there with save_pretrained",
        )
    return found
