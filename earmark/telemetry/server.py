"""``/metrics``, ``/healthz`` and ``/readyz`` of a process, on one port."""

import errno
import json
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app  # pyright: ignore[reportUnknownVariableType] -- its WSGI is not typed

from earmark.contracts.addresses import LOOPBACK_NAMES, bind_error, is_loopback
from earmark.contracts.errors import ConfigError
from earmark.telemetry.health import Health
from earmark.telemetry.metrics import REGISTRY

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_TIMEOUT_S, _LONGEST_S = 5.0, 15.0
"""Without a byte, and for the whole of a request and its answer: who sends a byte now and then is cut off too."""
_MOST_CONNECTIONS = 16
_ACCEPT_AGAIN_S = 1.0
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_pause = threading.Event()
"""Never set."""


class TelemetryServer:
    """Serves in threads of its own from `start` until `close`.

    Args:
        bind: ``host:port``; port 0 takes a free one, an empty string serves nothing.
        health: What the health pages answer from.
        where: The configuration's name of ``bind``, for the message.
    """

    def __init__(self, bind: str, health: Health, *, where: str = "telemetry") -> None:
        self._bind = bind
        self._where = where
        self._application = _application(health, _names_of(bind))
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; 0 while there is none."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigError: The address cannot be bound.
        """
        if not self._bind:
            return
        self._server = _listen(self._bind, self._where)
        self._server.set_app(self._application)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="telemetry", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Answers under way are dropped."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _names_of(bind: str) -> frozenset[str]:
    """What callers may call the host: on loopback its own names alone, or web pages could read; empty for any."""
    host = bind.rpartition(":")[0]
    return LOOPBACK_NAMES | {host} if is_loopback(host) else frozenset()


def _application(health: Health, names: frozenset[str]) -> "WSGIApplication":
    metrics = cast("WSGIApplication", make_wsgi_app(REGISTRY))

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        called = re.sub(r":\d*$", "", environ.get("HTTP_HOST", ""))
        if names and called and called not in names:
            return _answer(start_response, "421 Misdirected Request", {"hosts": sorted(names)})
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path not in {"/healthz", "/readyz"}:
            return _answer(start_response, "404 Not Found", {"pages": ["/metrics", "/healthz", "/readyz"]})
        report = health.report()
        good = report["healthy"] and (path == "/healthz" or report["ready"])
        return _answer(start_response, "200 OK" if good else "503 Service Unavailable", report)

    return application


def _answer(start_response: "StartResponse", status: str, content: object) -> list[bytes]:
    body = json.dumps(content).encode() + b"\n"
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _listen(bind: str, where: str) -> "_Server":
    host, _, port = bind.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{where}: expected host:port like 127.0.0.1:7721, got {bind!r}")
    host = host.strip("[]")
    server = _IPv6Server if ":" in host else _Server
    try:
        return server((host, int(port)), _Handler)
    except OSError as error:
        hint = f"set {where} to a free port, or to '' for none"
        raise bind_error(where, bind, error.errno, str(error.strerror), hint) from error


class _Server(WSGIServer):
    """One thread a connection, at most 16 of them: the rest is closed at once."""

    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._room = threading.Semaphore(_MOST_CONNECTIONS)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without `HTTPServer`'s look-up of the host's name, which can hang on a machine without DNS."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection. Without a descriptor for it, wait: it would be asked for again at once, for ever."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _OUT_OF_DESCRIPTORS:
                _pause.wait(_ACCEPT_AGAIN_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._serve, args=(request, client_address), name="telemetry-page", daemon=True).start()

    def _serve(self, request: Any, client_address: Any) -> None:
        limit = threading.Timer(_LONGEST_S, _hang_up, [request])
        limit.daemon = True
        limit.start()
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the peer hung up or was too slow
        finally:
            limit.cancel()
            self.shutdown_request(request)
            self._room.release()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _IPv6Server(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Keep no access log: it would be one line per scrape."""
