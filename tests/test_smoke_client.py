"""One sample in, its answer or its failure out."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smoke import replies
from smoke.client import Answer, Client, Failure
from smoke.fault import Fault, Unanswered
from smoke.samples import Sample
from tests.fake_model import REQUEST_ID, FakeModel, Request, Response

SAMPLE = Sample("a", "größer\n")
YES = {"label": "yes", "score": 0.8}


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel() as fake:
        yield fake


def saying(model: FakeModel, body: Any, status: int = 200) -> Client:
    model.think = lambda request: Response(body, status)
    return Client(model.url)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_sample_goes_out_as_json_with_the_token(model: FakeModel) -> None:
    Client(model.url, "secret").ask(SAMPLE)
    request = model.requests[0]
    assert json.loads(request.body) == {"text": "größer\n"}
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "Bearer secret"


def test_a_pair_goes_out_as_a_pair(model: FakeModel) -> None:
    Client(model.url).ask(Sample("a", "x", text_pair=""))
    assert json.loads(model.requests[0].body) == {"text": "x", "text_pair": ""}


@pytest.mark.parametrize("prediction", [YES, [YES], [{"label": "no", "score": 0.2}, YES]], ids=repr)
def test_at_kserves_url_a_sample_is_an_instance_and_its_answer_a_prediction(
    model: FakeModel, prediction: Any
) -> None:
    model.think = lambda request: Response({"predictions": [prediction]})
    url = model.url.replace("predictions/reviews", "v1/models/reviews:predict")
    assert Client(url).ask(Sample("a", "x", text_pair="y")) == Answer("yes", 0.8)
    request = model.requests[0]
    assert request.path == "/v1/models/reviews:predict"
    assert json.loads(request.body) == {"instances": [{"text": "x", "text_pair": "y"}]}


def test_a_netrc_does_not_replace_the_token(
    model: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    Client(model.url, "secret").ask(SAMPLE)
    assert model.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_proxy_does_not_stand_before_our_own_loopback(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert isinstance(Client(model.url).ask(SAMPLE), Answer)


def test_of_several_classes_the_highest_score_counts(model: FakeModel) -> None:
    classes = [{"label": "no", "score": 0.2}, {"label": "yes", "score": 0.8}]
    assert saying(model, classes).ask(SAMPLE) == Answer("yes", 0.8)


def test_a_score_may_be_called_a_probability(model: FakeModel) -> None:
    classes = [{"label": "no", "probability": 0.2}, {"label": "yes", "probability": 0.8}]
    assert saying(model, classes).ask(SAMPLE) == Answer("yes", 0.8)


def test_an_error_status_is_a_failure_with_the_words_of_the_server(model: FakeModel) -> None:
    refusal = {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}
    reply = saying(model, refusal, 503).ask(SAMPLE)
    assert reply == Failure("Prediction failed", 503, REQUEST_ID)


def test_an_error_in_plain_text_keeps_its_text(model: FakeModel) -> None:
    assert saying(model, b"out of tea\n", 418).ask(SAMPLE) == Failure("out of tea", 418, REQUEST_ID)


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON",
        b"",
        b"\xff\xfe\xfa",
        "5 stars",
        {},
        [],
        [{"label": "x", "score": 1}, 2],
        {"label": 5, "score": 0.5},
        {"label": "x"},
        {"label": "x", "score": "0.5"},
        {"label": "x", "score": True},
        {"predictions": []},
        {"predictions": {"label": "x", "score": 1}},
        b'{"label": "x", "score": NaN}',
        b'{"label": "x", "score": 1e999}',
    ],
    ids=repr,
)
def test_an_answer_of_another_shape_is_a_failure(model: FakeModel, body: Any) -> None:
    reply = saying(model, body).ask(SAMPLE)
    assert isinstance(reply, Failure)
    assert (reply.status, reply.request_id) == (200, REQUEST_ID)


def test_an_answer_that_takes_too_long_is_a_failure(model: FakeModel) -> None:
    answered = threading.Event()

    def think(request: Request) -> Response:
        answered.wait(5)
        return Response({})

    model.think = think
    reply = Client(model.url, read_seconds=0.05).ask(SAMPLE)
    answered.set()
    assert reply == Failure("no answer within 0.05 s")


def test_a_connection_that_breaks_is_a_failure(model: FakeModel) -> None:
    def think(request: Request) -> Response:
        raise ConnectionAbortedError

    model.think = think
    assert Client(model.url).ask(SAMPLE) == Failure("the connection broke before the answer came")


def test_a_refused_connection_is_no_answer_at_all() -> None:
    url = f"http://127.0.0.1:{free_port()}/predictions/reviews"
    with pytest.raises(Unanswered, match=url):
        Client(url).ask(SAMPLE)


def test_a_url_that_cannot_be_sent_is_a_fault() -> None:
    with pytest.raises(Fault, match="cannot be asked"):
        Client("http://exa mple/predictions/x")


def test_a_thousand_replies_stand_in_the_order_of_the_samples(model: FakeModel) -> None:
    model.think = lambda request: Response({"label": request.text, "score": 1})
    samples = [Sample(str(number), str(number)) for number in range(1000)]
    timed = replies.collect(Client(model.url, connections=4), samples, threads=4)
    assert [each.reply for each in timed] == [Answer(each.id, 1.0) for each in samples]


def test_samples_are_asked_at_the_same_time(model: FakeModel) -> None:
    together = threading.Barrier(3)

    def think(request: Request) -> Response:
        together.wait(5)
        return Response({"label": "x", "score": 1})

    model.think = think
    timed = replies.collect(Client(model.url, connections=3), [SAMPLE] * 3, threads=3)
    assert [each.reply for each in timed] == [Answer("x", 1.0)] * 3


def test_each_thread_keeps_one_connection(model: FakeModel) -> None:
    replies.collect(Client(model.url, connections=3), [SAMPLE] * 60, threads=3)
    assert model.connections <= 3


def test_one_failure_does_not_end_the_others(model: FakeModel) -> None:
    def think(request: Request) -> Response:
        return Response({"label": "x", "score": 1}, 500 if request.text == "bad" else 200)

    model.think = think
    samples = [Sample("1", "good"), Sample("2", "bad"), Sample("3", "good")]
    kinds = [type(each.reply) for each in replies.collect(Client(model.url), samples, threads=1)]
    assert kinds == [Answer, Failure, Answer]


def test_no_server_ends_all_of_it() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}/predictions/reviews")
    with pytest.raises(Unanswered):
        replies.collect(client, [SAMPLE] * 100, threads=4)


def test_a_stream_of_any_length_keeps_a_window_of_it(model: FakeModel) -> None:
    taken = 0

    def endless() -> Iterator[Sample]:
        nonlocal taken
        while True:
            taken += 1
            yield Sample(str(taken), "x")

    model.think = lambda request: Response({"label": "x", "score": 1})
    for sample, _ in replies.stream(Client(model.url), endless(), threads=1, window=8):
        assert taken <= int(sample.id) + 2 * 8
        if sample.id == "40":
            break


def test_behind_a_sample_that_takes_long_only_so_many_are_held(model: FakeModel) -> None:
    taken = 0

    def endless() -> Iterator[Sample]:
        nonlocal taken
        while True:
            taken += 1
            yield Sample(str(taken), "long" if taken == 1 else "x")

    def think(request: Request) -> Response:
        if request.text == "long":
            # Time enough for the others to go far ahead, if nothing held them.
            time.sleep(0.5)
        return Response({"label": "x", "score": 1})

    model.think = think
    first, _ = next(replies.stream(Client(model.url, None, 4), endless(), threads=4, window=8))
    assert first.id == "1"
    assert taken <= 5 * 8


@pytest.fixture
def restarting(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of a server that has answered, and then refuses two connections."""
    client = Client(model.url)
    client.ask(SAMPLE)
    ask, refused = client.ask, iter([True, True])

    def sometimes(sample: Sample) -> Answer | Failure:
        if next(refused, False):
            raise Unanswered("nothing listens", "start it")
        return ask(sample)

    monkeypatch.setattr(client, "ask", sometimes)
    return client


def test_what_nobody_has_read_is_sent_again_if_somebody_waits(restarting: Client) -> None:
    ((_, timed),) = replies.stream(restarting, [SAMPLE], threads=1, patience=5)
    assert isinstance(timed.reply, Answer)
    assert timed.retries == 2


def test_what_nobody_has_read_is_unanswered_if_nobody_waits(restarting: Client) -> None:
    with pytest.raises(Unanswered):
        replies.collect(restarting, [SAMPLE], threads=1)
