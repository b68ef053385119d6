"""Whatever fails says why, where the user stands."""

import json
import re

import pytest

from tests.tiny_app import HANDLER, TinyApp

pytestmark = pytest.mark.server

# Two causes, and a text that has neither.
FAILING = HANDLER.replace(
    'text = body["text"]',
    """if "no key" in str(body):
            body["nope"]
        if "no number" in str(body):
            try:
                int("x")
            except ValueError as error:
                raise RuntimeError("cannot count") from error
        text = body["text"]""",
)


@pytest.fixture(scope="module")
def failing(served: TinyApp) -> TinyApp:
    served.write("handler.py", FAILING)
    texts = ["good", "no key 1", "no number", "no key 2"]
    samples = [{"id": f"s{i}", "text": text} for i, text in enumerate(texts)]
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    served.write("smoke/samples.jsonl", lines)
    code, out, err = served.run("reload", GATE="none")
    assert code == 0, out + err
    return served


def test_predict_tells_the_cause_of_its_own_failure(failing: TinyApp) -> None:
    failing.write("question.json", json.dumps({"text": "no key"}))
    code, out, err = failing.run("predict", "-f", str(failing.folder / "question.json"))
    assert code == 1
    assert out == ""
    assert "503 Prediction failed" in err
    assert "KeyError: 'nope'\n  handler.py:16 in answer: body[\"nope\"]" in err


def test_of_a_chain_of_exceptions_the_first_is_told(failing: TinyApp) -> None:
    failing.write("question.json", json.dumps({"text": "no number"}))
    _, _, err = failing.run("predict", "-f", str(failing.folder / "question.json"))
    assert "ValueError: invalid literal for int() with base 10: 'x'" in err
    assert 'in answer: int("x")' in err


def test_why_tells_all_of_the_last_failure_or_of_one_by_its_id(failing: TinyApp) -> None:
    ids = []
    for text in ("no key", "no number"):
        failing.write("question.json", json.dumps({"text": text}))
        _, _, err = failing.run("predict", "-f", str(failing.folder / "question.json"))
        ids += re.findall(r"x-request-id ([0-9a-f-]+)", err)
    code, out, _ = failing.run("why")
    assert code == 0
    assert ids[1] in out
    assert "RuntimeError: cannot count" in out
    code, out, _ = failing.run("why", ids[0])
    assert out.startswith("KeyError: 'nope'")
    assert "Traceback" in out
    code, _, err = failing.run("why", "no-such-id")
    assert code == 2
    assert "no-such-id" in err


def test_smoke_groups_what_failed_by_its_cause(failing: TinyApp) -> None:
    code, out, _ = failing.run("smoke")
    assert code == 1
    assert out.count("KeyError: 'nope'") == 1
    assert re.search(r"KeyError: 'nope'\n  handler\.py:16 .*\n  samples: (s1, s3|s3, s1)\n", out)
    then = r"  then RuntimeError: cannot count\n    handler.py:21 in answer: .*\n"
    assert re.search(rf"ValueError: .*\n  handler\.py:19 .*\n{then}  samples: s2\n", out)


def test_load_counts_what_failed_by_its_cause(failing: TinyApp) -> None:
    code, out, _ = failing.run("load", USERS="4", TIME="2s")
    assert code == 1
    (refused,) = re.findall(r"failed  (\d+) requests?  503 Prediction failed\n", out)
    keys = re.search(
        r"KeyError: 'nope'\n  handler\.py:16 .*\n  (\d+) requests?, samples: (?:s1, s3|s3, s1)\n",
        out,
    )
    numbers = re.search(r"ValueError: (?:.*\n)+?  (\d+) requests?, samples: s2\n", out)
    assert keys
    assert numbers
    assert int(keys[1]) + int(numbers[1]) == int(refused)
