"""What a run proposes, and how it is decided: `review` on a terminal, `accept` of some, CI."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from smoke import fault, golden, jsonl, lock, predict, proposal, record, review, samples
from smoke.golden import Golden
from tests.fake_model import FakeModel, Request, Response
from tests.test_smoke_command import smoke

ROOT = Path(__file__).parent.parent
TRUTHS = {"drift": None, "fixed": "3 stars", "label": None, "new": None, "worse": "1 star"}
"""The ids of the samples, in their order, each the text of itself, and the truth."""
PROMPT = review.PROMPT.strip()


def before(request: Request) -> Response:
    label = {"worse": "1 star"}.get(request.text, "5 stars")
    return Response({"label": label, "score": 0.5})


def after(request: Request) -> Response:
    """Each sample has become what its id says."""
    if request.text == "drift":
        return Response({"label": "5 stars", "score": 0.6})
    return Response({"label": "3 stars", "score": 0.412})


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(before) as fake:
        yield fake


@pytest.fixture
def app(tmp_path: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app whose goldens are what `before` says, but for the sample `new`."""
    for name in ("TOKEN", "TOLERANCE", "NO_COLOR", "BUDGET", "ACCEPT", "CI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "a b é"
    monkeypatch.setenv("APP", str(folder))
    monkeypatch.setenv("URL", model.url)
    monkeypatch.setenv("TERM", "xterm")
    rows = [
        {"id": id_, "text": id_, **({} if truth is None else {"label": truth})}
        for id_, truth in TRUTHS.items()
    ]
    jsonl.write(samples.path(folder), rows)
    smoke("accept")
    lines = golden.path(folder).read_text().splitlines(keepends=True)
    golden.path(folder).write_text("".join(each for each in lines if '"new"' not in each))
    return folder


def proposed(app: Path) -> list[str]:
    return [each.id for each in proposal.stream(app)]


class Terminal:
    """`python -m smoke.review` on a terminal of its own."""

    def __init__(self, **environment: str) -> None:
        self.screen = ""
        self._master, self._slave = pty.openpty()
        self._before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smoke.review"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def wait_for(self, prompts: int) -> None:
        """Read until it has asked so many times."""
        deadline = time.monotonic() + 30
        os.set_blocking(self._master, False)
        while self.screen.count(PROMPT) < prompts:
            assert time.monotonic() < deadline, self.screen
            self._read()
            time.sleep(0.01)

    def press(self, keys: str) -> None:
        """Press keys, each when it is asked for the next time."""
        for key in keys:
            self.wait_for(self.screen.count(PROMPT) or 1)
            asked = self.screen.count(PROMPT)
            os.write(self._master, key.encode())
            if key not in "q\x03":
                deadline = time.monotonic() + 30
                while self.screen.count(PROMPT) == asked and self.process.poll() is None:
                    assert time.monotonic() < deadline, self.screen
                    self._read()
                    time.sleep(0.01)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Its exit code, once all is on the screen."""
        code = self.process.wait(30)
        self._read()
        return code

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal echoes, and waits for Enter, as it did."""
        return termios.tcgetattr(self._slave) == self._before

    def _read(self) -> None:
        os.set_blocking(self._master, False)
        try:
            while part := os.read(self._master, 65536):
                self.screen += part.decode(errors="replace")
        except (BlockingIOError, OSError):
            return


@pytest.fixture
def changed(app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]) -> Path:
    """The app after a run in which each sample became what its id says."""
    model.think = after
    assert smoke() == 1
    capsys.readouterr()
    return app


def test_a_run_leaves_what_differs_beside_the_goldens_and_never_over_them(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    goldens = golden.path(app).read_bytes()
    model.think = after
    assert smoke() == 1
    assert golden.path(app).read_bytes() == goldens
    assert proposal.path(app).read_text() == (
        '{"id": "drift", "label": "5 stars", "score": 0.6}\n'
        '{"id": "fixed", "label": "3 stars", "score": 0.412}\n'
        '{"id": "label", "label": "3 stars", "score": 0.412}\n'
        '{"id": "new", "label": "3 stars", "score": 0.412}\n'
        '{"id": "worse", "label": "3 stars", "score": 0.412}\n'
    )
    assert "next: make review" in capsys.readouterr().out


def test_a_proposal_says_what_it_was_made_with(
    app: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = app / ".run" / "served" / "3f9a2c1.json"
    served.parent.mkdir(parents=True)
    served.write_text('{"version": "3f9a2c1", "device": "cpu"}')
    started = {"url": model.url, "key_file": None, "version": "3f9a2c1"}
    (app / ".run" / "endpoint.json").write_text(json.dumps(started))
    monkeypatch.delenv("URL")
    smoke()
    assert golden.made_with_in(proposal.path(app)) == {"version": "3f9a2c1", "device": "cpu"}
    assert proposed(app) == ["new"]


def test_what_failed_is_not_proposed(app: Path, model: FakeModel) -> None:
    model.think = lambda request: Response({}, 503) if request.text == "label" else after(request)
    smoke()
    assert "label" not in proposed(app)
    assert len(proposed(app)) == 4


def test_a_run_in_which_all_is_the_same_takes_the_proposal_away(changed: Path) -> None:
    assert smoke("accept") == 0
    assert not proposal.path(changed).exists()
    proposal.path(changed).write_text('{"id": "worse", "label": "x", "score": 1}\n')
    assert smoke() == 0
    assert not proposal.path(changed).exists()


def test_a_run_that_is_cut_short_leaves_the_last_proposal(
    changed: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = proposal.path(changed).read_bytes()

    replace = Path.replace

    def interrupted(aside: Path, target: Path) -> Path:
        if target == proposal.path(changed):
            raise KeyboardInterrupt
        return replace(aside, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    model.think = before
    assert smoke() == 130
    assert proposal.path(changed).read_bytes() == last
    assert not [each for each in (changed / "smoke").iterdir() if each.name.startswith(".")]


def test_a_proposal_that_cannot_be_written_leaves_the_verdict(
    app: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    proposal.path(app).mkdir()
    model.think = after
    assert smoke() == 1
    out, err = capsys.readouterr()
    assert "golden.jsonl.new of this run" in err
    assert "next: make accept" in out


def test_git_does_not_see_a_proposal() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert proposal.path(ROOT).name in ignored


@pytest.mark.parametrize(
    "command",
    [
        lambda: smoke("accept"),
        lambda: smoke("accept", "--only", "worse"),
        lambda: saving("text", "--save", "more"),
        lambda: on_a_terminal(),
    ],
    ids=["accept", "accept some", "save", "review"],
)
def test_in_ci_nothing_is_written_beside_the_samples(
    changed: Path,
    command: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {each: each.read_bytes() for each in (changed / "smoke").iterdir()}
    monkeypatch.setenv("CI", "true")
    assert command() == 2
    assert {each: each.read_bytes() for each in (changed / "smoke").iterdir()} == files
    err = capsys.readouterr().err
    assert not err or "CI=true, where nothing is written" in err


def test_in_ci_a_run_proposes_nothing(
    app: Path, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    model.think = after
    assert smoke() == 1
    assert not proposal.path(app).exists()


def on_a_terminal() -> int:
    with Terminal() as terminal:
        code = terminal.end()
        assert "CI=true, where nothing is written" in terminal.screen
        return code


def saving(*words: str) -> int:
    """Run `predict` in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict", *words])
        with pytest.raises(SystemExit) as exit_:
            fault.run("predict", predict.main)
    return int(exit_.value.code or 0)


def test_a_review_shows_the_worst_first_with_all_that_it_takes_to_judge(changed: Path) -> None:
    record.write(changed, replace(record.read(changed), ties={"worse": [0.412, 0.409]}))
    with Terminal() as terminal:
        terminal.press("sssss")
        assert terminal.end() == 0
        shown = terminal.screen.replace("\r", "")
    heads = [line for line in shown.splitlines() if " of 5 " in line]
    plain = ["".join(filter(str.isprintable, line)).split() for line in heads]
    assert [line[-1] for line in plain] == ["worse", "label", "fixed", "drift", "new"]
    assert "1 of 5" in heads[0]
    assert "1 star 0.5000 → 3 stars 0.4120 · truth 1 star · tie: 0.412 to 0.409" in shown
    assert "5 stars 0.500000 → 5 stars 0.600000" in shown
    assert "5 skipped · 5 left in" in shown
    assert len(proposed(changed)) == 5


def test_one_key_decides_and_is_written_at_once_in_its_place(changed: Path) -> None:
    raw = golden.path(changed).read_bytes().replace(b'"label": "label"', b'"label":"label"')
    raw = raw.replace(b'{"id": "drift", ', b'{"id":  "drift", ')
    golden.path(changed).write_bytes(raw)
    with Terminal() as terminal:
        terminal.press("a")
        accepted = golden.read(changed)
        assert accepted["worse"] == Golden("worse", "3 stars", 0.412)
        assert accepted["label"] == Golden("label", "5 stars", 0.5)
        assert "worse" not in proposed(changed)
        terminal.press("rssa")
        assert terminal.end() == 0
        assert "2 accepted · 1 rejected · 2 skipped · 2 left in" in terminal.screen
    assert proposed(changed) == ["drift", "fixed"]
    lines = golden.path(changed).read_bytes().splitlines(keepends=True)
    before = raw.splitlines(keepends=True)
    assert lines[:3] == before[:3]
    assert [json.loads(each)["id"] for each in lines] == list(TRUTHS)


def test_what_is_decided_to_the_end_leaves_no_proposal(changed: Path) -> None:
    with Terminal() as terminal:
        terminal.press("aarra")
        assert terminal.end() == 0
    assert not proposal.path(changed).exists()


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("\x04", 0), ("\x03", 130)])
def test_leaving_keeps_what_was_decided_and_the_rest_and_the_terminal(
    changed: Path, key: str, code: int
) -> None:
    with Terminal() as terminal:
        terminal.press("a")
        terminal.type(key)
        assert terminal.end() == code
        assert terminal.is_as_before
        assert "1 accepted · 4 left in" in terminal.screen
        assert "Traceback" not in terminal.screen
    assert golden.read(changed)["worse"].label == "3 stars"
    assert proposed(changed) == ["drift", "fixed", "label", "new"]


def test_an_arrow_key_decides_nothing(changed: Path) -> None:
    with Terminal() as terminal:
        terminal.wait_for(1)
        terminal.type("\x1b[A")
        time.sleep(0.2)
        terminal.type("q")
        assert terminal.end() == 0
    assert len(proposed(changed)) == 5


def test_a_terminal_that_knows_no_keys_is_asked_by_the_line(changed: Path) -> None:
    with Terminal(TERM="dumb") as terminal:
        terminal.wait_for(1)
        terminal.type("what\n")
        terminal.wait_for(2)
        terminal.type("accept\n")
        terminal.wait_for(3)
        terminal.type("q\n")
        assert terminal.end() == 0
        assert "\x1b" not in terminal.screen
    assert golden.read(changed)["worse"].label == "3 stars"
    assert len(proposed(changed)) == 4


def test_a_golden_that_was_edited_meanwhile_is_not_overwritten_unseen(changed: Path) -> None:
    with Terminal() as terminal:
        terminal.wait_for(1)
        edited = golden.path(changed).read_text().replace("1 star", "2 stars")
        golden.path(changed).write_text(edited)
        terminal.press("a")
        assert "edited meanwhile" in terminal.screen
        assert "2 stars 0.5000 → 3 stars" in terminal.screen
        assert golden.read(changed)["worse"].label == "2 stars"
        terminal.press("aq")
        terminal.end()
    assert golden.read(changed)["worse"].label == "3 stars"


@pytest.mark.parametrize("command", [lambda: smoke("accept"), lambda: saving("x", "--save", "x")])
def test_while_a_review_is_open_nobody_else_writes(
    changed: Path, command: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal() as first:
        first.wait_for(1)
        with Terminal() as second:
            assert second.end() == 2
            assert f"review (pid {first.process.pid}) has the goldens" in second.screen
        assert command() == 2
        assert f"review (pid {first.process.pid})" in capsys.readouterr().err
    with lock.held(changed, "test"):
        pass


def test_without_a_terminal_a_review_names_the_other_way(changed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smoke.review"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'make accept ACCEPT="ID ID"' in done.stderr


def test_without_a_proposal_there_is_nothing_to_review(
    app: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["review"])
    assert review.main() == 0
    assert "nothing to review" in capsys.readouterr().out


def test_what_is_settled_already_is_not_asked(changed: Path) -> None:
    with proposal.path(changed).open("a") as file:
        file.write('{"id": "gone", "label": "x", "score": 1}\n')
    settled = '"id": "label", "label": "3 stars", "score": 0.412'
    text = golden.path(changed).read_text()
    golden.path(changed).write_text(
        text.replace('"id": "label", "label": "5 stars", "score": 0.5', settled)
    )
    with Terminal() as terminal:
        terminal.press("q")
        assert terminal.end() == 0
        assert "1 of 4" in terminal.screen
    assert proposed(changed) == ["drift", "fixed", "new", "worse"]


@pytest.mark.parametrize("given", ["--only", "ACCEPT"])
def test_only_what_is_named_is_asked_and_accepted(
    changed: Path,
    model: FakeModel,
    given: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = golden.path(changed).read_text().splitlines()
    model.requests.clear()
    if given == "ACCEPT":
        monkeypatch.setenv("ACCEPT", "worse new")
        assert smoke("accept") == 0
    else:
        assert smoke("accept", "--only", "worse", "new") == 0
    assert sorted(each.text for each in model.requests) == ["new", "worse"]
    assert "accept: 1 new · 1 changed · 0 unchanged" in capsys.readouterr().out
    lines = golden.path(changed).read_text().splitlines()
    assert [json.loads(each)["id"] for each in lines] == list(TRUTHS)
    assert lines[:3] == before[:3]
    assert golden.read(changed)["worse"].label == "3 stars"
    assert proposed(changed) == ["drift", "fixed", "label"]


def test_accepting_an_unknown_id_names_it_and_asks_nothing(
    changed: Path, model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model.requests.clear()
    assert smoke("accept", "--only", "worse", "nope") == 2
    assert "no sample nope" in capsys.readouterr().err
    assert not model.requests
    assert smoke("run", "--only", "worse") == 2


def test_of_the_named_none_is_accepted_if_one_fails(changed: Path, model: FakeModel) -> None:
    before = golden.path(changed).read_bytes()
    model.think = lambda request: Response({}, 503) if request.text == "label" else after(request)
    assert smoke("accept", "--only", "worse", "label") == 1
    assert golden.path(changed).read_bytes() == before


def test_new_samples_and_goldens_without_one_are_counted_and_named(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with golden.path(app).open("a") as file:
        file.write('{"id": "gone", "label": "x", "score": 1}\n')
    smoke()
    err = capsys.readouterr().err
    assert "1 without a golden: new: add with `make accept" in err
    assert "1 without a sample: gone: drop with `make accept" in err


def test_a_new_golden_stands_behind_that_of_the_sample_before_it(tmp_path: Path) -> None:
    head = '{"made_with": {"device": "cpu"}}\n'
    first, last = (f'{{"id": "{each}", "label": "x", "score": 1}}' for each in "bz")
    golden.path(tmp_path).parent.mkdir()
    golden.path(tmp_path).write_text(f"{head}{first}\n\n{last}")
    accepted = {each: Golden(each, "new", 0.5) for each in "adce"}
    golden.put(tmp_path, accepted, "abcdez", {"device": "gpu"})
    assert list(golden.read(tmp_path)) == list("abcdez")
    assert golden.made_with(tmp_path) == {"device": "cpu"}
    assert f"\n{first}\n" in golden.path(tmp_path).read_text()
    assert golden.path(tmp_path).read_text().endswith(f"{last}\n")
