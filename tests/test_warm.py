"""Warm workers: forked in place of started, and nothing else about them differs.

`way` is how a worker is come by: forked when it is asked for, or ahead of need, as the spare one.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from loop import fingerprint, preload, settings, warm
from loop.preload import MODULES
from loop.process import is_alive, outlast
from loop.settings import Settings
from loop.worker import StandIn
from loop.zygote import READY, SPARE, Spare

# All that a worker can see of how it was started.
PORTRAIT = """
import gc, json, locale, logging, os, resource, signal, stat, sys, tempfile, threading
names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
print(json.dumps({
    "name": __name__,
    "file": __file__,
    "main": sys.modules["__main__"].__file__,
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "executable": sys.executable,
    "prefix": sys.prefix,
    "path": sys.path,
    "flags": str(sys.flags),
    "environment": sorted([name, os.fsencode(value).hex()] for name, value in os.environ.items()),
    "folder": os.getcwd(),
    "umask": os.umask(0),
    "limits": [resource.getrlimit(getattr(resource, name)) for name in names],
    "cores": sorted(os.sched_getaffinity(0)),
    "process name": open("/proc/self/comm").read(),
    "priority": os.getpriority(os.PRIO_PROCESS, 0),
    "signals": [str(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
    "descriptors": [
        [number, stat.S_IFMT(os.fstat(int(number)).st_mode)] for number in ("0", "1", "2")
    ],
    "open": len(os.listdir("/proc/self/fd")),
    "streams": [
        [stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering,
         stream.write_through, stream.seekable(), stream is original]
        for stream, original in (
            (sys.stdin, sys.__stdin__), (sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__)
        )
    ],
    "input": sys.stdin.read(),
    "locale": locale.setlocale(locale.LC_ALL),
    "logging": [str(logging.root), logging.root.handlers],
    "collector": [gc.isenabled(), gc.get_threshold()],
    "threads": [thread.name for thread in threading.enumerate()],
    "temporary": tempfile.gettempdir(),
    "toolkit": [name for name in sys.modules if name.partition(".")[0] in ("loop", "smoke")],
}))
"""


class Place:
    """An app, and the means to start a worker of it as TorchServe would."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "model é"
        self.model.mkdir(parents=True)
        app = folder / "app é"
        app.mkdir()
        (app / "config.properties").write_text("load_models=m=m.mar\n", encoding="utf-8")
        self.app: Settings = settings.read(app)
        settings.link_run_folder(self.app)
        self.script = folder / "site packages" / "ts" / "model_service_worker.py"
        self.script.parent.mkdir(parents=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.app.tmp),
            "TEMP": str(self.app.tmp),
        }

    def start(
        self, modules: tuple[str, ...] = ("json",), way: str = "fork", **options: Any
    ) -> Path:
        """Have a warm process whose first worker, at least, will be come by in this way."""
        options.setdefault("spare_after", 0.02 if way == "spare" else 1e6)
        standin = warm.start(self.app, self.environment, modules, **options)
        assert standin is not None
        if way == "spare":
            self.await_spare(standin)
        return standin

    def await_spare(self, standin: Path) -> None:
        """Have a worker until there is a spare one that waits for the next."""
        while not self.has_ready_spare():
            keeper = self.begin(standin, UNTIL_TOLD)
            assert eventually(self.has_ready_spare)
            keeper.communicate(b"end\n")

    def has_ready_spare(self) -> bool:
        log = self.log()
        return log.count(" is ready after") > log.count(", the spare one,")

    def spare(self) -> psutil.Process:
        forks = self.zygote().children()
        (found,) = (each for each in forks if comm(each) == SPARE)
        return found

    def command(self, python: Path | str, *arguments: str) -> dict[str, Any]:
        """The arguments of Popen for a worker."""
        path = ":".join([str(self.script.parents[2]), str(self.model)])
        return {
            "args": [str(python), str(self.script), *arguments],
            "cwd": self.model,
            "env": {**self.environment, "PYTHONPATH": path},
        }

    def run(self, python: Path | str, code: str, *arguments: str, **options: Any) -> Any:
        """Run a worker to its end."""
        # Where it is there already, another worker may be about to read it.
        if not self.script.exists() or self.script.read_text(encoding="utf-8") != code:
            self.script.write_text(code, encoding="utf-8")
        given = {"input": b"", "capture_output": True, "timeout": 60} | options
        return subprocess.run(**self.command(python, *arguments) | given)

    def begin(self, python: Path | str, code: str) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it has printed its first line."""
        self.script.write_text(code, encoding="utf-8")
        process = subprocess.Popen(
            **self.command(python),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    def log(self) -> str:
        try:
            return (self.app.link / "warm" / "log").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def waiting(self) -> int:
        """How many stand-ins have connected, but the warm process has not accepted them yet."""
        listening = f"{self.app.link}/warm/socket."
        table = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
        return sum(listening in line and " 02 " in line for line in table.splitlines())

    def zygote(self) -> psutil.Process:
        (found,) = warm.find(self.app)
        return found


UNTIL_KILLED = "import time\nprint('up')\nwhile True: time.sleep(60)"
UNTIL_TOLD = "print('up')\ninput()"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "a b é")
    yield place
    warm.stop(place.app)
    place.app.link.unlink()


@pytest.fixture(params=["fork", "spare"])
def way(request: pytest.FixtureRequest, place: Place) -> Iterator[str]:
    """How the workers of a test are come by; it fails if they were not."""
    yield request.param
    assert (", the spare one," in place.log()) == (request.param == "spare")


def comm(process: psutil.Process) -> str:
    """The name by which the kernel lists a process; psutil remembers an earlier one."""
    return Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8").strip()


def save_checkpoint(place: Place, words: int = 0) -> Path:
    """A small classifier of the app, with random weights, whose tokenizer knows some more words."""
    # Here, since it takes seconds and few tests need it.
    from transformers import BertConfig, BertTokenizer

    from tests import tiny_checkpoints

    config = BertConfig(
        hidden_size=64,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=100,
    )
    pieces = tiny_checkpoints.wordpieces()
    more = {f"word{number}": len(pieces) + number for number in range(words)}
    tokenizer = BertTokenizer(vocab=pieces | more)
    return tiny_checkpoints.save(place.app.app / "torch_model", config, tokenizer)


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.001)
    return held


def have_ended(*processes: psutil.Process) -> bool:
    return not outlast(processes, 10.0)


def reason(output: bytes) -> str:
    """Why a worker was started the ordinary way, as the model's log tells it; empty if forked."""
    first = output.decode().splitlines()[0]
    return first if "imports everything anew" in first else ""


def may_raise_limits() -> bool:
    """Whether this process has CAP_SYS_RESOURCE (24), as root mostly does outside a container."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)


# The same either way


def test_a_forked_worker_sees_what_an_ordinary_one_sees(place: Place, way: str) -> None:
    place.environment["ODD"] = os.fsdecode(b"\xff=\n")
    standin = place.start(way=way)

    def unlike_the_warm_process() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, 1000))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.umask(0o027)
        os.nice(3)

    def portrait(python: Path | str) -> dict[str, Any]:
        ran = place.run(
            python,
            PORTRAIT,
            *("--a b", "", "é\n"),
            input="hello é".encode(),
            preexec_fn=unlike_the_warm_process,
        )
        assert ran.returncode == 0, ran.stderr.decode()
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    assert portrait(standin) == portrait(sys.executable)


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_is_the_workers(place: Place, code: int, way: str) -> None:
    assert place.run(place.start(way=way), f"import sys; sys.exit({code})").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_a_death_by_a_signal_is_a_death_by_that_signal(place: Place, number: int, way: str) -> None:
    code = f"import os, signal; signal.signal({number}, 0) if {number} != 9 else 0\n"
    assert (
        place.run(place.start(way=way), code + f"os.kill(os.getpid(), {number})").returncode
        == -number
    )


def test_what_a_worker_writes_arrives_as_it_was_written(place: Place, way: str) -> None:
    code = """
import os, sys
print("é", end="")
sys.stdout.buffer.write(bytes(range(256)) * 4000)
os.write(2, b"\\0err\\xff")
"""
    ran = place.run(place.start(way=way), code)
    assert ran.stdout == "é".encode() + bytes(range(256)) * 4000
    assert ran.stderr == b"\0err\xff"


def test_what_a_worker_closes_is_closed(place: Place, way: str) -> None:
    code = "import os\nprint('up')\nos.close(1)\nos.close(2)\ninput()"
    serving = place.begin(place.start(way=way), code)
    assert serving.stdout is not None
    assert serving.stdout.read() == b""
    assert serving.poll() is None
    serving.communicate(b"end\n")
    assert serving.returncode == 0


def test_a_worker_has_nothing_open_that_is_the_warm_process_s_or_another_worker_s(
    place: Place, way: str
) -> None:
    standin = place.start(way=way)
    other = place.begin(standin, UNTIL_TOLD)
    if way == "spare":
        place.await_spare(standin)
    # Seen before a garbage collection might close it.
    code = "import os; print([n for n in range(64) if os.path.lexists(f'/proc/self/fd/{n}')])"
    assert place.run(standin, code).stdout == b"[0, 1, 2]\n"
    other.communicate(b"end\n")


def test_exit_handlers_and_unfinished_threads_have_their_turn(place: Place, way: str) -> None:
    code = """
import atexit, threading
atexit.register(print, "handler")
threading.Thread(target=lambda: print("thread")).start()
"""
    assert place.run(place.start(way=way), code).stdout.splitlines() == [b"thread", b"handler"]


def test_workers_draw_different_random_numbers(place: Place, way: str) -> None:
    standin = place.start(("random", "numpy.random"), way)
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    a, b = place.run(standin, code).stdout.split()
    if way == "spare":
        place.await_spare(standin)
    c, d = place.run(standin, code).stdout.split()
    assert a != c
    assert b != d


def test_a_module_beside_the_handler_may_have_the_name_of_one_of_ours(
    place: Place, way: str
) -> None:
    (place.model / "loop.py").write_text("mine = True", encoding="utf-8")
    ran = place.run(place.start(way=way), "import loop; print(loop.mine)")
    assert ran.stdout == b"True\n"


def test_what_is_no_worker_is_the_real_python(place: Place) -> None:
    code = "import sys; print(sys.executable, sys.argv[1:])"
    ran = subprocess.run([place.start(), "-c", code, "a b"], capture_output=True, check=True)
    assert ran.stdout.decode() == f"{sys.executable} ['a b']\n"
    assert warm.workers(place.app) == []


def test_a_real_load_and_prediction_are_the_same_and_nothing_was_computed_before(
    place: Place,
) -> None:
    """With all that is preloaded for a real server: it takes seconds, so once for both ways."""
    checkpoint = save_checkpoint(place)
    code = f"""
import logging, os, torch
from transformers import AutoModelForSequenceClassification as Auto, AutoTokenizer
fixed = [logging.root.handlers, os.listdir("/proc/self/task") == [str(os.getpid())]]
fixed += [number for number in range(64) if os.path.lexists(f"/proc/self/fd/{{number}}")]
torch.set_num_threads(2)
print(torch.rand(1).item())
model = Auto.from_pretrained({str(checkpoint)!r}).eval()
tokenizer = AutoTokenizer.from_pretrained({str(checkpoint)!r})
with torch.inference_mode():
    print(fixed, model(**tokenizer("good " * 90, return_tensors="pt")).logits.tolist())
"""
    # OpenBLAS's threads would do no harm: it ends them itself before a fork.
    place.environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    standin = place.start(MODULES, spare_after=0.02)
    place.zygote().suspend()
    with ThreadPoolExecutor() as pool:
        # Both ask before there is a spare one.
        forked = [pool.submit(place.run, standin, code) for _ in range(2)]
        assert eventually(lambda: place.waiting() == len(forked))
        place.zygote().resume()
        ran = [place.run(sys.executable, code), *(each.result() for each in forked)]
    for _ in range(2):
        place.await_spare(standin)
        assert place.spare().num_threads() == 1
        ran.append(place.run(standin, code))
    assert [each.returncode for each in ran] == [0] * 5, [each.stderr.decode() for each in ran]
    assert place.log().count(", the spare one,") == 2
    drawn, rest = zip(*(each.stdout.splitlines() for each in ran), strict=True)
    assert len(set(rest)) == 1
    assert len(set(drawn)) == 5
    assert place.zygote().num_threads() == 1
    assert "Traceback" not in place.log()


# The spare worker


def test_a_spare_worker_waits_until_no_worker_has_come_or_gone_for_a_while(place: Place) -> None:
    standin = place.start(spare_after=0.5)
    serving = place.begin(standin, UNTIL_TOLD)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert place.run(standin, "print('up')").stdout == b"up\n"
    assert "spare" not in place.log()
    assert eventually(place.has_ready_spare)
    serving.communicate(b"end\n")


def test_there_is_no_spare_worker_before_the_first_worker(place: Place) -> None:
    place.start(spare_after=0.01)
    assert eventually((place.app.link / "warm" / "imported").is_file)
    assert outlast([place.zygote()], 0.3)
    assert "spare" not in place.log()


def test_of_many_that_ask_at_once_none_waits_for_a_spare_worker(place: Place) -> None:
    standin = place.start(way="spare", spare_after=0.3)
    place.zygote().suspend()
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(place.begin, standin, UNTIL_TOLD) for _ in range(4)]
        assert eventually(lambda: place.waiting() == len(runs))
        place.zygote().resume()
        serving = [run.result() for run in runs]
    assert place.log().count(", the spare one,") == 1
    for each in serving:
        each.communicate(b"end\n")


def test_who_asks_during_a_rehearsal_gets_a_fork_at_once(place: Place) -> None:
    # Many words, so that the rehearsal can be stopped in the middle.
    save_checkpoint(place, words=200_000)
    standin = place.start(spare_after=0.01)
    serving = place.begin(standin, UNTIL_TOLD)
    zygote = place.zygote().pid
    children = Path(f"/proc/{zygote}/task/{zygote}/children")
    assert eventually(lambda: len(children.read_text().split()) == 2)
    spare = place.spare()
    spare.suspend()
    assert not place.has_ready_spare()
    code = "import os; print([n for n in range(64) if os.path.lexists(f'/proc/self/fd/{n}')])"
    assert place.run(standin, code).stdout == b"[0, 1, 2]\n"
    assert ", the spare one," not in place.log()
    spare.resume()
    assert eventually(place.has_ready_spare)
    assert place.run(standin, "import os; print(os.getpid())").stdout.decode() == f"{spare.pid}\n"
    serving.communicate(b"end\n")


def test_a_spare_worker_that_is_not_ready_or_has_died_is_passed_over() -> None:
    standin = StandIn(os.getpid(), [0, 1, 2])
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, connection, other:
        spare = Spare(0, 0, ours)
        assert not spare.accepts(standin, connection)
        theirs.send(READY)
        assert spare.accepts(standin, connection)
        theirs.send(READY)
        theirs.close()
        assert not spare.accepts(standin, connection)
        assert not spare.accepts(standin, connection)


def test_a_spare_worker_that_dies_is_the_last_one(place: Place) -> None:
    standin = place.start(way="spare")
    serving = place.begin(standin, UNTIL_TOLD)
    assert eventually(place.has_ready_spare)
    spare = place.spare()
    spare.kill()
    assert eventually(lambda: f"{SPARE} {spare.pid} ended with -9" in place.log())
    told = place.log()
    assert place.run(standin, "print('up')").stdout == b"up\n"
    assert outlast([place.zygote()], 0.3)
    assert SPARE not in place.log().removeprefix(told)
    assert ", the spare one," not in place.log().removeprefix(told)
    serving.communicate(b"end\n")


def test_a_spare_worker_counts_as_none(place: Place) -> None:
    place.start(way="spare")
    assert place.spare().is_running()
    assert list(warm.find(place.app).values()) == [[]]
    assert warm.workers(place.app) == []


def test_a_used_spare_worker_counts_as_one(place: Place) -> None:
    standin = place.start(way="spare")
    spare = place.spare()
    assert warm.workers(place.app) == []
    serving = place.begin(standin, UNTIL_TOLD)
    assert warm.workers(place.app) == [spare]
    serving.communicate(b"end\n")


@pytest.mark.parametrize("end", [warm.stop, warm.end_idle])
def test_no_spare_worker_is_left(place: Place, end: Callable[[Settings], None]) -> None:
    place.start(way="spare")
    spare = place.spare()
    end(place.app)
    assert not is_alive(spare)


def test_a_spare_worker_does_not_keep_a_warm_process_from_its_idle_end(place: Place) -> None:
    place.start(way="spare", idle_seconds=0.5)
    zygote, spare = place.zygote(), place.spare()
    assert have_ended(zygote, spare)


def test_a_warm_process_that_is_killed_takes_its_spare_along(place: Place) -> None:
    place.start(way="spare")
    zygote, spare = place.zygote(), place.spare()
    zygote.kill()
    assert have_ended(zygote, spare)


def test_the_memory_of_the_spare_is_told(place: Place) -> None:
    place.start(way="spare")
    both = [place.zygote(), place.spare()]
    told = warm.describe(place.app).removeprefix(f"ready (pid {both[0].pid}, ")
    size = sum(each.memory_full_info().pss for each in both) / 2**20
    assert float(told.removesuffix(" MiB with its spare)")) == pytest.approx(size, abs=1)


def test_a_rehearsal_that_fails_is_told_and_does_no_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": -1}')
    preload.rehearse(tmp_path)
    assert "Traceback" in capsys.readouterr().err


def test_what_is_said_once_per_process_is_not_said_by_the_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import logging

    heard: list[object] = []

    def say(_: Path) -> None:
        warnings.warn_explicit("once per place", UserWarning, __file__, 1, registry=registry)
        logging.get_logger("transformers").warning_once("once per process")

    registry: dict[Any, Any] = {}
    log = logging.get_logger("transformers")
    monkeypatch.setattr(log, "warning", heard.append)
    monkeypatch.setattr("warnings.showwarning", lambda message, *_, **__: heard.append(message))
    for step in ("load_tokenizer", "warm_model"):
        monkeypatch.setattr(preload, step, say)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        preload.rehearse(tmp_path)
        assert len(heard) == 2
        say(tmp_path)
        assert len(heard) == 4


# When a fork would not be the same


def test_a_changed_environment_means_an_ordinary_start_that_says_so(place: Place) -> None:
    standin = place.start()
    place.environment["OMP_NUM_THREADS"] = "7"
    ran = place.run(standin, "import os; print(os.environ['OMP_NUM_THREADS'])")
    assert reason(ran.stdout) == (
        "This worker imports everything anew: "
        "$OMP_NUM_THREADS changed after the warm process began."
    )
    assert ran.stdout.splitlines()[1] == b"7"


def test_another_terminal_does_not_matter(place: Place) -> None:
    standin = place.start()
    place.environment |= {"TERM": "xterm", "SSH_TTY": "/dev/pts/1", "PWD": "/", "MAKELEVEL": "1"}
    assert reason(place.run(standin, "print('up')").stdout) == ""
    begun = place.zygote()
    place.start()
    assert place.zygote() == begun


@pytest.mark.parametrize("name", ["json.py", "json/__init__.py", "sitecustomize.py"])
def test_a_model_folder_that_hides_an_imported_module_means_an_ordinary_start(
    place: Place, name: str
) -> None:
    standin = place.start()
    hiding = place.model / name
    hiding.parent.mkdir(exist_ok=True)
    hiding.write_text("mine = True", encoding="utf-8")
    ran = place.run(standin, f"import {name[:-3].split('/')[0]} as found; print(found.mine)")
    assert str(place.model) in reason(ran.stdout)
    assert ran.stdout.splitlines()[1] == b"True"


def test_a_relative_folder_on_the_python_path_counts_from_the_workers_own(place: Place) -> None:
    standin = place.start()
    (place.model / "sub").mkdir()
    (place.model / "sub" / "json.py").write_text("mine = True", encoding="utf-8")
    place.script.write_text("import sys; print(sys.path)", encoding="utf-8")

    def run(python: Path | str) -> bytes:
        command = place.command(python)
        command["env"]["PYTHONPATH"] = "sub:"
        output: bytes = subprocess.run(**command, capture_output=True, check=True).stdout
        return output

    assert str(place.model / "sub" / "json.py") in reason(run(standin))
    (place.model / "sub" / "json.py").unlink()
    assert run(standin) == run(sys.executable)


def test_a_stranger_on_the_socket_does_no_harm(place: Place) -> None:
    standin = place.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(place.app.link / "warm" / "socket"))
        stranger.send(b"fork")
        assert stranger.recv(100) == b""
    assert reason(place.run(standin, "print('up')").stdout) == ""


def test_a_data_file_with_the_name_of_a_module_hides_nothing(place: Place) -> None:
    standin = place.start()
    (place.model / "json.txt").touch()
    (place.model / "logging").mkdir()
    assert reason(place.run(standin, "print('up')").stdout) == ""


@pytest.mark.skipif(may_raise_limits(), reason="this user may raise every limit")
def test_a_higher_limit_than_the_warm_process_may_set_means_an_ordinary_start(
    place: Place, way: str
) -> None:
    standin = place.start(way=way)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    forked = place.spare() if way == "spare" else place.zygote()
    forked.rlimit(psutil.RLIMIT_NOFILE, (files - 1, files - 1))
    assert "the fork failed" in reason(place.run(standin, "print('up')").stdout)


def test_no_warm_process_means_an_ordinary_start(place: Place) -> None:
    standin = place.start()
    warm.stop(place.app)
    ran = place.run(standin, "print('up')", "a b")
    assert "does not answer (Connection refused)" in reason(ran.stdout)
    assert ran.stdout.splitlines()[1] == b"up"
    assert warm.describe(place.app) == "none: the next worker imports everything anew"


def test_an_import_that_fails_means_an_ordinary_start(place: Place) -> None:
    standin = place.start(("there_is_no_such_module",))
    assert reason(place.run(standin, "print('up')").stdout) != ""
    assert "No module named 'there_is_no_such_module'" in place.log()


def test_a_package_that_was_installed_since_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path)])
    before = fingerprint.fingerprint({})
    (tmp_path / "peft-1.0.dist-info").mkdir()
    now = fingerprint.fingerprint({})
    assert fingerprint.changed(before, now) == ["the set of installed packages"]


def test_there_are_no_warm_workers_on_another_system(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert warm.start(place.app, place.environment) is None


# Waiting, replacing, ending


def test_a_worker_that_comes_during_the_imports_waits_for_them(place: Place) -> None:
    standin = place.start()
    place.zygote().suspend()
    with ThreadPoolExecutor() as pool:
        run = pool.submit(place.run, standin, "print('up')")
        assert eventually(lambda: place.waiting() == 1)
        place.zygote().resume()
        assert run.result().stdout == b"up\n"


def test_a_second_start_finds_the_first(place: Place) -> None:
    place.start()
    begun = place.zygote()
    place.start()
    assert place.zygote() == begun


def test_of_two_starts_at_once_one_starts_it(place: Place) -> None:
    with ThreadPoolExecutor(8) as pool:
        standins = {each.result() for each in [pool.submit(place.start) for _ in range(8)]}
    assert len(standins) == 1
    assert len(warm.find(place.app)) == 1
    assert reason(place.run(standins.pop(), "print('up')").stdout) == ""


def test_a_changed_environment_replaces_it(place: Place) -> None:
    place.start()
    old = place.zygote()
    place.environment["HF_HOME"] = "/elsewhere"
    standin = place.start()
    assert have_ended(old)
    assert reason(place.run(standin, "print('up')").stdout) == ""


def test_a_checkpoint_of_another_architecture_replaces_it(place: Place) -> None:
    place.start()
    old = place.zygote()
    (place.app.app / "torch_model").mkdir()
    config = place.app.app / "torch_model" / "config.json"
    config.write_text('{"model_type": "roberta"}', encoding="utf-8")
    place.start()
    assert place.zygote() != old


def test_other_limits_replace_it(place: Place) -> None:
    place.start()
    old = place.zygote()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    standin = str(place.app.link / "warm" / "python")
    code = (
        "import os, resource, sys; from loop import settings, warm; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft} - 1, {hard} - 1)); "
        "print(warm.start(settings.read(sys.argv[1]), os.environ, ('json',)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(place.app.app)],
        env={**place.environment, "PYTHONPATH": str(settings.TOOLKIT)},
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode() == f"{standin}\n"
    assert have_ended(old)


def test_an_edit_of_an_imported_file_replaces_it(place: Place) -> None:
    place.start()
    imported = place.app.link / "warm" / "imported"
    assert eventually(imported.is_file)
    old = place.zygote()
    edited = place.model / "edited.py"
    edited.touch()
    with imported.open("a", encoding="utf-8") as listed:
        listed.write(f"\0{edited}")
    place.start()
    assert place.zygote() != old


def test_one_that_is_replaced_keeps_its_workers_until_they_end(place: Place) -> None:
    serving = place.begin(place.start(), UNTIL_TOLD)
    old = place.zygote()
    place.environment["HF_HOME"] = "/elsewhere"
    standin = place.start()
    assert len(warm.find(place.app)) == 2
    assert serving.communicate(b"end\n")[0] == b""
    assert serving.returncode == 0
    place.start()
    assert have_ended(old)
    assert reason(place.run(standin, "print('up')").stdout) == ""


def test_it_ends_when_it_has_been_idle(place: Place) -> None:
    place.start(idle_seconds=0.05)
    assert eventually(lambda: not warm.find(place.app))
    assert "no worker for" in place.log()


def test_it_is_not_idle_while_it_has_a_worker(place: Place) -> None:
    standin = place.start(idle_seconds=0.3)
    serving = place.begin(standin, UNTIL_TOLD)
    zygote = place.zygote()
    assert outlast([zygote], 0.6) == [zygote]
    serving.communicate(b"end\n")
    assert have_ended(zygote)


def test_stop_leaves_nothing_running(place: Place, way: str) -> None:
    serving = place.begin(place.start(way=way), UNTIL_KILLED)
    zygote, (worker,) = next(iter(warm.find(place.app).items()))
    assert warm.stop(place.app) == 1
    assert not is_alive(zygote)
    assert not is_alive(worker)
    assert serving.wait(10) == -signal.SIGKILL
    assert warm.stop(place.app) == 0


def test_idle_ones_can_be_ended_alone(place: Place) -> None:
    serving = place.begin(place.start(), UNTIL_TOLD)
    warm.end_idle(place.app)
    assert len(warm.workers(place.app)) == 1
    serving.communicate(b"end\n")
    warm.end_idle(place.app)
    assert warm.find(place.app) == {}


def test_two_apps_have_one_each(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    try:
        place.start()
        other.start()
        warm.stop(place.app)
        assert is_alive(other.zygote())
    finally:
        warm.stop(other.app)
        other.app.link.unlink()


def test_nobody_else_can_ask_for_a_worker(place: Place) -> None:
    place.start()
    assert (place.app.link / "warm").stat().st_mode & 0o777 == 0o700


def test_no_secret_of_the_environment_is_written_to_a_file(place: Place) -> None:
    place.environment["MY_HUB"] = "hf_secret"
    place.start()
    assert eventually((place.app.link / "warm" / "imported").is_file)
    for file in (place.app.link / "warm").iterdir():
        assert not file.is_file() or b"hf_secret" not in file.read_bytes()


def test_its_memory_is_told(place: Place) -> None:
    place.start()
    assert eventually((place.app.link / "warm" / "imported").is_file)
    assert f"ready (pid {place.zygote().pid}, " in warm.describe(place.app)
    assert " MiB)" in warm.describe(place.app)


# One fate


def test_a_worker_that_is_killed_takes_its_stand_in_along(place: Place, way: str) -> None:
    serving = place.begin(place.start(way=way), UNTIL_KILLED)
    (worker,) = warm.workers(place.app)
    worker.kill()
    assert serving.communicate(timeout=10)[0] == b""
    assert serving.returncode == -signal.SIGKILL


def test_a_stand_in_that_is_killed_takes_its_worker_along(place: Place, way: str) -> None:
    serving = place.begin(place.start(way=way), UNTIL_KILLED)
    (worker,) = warm.workers(place.app)
    serving.kill()
    # The end of the worker's output, not only of the stand-in's.
    assert serving.communicate(timeout=10)[0] == b""
    assert have_ended(worker)
    assert is_alive(place.zygote())


def test_a_server_that_is_killed_takes_its_workers_along(place: Place, way: str) -> None:
    command = place.command(place.start(way=way))
    place.script.write_text(UNTIL_KILLED, encoding="utf-8")
    start = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    command["args"] = [sys.executable, "-c", start, *command["args"]]
    server = subprocess.Popen(**command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"up\n"
    (worker,) = warm.workers(place.app)
    server.kill()
    # The end of the stand-in's output too.
    assert server.communicate(timeout=10)[0] == b""
    assert have_ended(worker)
    assert is_alive(place.zygote())


def test_a_warm_process_that_is_killed_takes_both_along(place: Place, way: str) -> None:
    serving = place.begin(place.start(way=way), UNTIL_KILLED)
    (worker,) = warm.workers(place.app)
    place.zygote().kill()
    assert serving.communicate(timeout=10)[0] == b""
    assert serving.returncode == -signal.SIGKILL
    assert have_ended(worker)


def test_the_fate_of_one_worker_is_not_that_of_another(place: Place) -> None:
    standin = place.start()
    first, second = place.begin(standin, UNTIL_KILLED), place.begin(standin, UNTIL_TOLD)
    first.kill()
    first.communicate(timeout=10)
    assert second.poll() is None
    second.communicate(b"end\n", timeout=10)
    assert second.returncode == 0


def test_a_stand_in_that_is_killed_while_it_waits_leaves_no_worker(place: Place, way: str) -> None:
    standin = place.start(way=way)
    place.zygote().suspend()
    place.script.write_text(UNTIL_KILLED, encoding="utf-8")
    waiting = subprocess.Popen(**place.command(standin))
    assert eventually(lambda: place.waiting() == 1)
    waiting.kill()
    waiting.wait(10)
    place.zygote().resume()
    assert reason(place.run(standin, "print('up')").stdout) == ""
    assert eventually(lambda: not warm.workers(place.app))
