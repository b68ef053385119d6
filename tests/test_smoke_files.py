"""Samples and goldens: what is read, what is written, and which line is to blame."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke import atomic, golden, index, samples
from smoke.fault import Fault
from smoke.golden import Golden
from smoke.index import Index

GOOD = '{"id": "a", "text": "fine"}\n'


def app_with(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / "smoke" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_samples_keep_their_order_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    lines = '{"id": "z", "text": ""}\n\n  \r\n{"id": "a", "text": "x", "text_pair": "y"}'
    read = samples.read(app_with(tmp_path, "samples.jsonl", lines))
    assert [each.id for each in read] == ["z", "a"]
    assert read[1].text_pair == "y"


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    read = samples.read(app_with(tmp_path, "samples.jsonl", '{"id": "a", "text": "x\u2028y"}'))
    assert read[0].text == "x\u2028y"


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert samples.read(app_with(tmp_path, "samples.jsonl", f"\ufeff{GOOD}"))[0].id == "a"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"text": "x"}', 'no "id"'),
        ('{"id": "b"}', 'no "text"'),
        ('{"id": "", "text": "x"}', '"id" is ""'),
        ('{"id": "two\\nlines", "text": "x"}', '"id" is'),
        ('{"id": 7, "text": "x"}', '"id" is 7'),
        ('{"id": "b", "text": 7}', '"text" is 7'),
        ('{"id": "b", "text": "x", "text_pair": null}', '"text_pair" is null'),
        ('{"id": "b", "text": "x", "tags": "long"}', '"tags" is "long"'),
        ('{"id": "b", "text": "x", "lable": "y"}', 'unknown key "lable"'),
        ('{"id": "a", "text": "x"}', 'the id "a" stands on line 1 already'),
        (b'{"id": "b", "text": "\xff"}', "byte 22 is not UTF-8"),
    ],
)
def test_a_broken_sample_is_named_by_file_and_line(
    tmp_path: Path, line: str | bytes, what: str
) -> None:
    line = line.encode() if isinstance(line, str) else line
    app = app_with(tmp_path, "samples.jsonl", GOOD.encode() + b"\n" + line)
    with pytest.raises(Fault) as caught:
        samples.read(app)
    assert f"samples.jsonl:3: {what}" in caught.value.what


def test_no_samples_at_all_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no samples"):
        samples.read(app_with(tmp_path, "samples.jsonl", "\n\n"))


def test_a_folder_without_samples_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no such file"):
        samples.read(tmp_path)


@pytest.mark.parametrize(
    "score", ["NaN", "Infinity", "true", '"0.5"', "1" + "0" * 400], ids=lambda score: score[:9]
)
def test_a_golden_score_that_is_no_number_is_named_by_line(tmp_path: Path, score: str) -> None:
    line = f'{{"id": "a", "label": "x", "score": {score}}}'
    with pytest.raises(Fault, match=r"golden\.jsonl:1: .score. is"):
        golden.read(app_with(tmp_path, "golden.jsonl", line))


def test_goldens_come_back_as_they_were_written_and_stay_readable(tmp_path: Path) -> None:
    goldens = [Golden("ü", "좋아요", 0.25), Golden("b", "lone \ud800", 1.0)]
    golden.write(tmp_path, goldens, {})
    assert list(golden.read(tmp_path).values()) == goldens
    assert "좋아요" in golden.path(tmp_path).read_text(encoding="utf-8")


def test_a_kill_in_the_middle_of_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Fault, match="cannot be written"):
        atomic.write(tmp_path / "file" / "below", b"")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond 64 KiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("full_disk")
def test_no_room_for_the_index_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CACHE", 1)
    kept = Index()

    def fill() -> None:
        for number in range(10_000):
            kept.add(f"sample {number}", "x" * 100)

    with pytest.raises(Fault, match="free that place"):
        fill()


def test_the_samples_of_the_root_app_cover_labels_and_edges() -> None:
    read = samples.read(Path(__file__).parent.parent)
    assert len(read) >= 30
    assert {each.label for each in read} == {
        None, "1 star", "2 stars", "3 stars", "4 stars", "5 stars",
    }  # fmt: skip
    assert any(len(each.text.split()) > 512 for each in read)
    assert any(each.text_pair for each in read)
