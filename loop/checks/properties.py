"""Whether each line of config.properties counts: TorchServe says nothing of one that does not."""

import difflib
import json
from collections.abc import Iterator

from loop import gpu, settings
from loop.checks.finding import Finding, ok, warning
from loop.checks.tree import Tree
from loop.settings import Settings
from smoke.fault import Fault

# As org.pytorch.serve.util.ConfigManager reads them; the launcher, plugins_path and vmargs.
KEYS = {
    *("allowed_urls", "async_logging", "blacklist_env_vars", "certificate_file"),
    *("cors_allowed_headers", "cors_allowed_methods", "cors_allowed_origin", "cpp_log_config"),
    *("cpu_launcher_args", "cpu_launcher_enable", "debug", "decode_input_request"),
    *("default_response_timeout", "default_service_handler", "default_startup_timeout"),
    *("default_workers_per_model", "disable_system_metrics", "disable_token_authorization"),
    *("enable_envvars_config", "enable_grpc_ssl", "enable_metrics_api", "enable_model_api"),
    *("grpc_inference_address", "grpc_inference_max_connection_age_grace_ms"),
    *("grpc_inference_max_connection_age_ms", "grpc_inference_port", "grpc_management_address"),
    *("grpc_management_max_connection_age_grace_ms", "grpc_management_max_connection_age_ms"),
    *("grpc_management_port", "inference_address", "initial_distribution_port"),
    *("initial_worker_port", "install_py_dep_per_model", "io_ratio", "ipex_enable"),
    *("ipex_gpu_enable", "job_queue_size", "keystore", "keystore_pass", "keystore_type"),
    *("limit_max_image_pixels", "load_models", "management_address", "max_request_size"),
    *("max_response_size", "metric_time_interval", "metrics_address", "metrics_config"),
    *("metrics_mode", "model_metrics_auto_detect", "model_server_home", "model_snapshot"),
    *("model_store", "models", "netty_client_threads", "number_of_gpu", "number_of_netty_threads"),
    *("plugins_path", "prefer_direct_buffer", "private_key_file", "python", "service_envelope"),
    *("system_metrics_cmd", "token_expiration_min", "ts_header_key_sequence_end"),
    *("ts_header_key_sequence_id", "ts_header_key_sequence_start", "ts_open_inference_protocol"),
    *("unregister_model_timeout", "use_env_allowed_urls", "use_native_io", "vmargs"),
    *("workflow_store", "tsConfigFile", "version"),
}
OF_MODEL_CONFIG = {
    "default_response_timeout": "responseTimeout",
    "default_startup_timeout": "startupTimeout",
}


def check(tree: Tree) -> Iterator[Finding]:
    """Whether TorchServe knows each key, and none is beaten by something else."""
    app = tree.settings
    yield ok(f"{app.config}: {app.inference_url}")
    yield from _unknown(app)
    yield from _repeated(app)
    yield from _beaten(app)


def _unknown(app: Settings) -> Iterator[Finding]:
    # A plugin may have keys of its own.
    if "plugins_path" in app.properties:
        return
    for key in app.properties.keys() - KEYS:
        near = difflib.get_close_matches(key, KEYS, n=1)
        yield warning(
            f"{app.where(key)}: TorchServe knows no {key}, and ignores it",
            f"write {near[0]}" if near else "remove the line",
        )


def _repeated(app: Settings) -> Iterator[Finding]:
    """A key with two values is refused as the file is read."""
    first: dict[str, int] = {}
    for line, key, _ in settings.lines(app.config.read_text(encoding="utf-8")):
        if key in first:
            yield warning(
                f"{app.config}:{line}: {key} stands on line {first[key]} already",
                "keep one of the two lines",
            )
        first.setdefault(key, line)


def _beaten(app: Settings) -> Iterator[Finding]:
    yield from _by_model_config(app)
    if "python" in app.properties:
        yield warning(
            f"{app.where('python')}: python does not count: the loop says which runs the workers",
            "remove the line",
        )
    if "number_of_gpu" in app.properties and (asked := gpu.requested()) != "auto":
        yield warning(
            f"{app.where('number_of_gpu')}: number_of_gpu does not count: GPU={asked} beats it",
            "say one of the two",
        )
    if "models" in app.properties:
        yield from _models(app)


def _by_model_config(app: Settings) -> Iterator[Finding]:
    path = app.app / "model-config.yaml"
    if not path.exists():
        return
    from loop import model_config  # Only here, since few apps have the file.

    try:
        found = model_config.read(path)
    except Fault:
        return  # Another check says so.
    beaten = {key: other for key, other in OF_MODEL_CONFIG.items() if key in app.properties}
    least, most = (found.values.get(key) for key in ("minWorkers", "maxWorkers"))
    if "default_workers_per_model" in app.properties and least and most:
        beaten["default_workers_per_model"] = "minWorkers"
    for key, other in beaten.items():
        says = f"{other} in {found.where(other)}" if other in found.lines else f"{path}, as 120 s,"
        yield warning(f"{app.where(key)}: {key} does not count: {says} beats it", "remove the line")


def _models(app: Settings) -> Iterator[Finding]:
    """TorchServe takes what stands under a model's version, which here is a content hash."""
    where = app.where("models")
    cure = "write its settings into model-config.yaml"
    try:
        listed = json.loads(app.properties["models"])
    except ValueError as error:
        yield warning(f"{where}: models is no JSON ({error}), and TorchServe ignores it", cure)
        return
    own = listed.get(app.name) if isinstance(listed, dict) else None
    versions = ", ".join(own) if isinstance(own, dict) else "another model"
    yield warning(
        f"{where}: models does not count: it is about {versions}, and a version of {app.name} is"
        " named by its content",
        cure,
    )
