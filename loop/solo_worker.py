"""A worker of one batch, without a server: it loads the model, answers, and writes down what came.

It does what ts/model_service_worker.py does with the messages of the frontend. Its one argument is
a folder of `loop.solo`:

    job       the messages, and what is wanted
    loaded    there once the model is
    result    what came of it, see `SoloWorker.result`; not there if the process has crashed
    stack     where it was then

What the handler prints and logs goes to stderr; stdout is for the debugger. It knows nothing of the
toolkit, whose modules a handler must not find: it is forked from the warm process (see
`loop.standin`), or run by an ordinary Python, in the environment of a worker.
"""

import os
import sys

# As TorchServe's own worker does: beside this file lie modules that are none of the handler's.
HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib comes later
sys.path[:] = [each for each in sys.path if each != HERE]

import ctypes  # noqa: E402
import faulthandler  # noqa: E402
import functools  # noqa: E402
import io  # noqa: E402
import logging  # noqa: E402
import pdb  # noqa: E402
import pickle  # noqa: E402
import runpy  # noqa: E402
import signal  # noqa: E402
import sysconfig  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType, SimpleNamespace, TracebackType  # noqa: E402
from typing import Any, NoReturn, TextIO  # noqa: E402

# Read, not imported: a handler must not find it.
complaint = runpy.run_path(f"{HERE}/recorder.py")["complaint"]
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
# The modules of TorchServe that say why a batch has failed: here the command says it.
SPEAKERS = ("service", "otf_message_handler")
# How a reply begins that is no failure.
OK = (200).to_bytes(4, "big")
PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Do the job, and end without waiting for anything that the handler may have started."""
    if sys.platform == "linux":
        # However the command ends that waits for this process, it does not stay.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A worker that somebody ends has not failed by an exception of its own.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    folder = Path(sys.argv[1])
    job = pickle.loads((folder / "job").read_bytes())  # noqa: S301 - our own, in a private folder
    stdout = os.dup(1)
    os.dup2(2, 1)
    worker = SoloWorker(folder, job)
    with (folder / "stack").open("w", encoding="utf-8") as stack:
        faulthandler.enable(stack)
        try:
            worker.work(stack)
        except BaseException as error:
            # SystemExit is one: a worker would end.
            worker.fail(error)
        faulthandler.cancel_dump_traceback_later()
        (folder / "result.aside").write_bytes(pickle.dumps(worker.result))
        (folder / "result.aside").rename(folder / "result")
        if job["debug"] and worker.error and worker.frames:
            sys.stdout.flush()
            os.dup2(stdout, 1)
            stand_in(first_of_the_users(worker.error.with_traceback(worker.frames)))
        sys.stdout.flush()
        os._exit(0)


class SoloWorker:
    """Answers one batch.

    Args:
        folder: where it leaves what others may look at.
        job: see `loop.solo`.

    Attributes:
        error: why it has failed, if that was an exception.
        frames: of its traceback, those that are not ours.
    """

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self._folder = folder
        self._job = job
        self._entry: Any = None
        self._returned: Any = None
        self._said: list[str] = []
        self._replies: list[bytes] = []
        self.error: BaseException | None = None
        self.frames: TracebackType | None = None

    def work(self, stack: TextIO) -> None:
        """Load the model, and have it answer; end where TorchServe would, if it takes too long.

        Args:
            stack: is told where it was then.
        """
        give_up_after = functools.partial(faulthandler.dump_traceback_later, file=stack, exit=True)
        if not self._job["debug"]:
            give_up_after(self._job["startup_seconds"])
        logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
        logging.root.handlers[0].addFilter(is_for_the_user)
        service = load(self._job)
        self._entry = service._entry_point
        service._entry_point = functools.partial(self._enter, self._entry)
        (self._folder / "loaded").touch()
        if not self._job["debug"]:
            give_up_after(self._job["response_seconds"])
        asked = self._job["asked"]
        batch = asked if isinstance(asked, list) else received(asked)
        # A handler that streams sends there what comes before the last of it.
        sent: list[bytes] = []
        service.set_cl_socket(SimpleNamespace(sendall=sent.append))
        reply = service.predict(batch)
        self._replies = [*sent, reply]
        if self.error is None and not reply.startswith(OK):
            self._said = complaint(self._returned, len(batch))

    def fail(self, error: BaseException) -> None:
        """Keep why it has failed: the first exception of all that come this way."""
        if self.error is None:
            self.error, self.frames = error, without_us(error.__traceback__)
            self._said = traceback.format_exception(type(error), error, self.frames)

    def _enter(self, entry: Callable[..., Any], data: list[Any], context: Any) -> Any:
        """Call the handler, and keep what TorchServe only logs, if the handler lets it."""
        try:
            self._returned = entry(data, context)
        except BaseException as error:
            self.fail(error)
            raise
        return self._returned

    @property
    def result(self) -> dict[str, Any]:
        """What came of it.

        `said`, in lines; `raised`, whether there is a frame to stand in; `loaded`, whether the
        model is; `replies`, what the frontend would get, and none if it waited in vain; `entry`,
        the handler's function that answers: its file, line and name.
        """
        # A callable object has none.
        code = getattr(getattr(self._entry, "__func__", self._entry), "__code__", None)
        return {
            "said": "".join(self._said).splitlines(),
            "raised": self.frames is not None,
            "loaded": self._entry is not None,
            "replies": [bytes(each) for each in self._replies],
            "entry": code and (code.co_filename, code.co_firstlineno, code.co_name),
        }


def is_for_the_user(record: logging.LogRecord) -> bool:
    """Whether to show a record: not what TorchServe tells its frontend, nor why a batch failed."""
    import ts

    if not record.pathname.startswith(ts.__path__[0]):
        return True
    return record.levelno > logging.INFO and record.module not in SPEAKERS


def load(job: dict[str, Any]) -> Any:
    """What TorchModelServiceWorker.load_model makes of the frontend's message."""
    import ts
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import ModelLoaderFactory
    from ts.utils.util import get_yaml_config

    cache = MetricsCacheYamlImpl(job["metrics"] or f"{ts.__path__[0]}/configs/metrics.yaml")
    cache.initialize_cache()
    cache.model_name = job["name"]
    config = job["config"] and get_yaml_config(f"{job['model_dir']}/{job['config']}")
    settings = config or {}
    return ModelLoaderFactory.get_model_loader().load(
        job["name"],
        job["model_dir"],
        job["handler"],
        gpu(job["gpus"], settings),
        int(settings.get("batchSize", 1)),
        job["envelope"] or None,
        metrics_cache=cache,
    )


def gpu(most: int | None, settings: dict[str, Any]) -> int | None:
    """The GPU that the frontend would name: one for each worker, in turn.

    Args:
        most: how many it may use; None for all that there are.
    """
    import torch

    there = torch.cuda.device_count() if settings.get("deviceType") != "cpu" else 0
    number = there if most is None else min(most, there)
    return int((settings.get("deviceIds") or [0])[0]) if number else None


def received(message: bytes) -> list[dict[str, Any]]:
    """What TorchServe's codec makes of a message from the frontend."""
    from ts.protocol.otf_message_handler import retrieve_msg

    _, batch = retrieve_msg(SimpleNamespace(recv=io.BytesIO(message).read))
    return list(batch)


def without_us(frames: TracebackType | None) -> TracebackType | None:
    """A traceback less the frames of this file, with which it begins."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def first_of_the_users(error: BaseException) -> BaseException:
    """Of a chain of exceptions the first that came through the user's own code, else the last."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.insert(0, link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    for each in chain:
        if any(is_the_users(frame) for frame, _ in traceback.walk_tb(each.__traceback__)):
            return each
    return error


def is_the_users(frame: FrameType) -> bool:
    """Whether a frame is neither of a library nor of this file."""
    file = frame.f_code.co_filename
    return not file.startswith((*LIBRARIES, "<")) and file != __file__


class Debugger(pdb.Pdb):
    """Begins in the innermost frame of the user's own code; `down` leads to what it has called."""

    def get_stack(
        self, frame: FrameType | None, frames: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames of a traceback, and where to stand."""
        stack, index = super().get_stack(frame, frames)
        own = [i for i, (each, _) in enumerate(stack) if is_the_users(each)]
        return stack, own[-1] if own else index


def stand_in(error: BaseException) -> None:
    """Debug an exception where it was raised, until the user has seen enough."""
    said = "".join(traceback.format_exception_only(error)).strip()
    # What a request has sent may be in it, and is not for the terminal to obey.
    print("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in said), flush=True)
    debugger = Debugger()
    debugger.reset()
    debugger.interaction(None, error.__traceback__)


if __name__ == "__main__":
    main()
