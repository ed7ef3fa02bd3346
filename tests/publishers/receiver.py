"""A real HTTP server that takes webhooks, or does not."""

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import DEADLINE_S

Answer = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request, or does not."""


@dataclass(frozen=True)
class Request:
    """What came; headers by their names in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        """Of the CloudEvents in it."""
        if "ce-id" in self.headers:
            return [self.headers["ce-id"]]
        content = self.json
        return [event["id"] for event in (content if isinstance(content, list) else [content])]


def answer(status: int, **headers: str) -> Answer:
    """A status at once."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    send.is_success = 200 <= status < 300
    return send


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Nothing, until the client has gone."""
    handler.connection.settimeout(DEADLINE_S)
    with suppress(ConnectionError):
        assert handler.connection.recv(1) == b"", "the client should have hung up"
    handler.close_connection = True


def answer_late(handler: BaseHTTPRequestHandler) -> None:
    """Success, once nobody waits for it any more."""
    hang(handler)
    with suppress(OSError):
        answer(200)(handler)


def drop(handler: BaseHTTPRequestHandler) -> None:
    """The connection ends in the middle of the answer."""
    handler.wfile.write(b"HTTP/1.1 200 O")
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A header without end, byte after byte, faster than any timeout between two of them."""
    pause = threading.Event()
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        for _ in range(int(DEADLINE_S * 50)):
            handler.wfile.write(b"x")
            pause.wait(0.02)
    handler.close_connection = True


class Receiver:
    """The server, on a free port. ``decide`` chooses an answer; without it every request is taken."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.decide: Callable[[Request], Answer] = lambda request: answer(200)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = DEADLINE_S
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                receiver.requests.append(request)
                reply = receiver.decide(request)
                if getattr(reply, "is_success", False):
                    receiver.taken.append(request)  # before anybody can know of it
                reply(self)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *arguments: object) -> None:
                pass  # a client that goes away is what these tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_port
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}/hooks/PATHSECRET"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def taken_ids(self) -> list[str]:
        return [id_ for request in self.taken for id_ in request.ids]

    @property
    def seqs(self) -> list[int]:
        """Of the events in requests of one that were taken."""
        return [request.json.get("data", request.json)["seq"] for request in self.taken]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(DEADLINE_S)
        self._server.server_close()
