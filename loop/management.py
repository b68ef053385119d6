"""TorchServe's management API, with the app's token."""

import json
import re
from typing import Any

import psutil
import requests

from loop.settings import Settings
from smoke.fault import Fault, Unanswered

SECONDS = 10.0
# As many as TorchServe lists in one answer.
MODELS = 1000
# TorchServe gives a load up after 120 s, and says so.
LOAD_SECONDS = 300.0
SEE = "see `make status`, or begin anew with `make redeploy`"


def token(app: Settings, kind: str) -> str | None:
    """The running server's token; None if it asks for none.

    Args:
        kind: "inference" or "management".

    Raises:
        Unanswered: the server has left no key file, so it is not running.
    """
    if not app.tokens:
        return None
    try:
        keys = json.loads(app.key_file.read_text(encoding="utf-8"))
        return str(keys[kind]["key"])
    except (OSError, ValueError, KeyError):
        raise Unanswered("there is no token", "start the server with `make redeploy`") from None


def header(app: Settings, kind: str) -> dict[str, str]:
    """The header that carries the token."""
    key = token(app, kind)
    return {} if key is None else {"Authorization": f"Bearer {key}"}


class Management:
    """The API of an app's running server, for one model.

    Each method raises Unanswered if the server does not answer, and Fault, with the server's own
    words, if it refuses.

    Args:
        app: the settings that the server was started with.
        name: the model's; the app's own by default.

    Raises:
        Unanswered: the server is not running.
    """

    def __init__(self, app: Settings, name: str | None = None) -> None:
        self._models = f"{app.addresses[1].url}/models"
        self._workflows = f"{app.addresses[1].url}/workflows"
        self._name = name or app.name
        self._session = requests.Session()
        # Neither a proxy nor a .netrc has a say on our own server.
        self._session.trust_env = False
        self._session.headers.update(header(app, "management"))

    def names(self) -> set[str]:
        """The names of all models that the server has."""
        listed = self._call("GET", self._models, params={"limit": MODELS}).json()
        return {each["modelName"] for each in listed["models"]}

    def versions(self) -> list[dict[str, Any]]:
        """All versions of the model, as TorchServe describes them."""
        return self._described("/all")

    def live(self) -> str:
        """The default version: the one that answers those who name none."""
        return str(self._described("")[0]["modelVersion"])

    def describe(self, version: str) -> dict[str, Any]:
        """One version of the model, as TorchServe describes it."""
        return self._described(f"/{version}")[0]

    def register(self, url: str, workers: int) -> None:
        """Register a model folder, or an archive of the model store; workers begin to load it.

        Not synchronously: TorchServe would wait in one of the few threads that serve all
        connections, and a quarter of the live version's requests with it.
        """
        parameters: dict[str, str | int] = {
            "url": url,
            "model_name": self._name,
            "initial_workers": workers,
            "synchronous": "false",
        }
        self._call("POST", self._models, params=parameters)

    def set_default(self, version: str) -> None:
        """Have a version answer those who name none."""
        self._call("PUT", f"{self._models}/{self._name}/{version}/set-default")

    def scale(self, version: str, workers: int) -> None:
        """Have TorchServe begin to start or end workers of a version, until it has so many."""
        parameters: dict[str, str | int] = {"min_worker": workers, "max_worker": workers}
        self._call("PUT", f"{self._models}/{self._name}/{version}", params=parameters)

    def unregister(self, version: str) -> None:
        """Remove a version with its workers. It does not drain: what is in flight fails."""
        self._call("DELETE", f"{self._models}/{self._name}/{version}")

    def workflows(self) -> set[str]:
        """The names of all workflows."""
        listed = self._call("GET", self._workflows).json()["workflows"]
        return {str(each["workflowName"]) for each in listed}

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes of the app's workflow, as TorchServe describes the model that each one is."""
        described = self._call("GET", f"{self._workflows}/{self._name}").json()[0]
        # As Java prints a map: {text=[stars, answer], stars=[answer]}
        names = dict.fromkeys(re.findall(r"[^\s{}\[\]=,]+", described["workflowDag"]))
        urls = [f"{self._models}/{self._name}__{each}" for each in names]
        return [self._call("GET", url).json()[0] for url in urls]

    def register_workflow(self, name: str, file: str) -> None:
        """Register a file of the workflow store, and wait until all its nodes are loaded.

        TorchServe removes what it has loaded of one that fails.
        """
        parameters: dict[str, str | int] = {"url": file, "workflow_name": name}
        self._call("POST", self._workflows, parameters, LOAD_SECONDS)

    def unregister_workflow(self, name: str) -> None:
        """Remove a workflow with its workers. It does not drain: what is in flight fails."""
        self._call("DELETE", f"{self._workflows}/{name}")

    def _described(self, which: str) -> list[dict[str, Any]]:
        described = self._call("GET", f"{self._models}/{self._name}{which}").json()
        return described if isinstance(described, list) else [described]

    def _call(
        self,
        method: str,
        url: str,
        params: dict[str, str | int] | None = None,
        seconds: float = SECONDS,
    ) -> requests.Response:
        try:
            response = self._session.request(method, url, params=params, timeout=seconds)
        except requests.Timeout:
            raise Unanswered(f"no answer from {url} within {seconds:g} s", SEE) from None
        except requests.RequestException:
            raise Unanswered(f"nothing answers at {self._models}", SEE) from None
        if response.status_code not in (200, 202):
            raise Fault(f"{url} answers {response.status_code}: {response.text}", "see `make logs`")
        return response


def ready_workers(described: dict[str, Any]) -> int:
    """How many workers of a version, as TorchServe describes it, have loaded it."""
    return sum(each["status"] == "READY" for each in described["workers"])


def device(worker: dict[str, Any]) -> str:
    """Where a worker, as TorchServe describes it, computes."""
    # "gpuId::0 utilization.gpu [%]::…", or "N/A".
    gpu = re.search(r"gpuId::(\d+)", str(worker.get("gpuUsage")))
    return f"GPU {gpu[1]}" if gpu else "CPU"


def memory(worker: dict[str, Any]) -> int:
    """The memory of a worker in bytes; TorchServe tells it only where it measures the system."""
    if told := worker.get("memoryUsage", 0):
        return int(told)
    try:
        return int(psutil.Process(worker["pid"]).memory_info().rss) if worker.get("pid") else 0
    except psutil.Error:
        return 0
