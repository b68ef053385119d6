"""`python -m train fit` learns an adapter; `python -m train model` makes the checkpoint of it."""

import argparse
import os
import sys
import warnings
from pathlib import Path

from smoke.fault import Fault, run
from train.backbone import DEFAULT


def main() -> int:
    """Do what the command line says."""
    arguments = _parse()
    app = Path(arguments.app).expanduser().resolve()
    if not app.is_dir():
        raise Fault(f"{app}: no such folder", "name the app's folder with APP=")
    _quieten()
    if arguments.verb == "model":
        from train.merge import merge

        return merge(app)
    from train.fit import fit

    return fit(
        app,
        arguments.backbone,
        arguments.data or str(app / "data"),
        seed=arguments.seed,
        tensorboard=arguments.tensorboard,
    )


def _parse() -> argparse.Namespace:
    environment = os.environ
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    model = verbs.add_parser("model", help="adapter/ and its backbone to torch_model/")
    fit = verbs.add_parser("fit", help="data/ to adapter/")
    for verb in (model, fit):
        verb.add_argument(
            "--app", default=environment.get("APP") or ".", help="the app's folder (default: .)"
        )
    fit.add_argument(
        "--backbone",
        default=environment.get("BACKBONE") or DEFAULT,
        help=f"a model on the hub or a local one, fine-tuned whole (default: {DEFAULT}, by LoRA)",
    )
    fit.add_argument(
        "--data",
        default=environment.get("DATA"),
        help="a folder of CSV files, or a data set on the hub (default: the app's data/)",
    )
    fit.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs to .run/tensorboard"
    )
    fit.add_argument("--seed", type=int, default=0, help="of all random numbers (default: 0)")
    return parser.parse_args()


def _quieten() -> None:
    """Keep the libraries' bars, advice and deprecations off the terminal, before their import."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    run(next((word for word in sys.argv[1:2] if word in ("fit", "model")), "train"), main)
