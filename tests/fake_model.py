"""A small HTTP server that speaks the prediction API, to have faults and to measure speed.

`python -m tests.fake_model PORT [SECONDS]` serves `reviews`, thinking SECONDS about each text.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

REQUEST_ID = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Request:
    """What arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The text in the body."""
        text = self.body.decode()
        return str(json.loads(text)["text"]) if text.startswith("{") else text


@dataclass(frozen=True)
class Response:
    """What goes back; a body that is not bytes goes as JSON."""

    body: Any
    status: int = 200


def rate(request: Request) -> Response:
    """Answer as a model might: the same text always has the same label and score."""
    length = len(request.text)
    return Response({"label": f"{length % 5 + 1} stars", "score": 0.5 + length % 50 / 100})


class FakeModel(ThreadingHTTPServer):
    """Serves in the background while the `with` block runs.

    Attributes:
        think: turns a request into a response; may be replaced while serving.
        requests: what arrived so far, in order.
        connections: how many TCP connections were opened so far.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, think: Callable[[Request], Response] = rate, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.think = think
        self.requests: list[Request] = []
        self.connections = 0

    @property
    def url(self) -> str:
        """The model's URL."""
        return f"http://127.0.0.1:{self.server_port}/predictions/reviews"

    def __enter__(self) -> Self:
        # The default poll interval would make each shutdown take up to half a second.
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing when a client goes away, as the tests make it do."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.model = cast(FakeModel, self.server)
        self.model.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.path, dict(self.headers), body)
        self.model.requests.append(request)
        response = self.model.think(request)
        content = response.body
        if not isinstance(content, bytes):
            content = json.dumps(content, indent=2).encode()
        self.send_response(response.status)
        self.send_header("x-request-id", REQUEST_ID)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 - http.server's own name

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve until interrupted."""
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0

    def think(request: Request) -> Response:
        time.sleep(seconds)
        return rate(request)

    FakeModel(think, port=int(sys.argv[1])).serve_forever()


if __name__ == "__main__":
    main()
