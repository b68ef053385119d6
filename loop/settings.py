"""An app's settings: the only reader of its config.properties.

A user's file is TorchServe's own. What the loop adds is written to an *effective*
config.properties in the run folder, and that is the file TorchServe is started with. Everyone else
gets resolved values: Python through `read`, bash through `python -m loop.settings`.

The server sees the app's run folder only through a short ASCII link in a private folder below /tmp,
for three reasons: a worker's Unix socket path may have about 107 bytes, a .properties file is
Latin-1 to Java, and TorchServe's launcher splits `vmargs` at spaces. A path of the user's may be
long, spaced and in any script.
"""

import hashlib
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import javaproperties

from smoke.fault import Fault, run

TOOLKIT = Path(__file__).resolve().parents[1]
LINKS = Path(f"/tmp/torch-debug-loop-{os.getuid()}")  # noqa: S108 - made private in `link_run_folder`

ADDRESSES = {
    "inference_address": "http://127.0.0.1:8080",
    "management_address": "http://127.0.0.1:8081",
    "metrics_address": "http://127.0.0.1:8082",
}
GRPC = {
    "grpc_inference_port": "grpc_inference_address",
    "grpc_management_port": "grpc_management_address",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Keys whose values are paths: TorchServe takes them relative to the folder that it was started in.
PATHS = (
    "certificate_file",
    "keystore",
    "metrics_config",
    "plugins_path",
    "private_key_file",
    "workflow_store",
)


@dataclass(frozen=True)
class Address:
    """One of TorchServe's addresses, and the line of config.properties that it comes from."""

    key: str
    url: str
    host: str
    port: int
    where: str

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK


@dataclass(frozen=True)
class Settings:
    """One app: its folder, its own properties, and what follows from them.

    Attributes:
        app: the app's folder, resolved.
        properties: config.properties as the user wrote it.
        lines: the line, from 1, on which each key stands.
    """

    app: Path
    properties: dict[str, str]
    lines: dict[str, int]

    @property
    def config(self) -> Path:
        return self.app / "config.properties"

    @property
    def run(self) -> Path:
        """The run folder: everything that a run leaves."""
        return self.app / ".run"

    @cached_property
    def link(self) -> Path:
        """The run folder as the server sees it: short, ASCII, no spaces, this app's alone."""
        return LINKS / hashlib.sha256(os.fsencode(self.app)).hexdigest()[:10]

    @property
    def effective_config(self) -> Path:
        return self.link / "config.properties"

    @property
    def served_config(self) -> Path:
        """The effective config of the last server that answered, as bin/start.sh keeps it."""
        return self.link / "served.properties"

    @property
    def tmp(self) -> Path:
        """The server's TMPDIR and TEMP: pid file, worker sockets, unpacked models."""
        return self.link / "tmp"

    @property
    def logs(self) -> Path:
        return self.link / "logs"

    @property
    def server_cwd(self) -> Path:
        """Where the server runs and leaves key_file.json. Empty at its start (see loop/jvm.py)."""
        return self.link / "cwd"

    @property
    def key_file(self) -> Path:
        return self.server_cwd / "key_file.json"

    @property
    def model_store(self) -> Path:
        return self.app / Path(self.properties.get("model_store", "model_store")).expanduser()

    @cached_property
    def _model(self) -> tuple[str, str]:
        value = self.properties.get("load_models", "")
        match = re.fullmatch(r"([\w.-]+)=([^,=/]+\.[mw]ar)", value.strip())
        if match is None:
            raise Fault(
                f"{self.where('load_models')}: load_models={value} does not name one model",
                "write load_models=NAME=FILE.mar, for example load_models=reviews=reviews.mar; "
                "NAME=FILE.war for a workflow",
            )
        if match[1].startswith("token"):
            # Each URL of its with "/token" in it is taken for the token API.
            raise Fault(
                f"{self.where('load_models')}: TorchServe cannot manage a model named {match[1]}",
                "give it a name that does not begin with token",
            )
        return match[1], match[2]

    @property
    def name(self) -> str:
        """The model's name: its endpoint is /predictions/NAME; of a workflow, /wfpredict/NAME."""
        return self._model[0]

    @property
    def is_workflow(self) -> bool:
        """Whether the app is a workflow over the models of other apps, and has none of its own."""
        # Not `_model`: whether the line is any good, others ask.
        return self.properties.get("load_models", "").strip().endswith(".war")

    @property
    def workflow_store(self) -> Path:
        """Where TorchServe looks for a .war: the model store, unless the user says otherwise."""
        store = self.properties.get("workflow_store")
        return self.app / Path(store).expanduser() if store else self.model_store

    @property
    def archive(self) -> Path:
        """The .mar, or the .war, that is served."""
        return (self.workflow_store if self.is_workflow else self.model_store) / self._model[1]

    @cached_property
    def addresses(self) -> list[Address]:
        """The inference, management and metrics address, in this order."""
        return [self._address(key, default) for key, default in ADDRESSES.items()]

    @property
    def inference_url(self) -> str:
        """Where the app is asked: .../predictions/NAME, or .../wfpredict/NAME."""
        api = "wfpredict" if self.is_workflow else "predictions"
        return f"{self.addresses[0].url}/{api}/{self.name}"

    @property
    def tokens(self) -> bool:
        """Whether the server asks for a token."""
        return not self.flag("disable_token_authorization")

    @cached_property
    def workers(self) -> int:
        """Workers of the model: what model-config.yaml says, else one.

        TorchServe's own default is one a core, each with a thread a core.

        Raises:
            Fault: model-config.yaml cannot be read.
        """
        path = self.app / "model-config.yaml"
        if not path.exists():
            return self.number("default_workers_per_model", 1)
        from loop import model_config  # Only here, since few apps have the file.

        own = model_config.read(path)
        key = "maxWorkers" if own.values.get("maxWorkers") else "minWorkers"
        number = own.values.get(key)
        if number is None:
            return self.number("default_workers_per_model", 1)
        if not isinstance(number, int) or number < 1:
            raise Fault(
                f"{own.where(key)}: {key} is {number!r:.40}, which is no number of workers",
                "write a whole number above 0",
            )
        return number

    def flag(self, key: str, default: bool = False) -> bool:
        return self.properties.get(key, str(default)).strip().lower() == "true"

    def number(self, key: str, default: int) -> int:
        value = self.properties.get(key, str(default))
        if not value.strip().isdecimal():
            raise Fault(f"{self.where(key)}: {key}={value} is no whole number", "mend the line")
        return int(value)

    def where(self, key: str) -> str:
        """FILE:LINE of a key, or FILE where it is not set."""
        line = self.lines.get(key)
        return f"{self.config}:{line}" if line else str(self.config)

    def _address(self, key: str, default: str) -> Address:
        url = self.properties.get(key, default).strip().rstrip("/")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host or not port:
            raise Fault(
                f"{self.where(key)}: {key}={url} is no address",
                f"write {key}={default}, with a port",
            )
        return Address(key, url, host, port, self.where(key))


def read(app: str | os.PathLike[str]) -> Settings:
    """Read an app's config.properties.

    Raises:
        Fault: no such folder or file, not UTF-8, or a key that stands twice with two values.
    """
    folder = Path(app).expanduser().resolve()
    if not folder.is_dir():
        raise Fault(f"no such app: {folder}", "APP names an app's folder; see README.md")
    path = folder / "config.properties"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Fault(
            f"{path} does not exist", f"copy {TOOLKIT}/config.properties there and edit it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Fault(f"{path} cannot be read ({error})", "save it as UTF-8 text") from None
    return _parse(folder, path, text)


def as_started(app: Settings) -> Settings:
    """The settings with which the app's server was started, whatever the user's file says now."""
    try:
        text = app.effective_config.read_text(encoding="ascii")
    except OSError:
        return app
    # Who is told of a line is to find it in the file that they edit.
    started = replace(_parse(app.app, app.effective_config, text), lines=app.lines)
    # A workflow's line is kept from TorchServe, which takes any file for a model's there.
    started.properties.setdefault("load_models", app.properties.get("load_models", ""))
    return started


def read_model(app: str | os.PathLike[str]) -> Settings:
    """Read the settings of an app with a model of its own, for what only a model has.

    Raises:
        Fault: it is a workflow, which has no versions and no handler.py; or as `read`.
    """
    settings = read(app)
    if settings.is_workflow:
        raise Fault(
            f"{settings.where('load_models')}: {settings.name} is a workflow, not a model",
            "`make workflow` deploys it; name the app of one of its models with APP= for this",
        )
    return settings


def lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Each key of a .properties file, with the line on which it begins and its value."""
    line = 1
    for element in javaproperties.parse(text):
        if isinstance(element, javaproperties.KeyValue):
            yield line, element.key, element.value
        line += element.source.count("\n")


def _parse(folder: Path, path: Path, text: str) -> Settings:
    properties: dict[str, str] = {}
    found: dict[str, int] = {}
    for line, key, value in lines(text):
        if properties.get(key, value) != value:
            raise Fault(
                f"{path}:{line}: {key} has another value than on line {found[key]}",
                "keep one of the two lines",
            )
        properties[key], found[key] = value, line
    return Settings(folder, properties, found)


def link_run_folder(settings: Settings) -> None:
    """Make the run folder and the link through which the server sees it.

    Raises:
        Fault: the links' folder belongs to someone else, or others may write there.
    """
    for folder in ("tmp", "logs", "cwd", "build"):
        (settings.run / folder).mkdir(parents=True, exist_ok=True)
    LINKS.mkdir(mode=0o700, exist_ok=True)
    status = LINKS.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Fault(f"{LINKS} is not a private folder of yours", "remove it, or ask who made it")
    if not settings.link.is_symlink() or settings.link.readlink() != settings.run:
        aside = settings.link.with_suffix(f".{os.getpid()}")
        aside.symlink_to(settings.run)
        aside.replace(settings.link)


def for_shell(settings: Settings) -> dict[str, str]:
    """What the scripts in bin/ need to know, by the names that they use."""
    return {
        "APP": str(settings.app),
        "SETTINGS_OF": str(settings.app),
        "NAME": settings.name,
        "ARCHIVE": str(settings.archive),
        "RUN": str(settings.link),
    }


def main() -> int:
    """Print an app's settings as shell assignments: `python -m loop.settings APP`."""
    settings = read(sys.argv[1])
    link_run_folder(settings)
    for name, value in for_shell(settings).items():
        print(f"{name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    run(os.environ.get("VERB", "settings"), main)
