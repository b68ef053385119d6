"""What a cluster serves: the archive, its config, and one sample to ask, in a folder of its own.

The folder is as KServe expects of storage, and a pod has it at /mnt/models:

    config/config.properties
    model-store/NAME.mar
    smoke/samples.jsonl, .run/endpoint.json     what `python -m smoke.probe` reads, as of any app

What differs from the config of a server on this machine is here, in one place.
"""

import os
import shutil
import sys
from pathlib import Path

from loop import launch, settings
from loop.settings import Settings
from smoke import jsonl, samples
from smoke.fault import Fault, run

# In a pod, TorchServe listens on loopback alone and asks for no token: each replica would make one
# of its own. Who may ask is decided by the gate in front (deploy/gate). Nothing registers models
# there, and no TS_… of the environment, where Kubernetes puts names of services, sets anything.
POD = {
    "inference_address": "http://127.0.0.1:8085",
    "management_address": "http://127.0.0.1:8086",
    "metrics_address": "http://127.0.0.1:8082",
    "grpc_inference_port": "7070",
    "grpc_inference_address": "127.0.0.1",
    "grpc_management_port": "7071",
    "grpc_management_address": "127.0.0.1",
    "disable_token_authorization": "true",
    "enable_model_api": "false",
    "enable_envvars_config": "false",
}
# TLS ends in front of the gate: its key stays here, and so does the key's password.
TLS = ("enable_grpc_ssl", "keystore_pass", "keystore_type")
# They name files and folders of this machine, or are given on the command line there.
LEFT = (*settings.PATHS, *TLS, "allowed_urls", "model_store")
MOUNTED = "/mnt/models"


def properties(app: Settings) -> dict[str, str]:
    """The app's own properties, with what the loop adds and what a pod needs."""
    wanted = {**launch.DEFAULTS, **app.properties, **POD}
    kept = {key: value for key, value in wanted.items() if key not in LEFT}
    if "metrics_config" in app.properties:
        kept["metrics_config"] = f"{MOUNTED}/config/{_metrics(app).name}"
    return kept


def _metrics(app: Settings) -> Path:
    return app.app / app.properties["metrics_config"]


def write(app: Settings, folder: Path) -> None:
    """Fill a new folder.

    Raises:
        Fault: the app has no archive or no sample, or a file cannot be copied.
    """
    for name in ("config", "model-store", "smoke", ".run"):
        (folder / name).mkdir(parents=True)
    launch.write_properties(folder / "config" / "config.properties", properties(app))
    if "metrics_config" in app.properties:
        _copy(_metrics(app), folder / "config" / _metrics(app).name)
    _link(app.archive, folder / "model-store" / app.archive.name)
    first = next(samples.stream(app.app))
    url = f"{POD['inference_address']}/predictions/{app.name}"
    asked = {"id": first.id, "text": first.text}
    if first.text_pair is not None:
        asked["text_pair"] = first.text_pair
    jsonl.write(samples.path(folder), [asked])
    jsonl.write(folder / ".run" / "endpoint.json", [{"url": url, "key_file": None}])


def _link(archive: Path, target: Path) -> None:
    """Link the archive, which is only ever replaced as a whole; copy it where that cannot be."""
    try:
        target.hardlink_to(archive.resolve())
    except OSError:
        _copy(archive, target)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise Fault(
            f"{source}: cannot be put at {target} ({error.strerror})", "mend that, and run it again"
        ) from error


def main() -> int:
    """Write the bundle aside, and put it into place."""
    app = settings.read_model(os.environ["APP"])
    bundle, aside = app.run / "bundle", app.run / "bundle.aside"
    shutil.rmtree(aside, ignore_errors=True)
    write(app, aside)
    shutil.rmtree(bundle, ignore_errors=True)
    aside.rename(bundle)
    for key in app.properties:
        if key in (*settings.PATHS, *TLS) and key != "metrics_config":
            print(f"bundle: {app.where(key)}: {key} stays behind", file=sys.stderr)
    print(bundle)
    return 0


if __name__ == "__main__":
    run(os.environ.get("VERB", "bundle"), main)
