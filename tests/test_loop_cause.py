"""From what a worker said to the cause: the first exception, at the user's own line."""

from pathlib import Path

import pytest

from loop import cause

FOLDER = "/run/models/ab12"
TRACEBACK = f"""\
Traceback (most recent call last):
  File "/env/lib/python3.11/site-packages/ts/service.py", line 135, in predict
    ret = self._entry_point(input_batch, self.context)
  File "{FOLDER}/handler.py", line 61, in handle
    tokens = self.tokenize(data)
  File "{FOLDER}/handler.py", line 87, in tokenize
    return self.tokenizer(data)
           ^^^^^^^^^^^^^^^^^^^^
  File "/env/lib/python3.11/site-packages/transformers/base.py", line 5, in __call__
    return self.encode(text)
  File "/env/lib/python3.11/site-packages/torch/nn.py", line 7, in encode
    raise ValueError(text)
ValueError: no text
"""


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_the_users_line_is_told_and_the_frames_of_libraries_are_folded() -> None:
    assert str(cause.of(lines(TRACEBACK))) == (
        "ValueError: no text\n"
        "  handler.py:87 in tokenize: return self.tokenizer(data)\n"
        "  then 2 frames of transformers and torch, to nn.py:7 in encode"
    )


def test_of_a_chain_the_first_cause_is_told_and_what_the_user_made_of_it() -> None:
    chain = f"""{TRACEBACK}
The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "{FOLDER}/handler.py", line 70, in handle
    raise RuntimeError("cannot tokenize") from error
RuntimeError: cannot tokenize
"""
    found = cause.of(lines(chain))
    assert found.what == "ValueError: no text"
    assert found.then.startswith("RuntimeError: cannot tokenize\n    handler.py:70 in handle: ")


def test_torchserves_own_search_for_a_handler_is_not_told() -> None:
    chain = f"""\
Traceback (most recent call last):
  File "{FOLDER}/handler.py", line 3, in <module>
    import nope
ModuleNotFoundError: No module named 'nope'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/env/lib/python3.11/site-packages/ts/model_loader.py", line 108, in load
    module = self._load_default_handler(handler)
ModuleNotFoundError: No module named 'ts.torch_handler.handler'
"""
    told = str(cause.of(lines(chain)))
    assert told.startswith(
        "ModuleNotFoundError: No module named 'nope'\n  handler.py:3 in <module>"
    )
    assert "torch_handler" not in told


def test_a_syntax_error_in_a_file_of_the_users_is_told_at_its_line() -> None:
    text = f"""\
Traceback (most recent call last):
  File "{FOLDER}/handler.py", line 2, in <module>
    import helper
  File "{FOLDER}/helper.py", line 9
    def f(:
          ^
SyntaxError: invalid syntax
"""
    assert str(cause.of(lines(text))) == "SyntaxError: invalid syntax\n  helper.py:9: def f(:"


def test_what_the_toolkit_calls_is_not_the_users(tmp_path: Path) -> None:
    ours = Path(cause.__file__).with_name("recorder.py")
    text = (
        f'Traceback (most recent call last):\n  File "{ours}", line 9, in f\n    g()\nKeyError: 1\n'
    )
    assert cause.of(lines(text)).frame is None


def test_a_message_of_many_lines_is_cut() -> None:
    text = f"{TRACEBACK.rstrip()} a\nb\nc\nd\ne\n\nf\n"
    assert cause.of(lines(text)).what == "ValueError: no text a\nb\nc"


def test_a_worker_that_says_nothing_of_python_is_quoted() -> None:
    assert cause.of(["Killed"]).what == "Killed"


def test_of_a_stack_the_main_threads_line_is_told(tmp_path: Path) -> None:
    handler = tmp_path / "é" / "handler.py"
    handler.parent.mkdir()
    handler.write_text("a\ntime.sleep(60)\n", encoding="utf-8")
    # faulthandler writes ASCII.
    escaped = str(handler).replace("é", "\\xe9")
    stack = f"""\
Thread 0x00007f42c1ce96c0 (most recent call first):
  File "/home/me/watcher.py", line 331 in wait

Current thread 0x00007f4 (most recent call first):
  File "{escaped}", line 2 in answer
  File "{escaped}", line 1 in handle
  File "/env/lib/python3.11/site-packages/ts/service.py", line 135 in predict
"""
    assert str(cause.of_stack("it hangs", lines(stack))) == (
        "it hangs\n  handler.py:2 in answer: time.sleep(60)"
    )


@pytest.mark.parametrize(
    ("source", "line"),
    [("import os\nos._exit(3)\n", 2), ("os._exit(1)\nos._exit(2)\n", None), ("def f(:\n", None)],
)
def test_the_one_line_that_may_end_the_process_is_found(
    tmp_path: Path, source: str, line: int | None
) -> None:
    handler = tmp_path / "handler.py"
    handler.write_text(source, encoding="utf-8")
    found = cause.call(handler, "os._exit")
    assert (found and found.line) == line


def test_what_failed_while_another_was_handled_is_told_with_its_line() -> None:
    chain = f"""{TRACEBACK}
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "{FOLDER}/handler.py", line 70, in handle
    self.slowly(row)
RuntimeError: The size of tensor a (60) must match the size of tensor b (24)
"""
    found = cause.of(lines(chain))
    assert found.what == "ValueError: no text"
    assert "handler.py:70 in handle: self.slowly(row)" in found.then
    assert "truncation=True" in found.cure


def test_of_a_group_of_exceptions_the_first_is_told() -> None:
    group = f"""\
  + Exception Group Traceback (most recent call last):
  |   File "{FOLDER}/handler.py", line 9, in handle
  |     asyncio.run(all())
  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "{FOLDER}/handler.py", line 5, in one
    |     first()
    | KeyError: 'x'
    +---------------- 2 ----------------
    | Traceback (most recent call last):
    |   File "{FOLDER}/handler.py", line 6, in two
    | KeyError: 'y'
    +------------------------------------
"""
    assert str(cause.of(lines(group))) == "KeyError: 'x'\n  handler.py:5 in one: first()"


def test_of_an_endless_recursion_the_line_is_told_that_comes_again() -> None:
    frame = f'  File "{FOLDER}/handler.py", line {{}}, in again\n    {{}}\n'
    text = "Traceback (most recent call last):\n" + frame.format(3, "self.again()") * 3
    text += frame.format(9, "print()") + "RecursionError: maximum recursion depth exceeded\n"
    assert "handler.py:3 in again: self.again()" in str(cause.of(lines(text)))


def test_control_characters_of_a_request_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in str(cause.of([*lines(TRACEBACK)[:-1], "ValueError: \x1b[31m"]))


def test_causes_that_differ_in_numbers_alone_are_one() -> None:
    one, two = (cause.named(f"mat1 and mat2: {n}x3, after {n}.5 s") for n in (4, 17))
    assert one.kind == two.kind
    assert one.kind != cause.named("mat1").kind


def test_of_what_a_library_has_caught_itself_the_users_line_is_told() -> None:
    chain = f"""\
Traceback (most recent call last):
  File "/env/lib/python3.11/site-packages/transformers/base.py", line 5, in as_tensor
    return torch.tensor(value)
ValueError: expected sequence of length 3 at dim 1 (got 9)

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "{FOLDER}/handler.py", line 87, in tokenize
    return self.tokenizer(data)
  File "/env/lib/python3.11/site-packages/transformers/base.py", line 7, in convert
    raise ValueError("Unable to create tensor") from error
ValueError: Unable to create tensor
"""
    told = str(cause.of(lines(chain)))
    assert told.startswith("ValueError: expected sequence of length 3")
    assert "\n  handler.py:87 in tokenize: return self.tokenizer(data)\n" in told
    assert "then ValueError: Unable to create tensor" in told
    assert told.count("handler.py:87") == 1
