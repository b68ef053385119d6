"""One model behind HTTP: a sample goes in, its answer or its failure comes out."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import responses
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError

from smoke import endpoint, jsonl, question
from smoke.fault import Fault, Unanswered
from smoke.samples import Sample

CONNECT_SECONDS = 2.0
# TorchServe gives a worker up after 120 s, and says so.
READ_SECONDS = 150.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says: its label, and how sure it is."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that brought no answer.

    Attributes:
        message: the server's own words, or what is wrong with them.
        status: the HTTP status; None if no response came.
        request_id: the server's `x-request-id`, to be looked for in its logs.
    """

    message: str
    status: int | None = None
    request_id: str | None = None

    @property
    def words(self) -> str:
        """What the server said: status and message."""
        return self.message if self.status is None else f"{self.status} {self.message}"

    def __str__(self) -> str:
        request_id = f" (x-request-id {self.request_id})" if self.request_id else ""
        return f"{self.words}{request_id}"


Reply = Answer | Failure


class Client:
    """Asks one model, from as many threads as it has connections.

    Args:
        url: the model, such as `http://127.0.0.1:8080/predictions/reviews`; at one such as
            `http://HOST/v1/models/reviews:predict`, samples are asked by KServe's protocol.
        token: sent as `Authorization: Bearer TOKEN`, if given.
        connections: how many are kept alive: one for each thread that asks.
        read_seconds: how long a request may take.

    Attributes:
        has_answered: whether anything has come from there yet.

    Raises:
        Fault: the URL or the token cannot be sent.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        connections: int = 1,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self.url = url
        self.has_answered = False
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._session = _session(url, connections)
        headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        try:
            # Prepared once and copied: that halves what requests adds to each call.
            self._request = self._session.prepare_request(
                requests.Request("POST", url, headers=headers)
            )
        except requests.RequestException as error:
            raise Fault(f"{url}: cannot be asked ({error})", "correct the URL or token") from error

    def ask(self, sample: Sample) -> Reply:
        """Send a sample; of several labels in the answer, the one with the highest score counts.

        Raises:
            Unanswered: nothing listens at the URL.
        """
        return best(self.ask_all(sample))

    def ask_all(self, sample: Sample, top_k: int | None = None) -> list[Answer] | Failure:
        """Send a sample, and have all that is answered.

        Args:
            top_k: how many labels to ask for. A handler need not know what that means.

        Raises:
            Unanswered: nothing listens at the URL.
        """
        response = self.post(body(sample, self.url, top_k), question.JSON)
        return response if isinstance(response, Failure) else read(response)

    def post(self, body: bytes, content_type: str) -> requests.Response | Failure:
        """Send any body; the response is one of status 200.

        Raises:
            Unanswered: nothing listens at the URL.
        """
        request = self._request.copy()
        request.prepare_body(body, None)
        request.headers["Content-Type"] = content_type
        try:
            response = self._session.send(request, timeout=self._timeout, allow_redirects=False)
        except requests.ReadTimeout:
            return Failure(f"no answer within {self._timeout[1]:g} s")
        except requests.ConnectionError as error:
            # urllib3 gives up like this only while connecting; later the server was there.
            if isinstance(error.args[0], MaxRetryError):
                raise Unanswered(
                    f"nothing answers at {self.url}",
                    "start the server with `make redeploy`, or correct URL=",
                ) from error
            return Failure("the connection broke before the answer came")
        except requests.RequestException as error:
            return Failure(f"the answer cannot be read ({error})")
        self.has_answered = True
        return response if response.status_code == 200 else _failure(response, _words(response))


class Response(Protocol):
    """What came back, whichever library brought it."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content(self) -> bytes: ...


def body(sample: Sample, url: str, top_k: int | None = None) -> bytes:
    """What is sent of a sample to a model, as JSON."""
    text = fields(sample)
    sent: dict[str, Any] = {"instances": [text]} if endpoint.speaks_kserve(url) else {**text}
    return json.dumps(sent if top_k is None else {**sent, "top_k": top_k}).encode()


def fields(sample: Sample) -> dict[str, str]:
    """What the model is told of a sample."""
    pair = {} if sample.text_pair is None else {"text_pair": sample.text_pair}
    return {"text": sample.text, **pair}


def judge(response: Response) -> Reply:
    """The answer in a response, or why there is none in it."""
    return best(read(response))


def _session(url: str, connections: int) -> requests.Session:
    """A session that has looked for proxies and certificates in the environment, once.

    With `trust_env` on, requests looks again for each call, and lets a .netrc replace the token.
    A proxy cannot reach our own loopback.
    """
    session = requests.Session()
    found = session.merge_environment_settings(url, {}, None, None, None)
    session.verify = found["verify"]
    session.proxies = {} if urlsplit(url).hostname in LOOPBACK else found["proxies"]
    session.trust_env = False
    adapter = HTTPAdapter(pool_maxsize=connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def best(answers: list[Answer] | Failure) -> Reply:
    """The answer with the highest score."""
    return answers if isinstance(answers, Failure) else max(answers, key=lambda each: each.score)


def read(response: Response) -> list[Answer] | Failure:
    """All answers in a response, at least one, or why there is none in it."""
    if response.status_code != 200:
        return _failure(response, _words(response))
    try:
        content = json.loads(response.content)
    except ValueError:
        return _failure(response, f"not JSON: {_words(response)}")
    answers = _unpacked(content)
    if score := next(filter(_is_not_finite, answers), None):
        return _failure(response, f"the score is {_score(score)}, no finite number")
    if not answers or not all(_is_answer(each) for each in answers):
        return _failure(response, f'not {{"label", "score"}}: {_words(response)}')
    return [Answer(each["label"], float(_score(each))) for each in answers]


def _unpacked(content: Any) -> list[Any]:
    """The answers to one text; KServe's protocol has them as the one prediction of one instance."""
    if isinstance(content, dict) and isinstance(content.get("predictions"), list):
        predictions = content["predictions"]
        content = predictions[0] if len(predictions) == 1 else predictions
    return content if isinstance(content, list) else [content]


def _is_answer(value: object) -> bool:
    return (
        isinstance(value, dict)
        and jsonl.TEXT.fits(value.get("label"))
        and jsonl.NUMBER.fits(_score(value))
    )


def _is_not_finite(value: object) -> bool:
    score = _score(value)
    return isinstance(score, float) and not math.isfinite(score)


def _score(answer: object) -> Any:
    """How sure the model is, if it says so; some call it a probability."""
    return answer.get("score", answer.get("probability")) if isinstance(answer, dict) else None


def _failure(response: Response, message: str) -> Failure:
    return Failure(message, response.status_code, response.headers.get("x-request-id"))


def _words(response: Response) -> str:
    """What the server says: TorchServe's `message` where there is one, else the body."""
    return question.words(response.content) or responses.get(response.status_code, "no words")
