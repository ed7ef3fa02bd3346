"""The HTTP server, in a thread with a loop of its own."""

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
import uvicorn

from earmark.contracts.addresses import bind_error
from earmark.contracts.errors import ConfigError
from earmark.outbox.config import OutboxConfig
from publishers.clips.files import ClipFiles
from publishers.http.about import About
from publishers.http.app import make_application
from publishers.http.auth import Keys
from publishers.http.config import HttpConfig, split_bind
from publishers.http.gate import Gate
from publishers.http.live import Live
from publishers.http.parts import Parts
from publishers.http.protocol import HEADER_S, MOST_HEADER_BYTES, PatientProtocol
from publishers.http.reading import Reading
from publishers.http.seats import Seats
from publishers.http.tail import Tail
from publishers.monitor import Monitor

_GRACE_S = 2
_BACKLOG = 128
_ACCEPT_LOG_S = 1.0
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class HttpServer:
    """Listens from the beginning, answers from `start` until `stop`.

    Args:
        config: Where, and to whom.
        outbox: Where events come from.
        monitor: What engines show.
        about: What the service is.
        clips: Where events' files are, if they are kept.

    Raises:
        ConfigError: The address, a key or a certificate cannot be used.
    """

    def __init__(
        self,
        config: HttpConfig,
        outbox: OutboxConfig,
        monitor: Monitor,
        about: About,
        clips: ClipFiles | None = None,
    ) -> None:
        self.error: Exception | None = None
        """What ended the thread, where that was no call of `stop`."""
        self._config = config
        self._monitor = monitor
        self._about = about
        self._clips = clips
        self._app = make_application(has_auth=config.has_auth)
        self._uvicorn = uvicorn.Server(_settings(config, Gate(self._app, config, Keys(config))))
        self._live_reading, self._reading = Reading(outbox.path), Reading(outbox.path)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: Parts | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._socket = _listen(config.bind)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        _log.info("the page is ready", url=self._config.url)

    def wake(self) -> None:
        """Look into the outbox now."""
        self._call(lambda parts: parts.tail.wake())

    def stop(self) -> None:
        """Ask the thread to end."""
        self._uvicorn.should_exit = True
        self._call(_send_home)

    def _call(self, what: Callable[[Parts], None]) -> None:
        with self._lock:
            if self._loop is not None and self._parts is not None:
                self._loop.call_soon_threadsafe(what, self._parts)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; whether it ended, or never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Give the address and the outbox back; the thread has ended."""
        self._socket.close()
        for reading in (self._live_reading, self._reading):
            reading.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_Loop) as runner:
                runner.run(self._serve())
        except Exception as error:  # noqa: BLE001 -- the service supervises this thread and raises it
            self.error = error

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        parts = Parts(
            about=self._about,
            monitor=self._monitor,
            reading=self._reading,
            tail=Tail(self._live_reading, self._reading),
            live=Live(self._monitor, loop, self._about.score_delay, self._about.spectrogram),
            seats=Seats(self._config.max_streams, self._config.max_streams_per_client),
            clips=self._clips,
        )
        self._app.state.parts = parts
        loop.set_exception_handler(_FailedAccepts().note)
        with self._lock:
            self._loop, self._parts = loop, parts
        reading = asyncio.create_task(parts.tail.run())
        serving = asyncio.create_task(self._uvicorn.serve(sockets=[self._socket]))
        try:
            done, _ = await asyncio.wait((reading, serving), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await serving
        finally:
            with self._lock:
                self._loop = None
            _send_home(parts)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading


class _FailedAccepts:
    """Logs once a second that there is no descriptor for a connection; asyncio does so for each, and tries again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = 0.0

    def note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what a loop has to complain of."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_DESCRIPTORS:
            loop.default_exception_handler(context)
        elif (now_s := self._clock()) >= self._next_s:
            self._next_s = now_s + _ACCEPT_LOG_S
            _log.error("no connection can be taken", error=str(error.strerror), hint="raise the limit of open files")


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's, where a TLS handshake has as long as a request's head: uvicorn does not ask for it."""

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.Server:
        """As asyncio's."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = HEADER_S
        return await super().create_server(*arguments, **options)


def _send_home(parts: Parts) -> None:
    parts.tail.close()
    parts.live.close()


def _settings(config: HttpConfig, gate: Gate) -> uvicorn.Config:
    """Uvicorn's.

    Raises:
        ConfigError: The certificate or its key cannot be used.
    """
    settings = uvicorn.Config(
        gate,  # pyright: ignore[reportArgumentType] -- its own types of ASGI are narrower
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=config.max_connections,
        timeout_keep_alive=int(HEADER_S),
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        ssl_certfile=config.cert_file and config.cert_file.expanduser(),
        ssl_keyfile=config.key_file and str(config.key_file.expanduser()),
    )
    try:
        settings.load()
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error.strerror or "no certificate that can be used"
        raise ConfigError(
            f"publishers.http: expected a certificate (PEM) in {config.cert_file} and its key in {config.key_file}, "
            f"got: {reason}"
        ) from error
    return settings


def _listen(bind: str) -> socket.socket:
    host, port = split_bind(bind)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"publishers.http.bind: expected to listen on {bind}, got: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 -- its only argument
    except OSError as error:
        listening.close()
        hint = "set it to a free port, or publishers.http to null"
        raise bind_error("publishers.http.bind", bind, error.errno, str(error.strerror), hint) from error
    return listening
