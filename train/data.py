"""What a model learns from: labelled texts, in an app's CSV files or a hub data set."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoke.fault import Fault
from train.labels import in_order

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Example:
    """One text, or a pair of them, with its label as it will be served."""

    label: str
    text: str
    text_pair: str | None = None


@dataclass(frozen=True)
class Data:
    """Two splits, the labels in the order of the model's outputs, and a SHA-256 of the content."""

    train: list[Example]
    validation: list[Example]
    labels: list[str]
    digest: str


def load(source: str) -> Data:
    """Read a training and a validation split.

    Args:
        source: a folder with `train.csv` and `validation.csv`, or the name of a data set on the
            hub; either with the columns `label`, `text` and, for pairs, `text_pair`.

    Raises:
        Fault: the data cannot be read, or no classifier can be learnt from it.
    """
    folder = Path(source).expanduser()
    data = _load_folder(folder) if folder.is_dir() else _load_from_hub(source)
    if len(data.labels) < 2:
        raise Fault(f"{source}: fewer than two classes to learn", "label it with at least two")
    if not data.validation:
        raise Fault(f"{source}: nothing to validate on", "add rows to the validation split")
    return data


def digest(folder: Path) -> str:
    """SHA-256 over the bytes of the folder's two CSV files.

    Raises:
        Fault: one of them cannot be read.
    """
    files = [hashlib.sha256(_read(path)).digest() for path in _splits(folder)]
    return hashlib.sha256(b"".join(files)).hexdigest()


def _load_folder(folder: Path) -> Data:
    train_csv, validation_csv = _splits(folder)
    train = [example for _, example in _rows(train_csv)]
    labels = in_order(example.label for example in train)
    validation = []
    for line, example in _rows(validation_csv):
        if example.label not in labels:
            raise Fault(
                f"{validation_csv}:{line}: no training text is labelled {example.label!r}",
                f"mend the label, or add such texts to {train_csv.name}",
            )
        validation.append(example)
    return Data(train, validation, labels, digest(folder))


def _splits(folder: Path) -> tuple[Path, Path]:
    return folder / "train.csv", folder / "validation.csv"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}", "add it, or name other data with DATA=") from error


def _rows(path: Path) -> Iterator[tuple[int, Example]]:
    """Each row of a CSV file, with the number of the line that it begins on."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    columns: list[str] = []
    line = 1
    try:
        for row in reader:
            if not columns:
                columns = _header(path, row)
            elif row:
                yield line, _example(f"{path}:{line}", columns, row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise Fault(f"{path}:{line}: {error}", "mend the quotes around that row") from error
    if not columns:
        raise Fault(f"{path}: empty", "give it the columns label,text")


def _text(path: Path) -> str:
    content = _read(path)
    try:
        return content.decode("utf-8-sig")  # spreadsheets begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Fault(f"{path}:{line}: not UTF-8", "save the file as UTF-8") from error


def _header(path: Path, columns: list[str]) -> list[str]:
    for column in ("label", "text"):
        if column not in columns:
            raise Fault(f"{path}:1: no column {column!r}", "name the columns label,text")
    return columns


def _example(place: str, columns: list[str], row: list[str]) -> Example:
    if len(row) != len(columns):
        raise Fault(
            f"{place}: {len(row)} fields for {len(columns)} columns",
            "quote a text that has a comma in it",
        )
    fields = dict(zip(columns, row, strict=True))
    for column in ("label", "text"):
        if not fields[column].strip():
            raise Fault(f"{place}: empty {column}", "fill it in, or delete the row")
    return Example(fields["label"].strip(), fields["text"], fields.get("text_pair"))


def _load_from_hub(name: str) -> Data:
    import datasets  # slow, and installed for training only

    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # the library lets dozens of unrelated types through
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Fault(
            f"{name}: neither a folder nor a data set that the hub gives: {why}",
            "mend DATA=, or look at the network",
        ) from error
    validation = "validation" if "validation" in splits else "test"
    for split in ("train", validation):
        if split not in splits:
            raise Fault(f"{name}: no split {split!r}", "name a data set with train and test")
    train_examples = _from_hub(name, splits["train"])
    validation_examples = _from_hub(name, splits[validation])
    names = getattr(splits["train"].features["label"], "names", None)
    labels = names or in_order(example.label for example in train_examples)
    return Data(
        train_examples,
        validation_examples,
        labels,
        _digest_of(train_examples + validation_examples),
    )


def _from_hub(name: str, split: "Dataset") -> list[Example]:
    for column in ("label", "text"):
        if column not in split.column_names:
            raise Fault(f"{name}: no column {column!r}", "name a data set with label and text")
    names = getattr(split.features["label"], "names", None)
    return [_hub_example(row, names) for row in split]


def _hub_example(row: dict[str, Any], names: list[str] | None) -> Example:
    label = names[row["label"]] if names else str(row["label"])
    return Example(label, row["text"], row.get("text_pair"))


def _digest_of(examples: list[Example]) -> str:
    checksum = hashlib.sha256()
    for example in examples:
        checksum.update(json.dumps(asdict(example)).encode() + b"\n")
    return checksum.hexdigest()
