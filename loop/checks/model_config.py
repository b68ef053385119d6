"""Whether model-config.yaml says what TorchServe understands, in keys that it knows.

Other keys are the handler's: TorchServe passes all of them on. What it does not understand, it
ignores with a line in its log.
"""

import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from loop.checks.finding import Finding, failure, ok, warning
from loop.checks.tree import Tree

if TYPE_CHECKING:
    from loop.model_config import ModelConfig

NEAR = 0.8


class Kind(NamedTuple):
    """What a key may hold: words for messages, and the test."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_one_of(*words: str) -> Kind:
    return Kind(" or ".join(words), lambda value: isinstance(value, str) and value.lower() in words)


POSITIVE = Kind("a whole number above 0", lambda value: _is_number(value) and value > 0)
NUMBER = Kind("a whole number, 0 or more", lambda value: _is_number(value) and value >= 0)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
MAPPING = Kind("a mapping", lambda value: isinstance(value, dict))
INDICES = Kind(
    "a list of whole numbers",
    lambda value: isinstance(value, list) and all(_is_number(each) for each in value),
)

# As org.pytorch.serve.archive.model.ModelConfig reads them.
KEYS = {
    "minWorkers": POSITIVE,
    "maxWorkers": POSITIVE,
    "batchSize": POSITIVE,
    "maxBatchDelay": NUMBER,
    "responseTimeout": POSITIVE,
    "startupTimeout": POSITIVE,
    "deviceType": _is_one_of("cpu", "gpu"),
    "deviceIds": INDICES,
    "parallelType": _is_one_of("pp", "tp", "pptp", "custom"),
    "parallelLevel": NUMBER,
    "torchrun": MAPPING,
    "maxRetryTimeoutInSec": NUMBER,
    "clientTimeoutInMills": NUMBER,
    "jobQueueSize": POSITIVE,
    "useJobTicket": FLAG,
    "sequenceBatching": FLAG,
    "continuousBatching": FLAG,
    "asyncCommunication": FLAG,
    "sequenceMaxIdleMSec": NUMBER,
    "sequenceTimeoutMSec": NUMBER,
    "maxSequenceJobQueueSize": POSITIVE,
    "maxNumSequence": POSITIVE,
    "useVenv": FLAG,
}
WORKERS = ("minWorkers", "maxWorkers")
# Each that is missing is 120 s, over whatever config.properties says.
TIMEOUTS = ("responseTimeout", "startupTimeout")


def check(tree: Tree) -> Iterator[Finding]:
    """Whether it can be read, and says what TorchServe understands."""
    path = tree.app.app / "model-config.yaml"
    if not path.exists():
        yield ok("there is none: config.properties alone counts")
        return
    from loop import model_config  # Only here, since few apps have the file.

    found = model_config.read(path)
    yield ok(f"{path}: {', '.join(map(str, found.values)) or 'nothing in it'}")
    for key, line in found.repeated.items():
        yield warning(
            f"{path}:{line}: {key} stands again on line {found.lines[key]}, and only that counts",
            "keep one of the two lines",
        )
    for key, value in found.values.items():
        yield from _of_key(found, str(key), value)
    yield from _together(found)


def _of_key(found: "ModelConfig", key: str, value: Any) -> Iterator[Finding]:
    kind = KEYS.get(key)
    if kind is None:
        if near := _meant(key, found):
            yield warning(
                f"{found.where(key)}: TorchServe knows no {key}, and leaves it to the handler",
                f"write {near}, if you mean that",
            )
    elif not kind.fits(value):
        yield failure(
            f"{found.where(key)}: {key} is {value!r:.40}, and TorchServe would ignore it",
            f"write {kind.words}",
        )


def _meant(key: str, found: "ModelConfig") -> str | None:
    """The key that is meant, by the look of it; none that is there as well."""
    lower = {each.lower(): each for each in KEYS if each not in found.values}
    plain = key.replace("_", "").replace("-", "").lower()
    near = difflib.get_close_matches(plain, lower, n=1, cutoff=NEAR)
    return lower[near[0]] if near else None


def _together(found: "ModelConfig") -> Iterator[Finding]:
    values = found.values
    least, most = (values.get(key) for key in WORKERS)
    if (least is None) != (most is None):
        given, other = WORKERS if most is None else reversed(WORKERS)
        yield warning(
            f"{found.where(given)}: {given} without {other}: TorchServe ignores it",
            f"write `{other}: {values[given]}` as well",
        )
    elif isinstance(least, int) and isinstance(most, int) and most < least:
        yield failure(
            f"{found.where('maxWorkers')}: maxWorkers is less than minWorkers on line"
            f" {found.lines['minWorkers']}, and TorchServe ignores both",
            "write the larger number there",
        )
    if missing := [key for key in TIMEOUTS if key not in values]:
        yield warning(
            f"{found.path}: without {' and '.join(missing)}, TorchServe takes 120 s for it,"
            " whatever config.properties says",
            f"write {' and '.join(f'{key}: SECONDS' for key in missing)}",
        )
