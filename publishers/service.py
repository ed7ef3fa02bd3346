"""All sinks of one outbox: starts their workers, wakes them, and ends them under a deadline."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import zmq

from earmark.contracts.errors import ConfigError
from earmark.links.door import Door
from earmark.outbox import OutboxReader, WakeSignal
from earmark.outbox.config import OutboxConfig
from publishers.config import JsonlConfig, PublishersConfig, ZeroMqConfig
from publishers.deadletters import DeadLetters, dead_letters_path
from publishers.history import History
from publishers.http.about import About
from publishers.http.config import HttpConfig
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.monitor import Monitor
from publishers.mqtt.sink import MqttSink
from publishers.notify.sink import open_notifications
from publishers.sinks import Sink
from publishers.webhook.sink import WebhookSink
from publishers.worker import Worker
from publishers.zeromq import ZeroMqSink

if TYPE_CHECKING:
    from publishers.http.server import HttpServer

CLOSE_S = 5.0
_WAIT_S = 0.2

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def _nothing() -> None:
    pass


class Publishers:
    """The publishers' process.

    Args:
        config: Which sinks there are.
        outbox: Where events come from.
        about: What the service is; HTTP tells it.
    """

    def __init__(self, config: PublishersConfig, outbox: OutboxConfig, about: About | None = None) -> None:
        self._config = config
        self._outbox = outbox
        self._about = about or About()

    def run(
        self, stop: threading.Event, on_ready: Callable[[], None] = _nothing, on_alive: Callable[[], None] = _nothing
    ) -> None:
        """Publish until ``stop`` is set; returns at most 6 s after it.

        Args:
            stop: Ends it.
            on_ready: Called once, when every socket is bound and every file open.
            on_alive: Called at least every second while the main loop turns.

        Raises:
            ConfigError: A sink's address or file cannot be used.
            OutboxError: The outbox is no outbox.
        """
        OutboxReader(self._outbox.path).close()
        parts = _Parts(self._config, self._outbox, self._about)
        try:
            parts.start()
            on_ready()
            while not stop.is_set():
                parts.turn()
                on_alive()
        finally:
            parts.close()


class Server(Protocol):
    """What answers or listens in a thread of its own, beside the sinks."""

    error: Exception | None
    """What ended its thread, where that was no call of `stop`."""

    def start(self) -> None:
        """Start the thread."""
        ...

    def stop(self) -> None:
        """Ask the thread to end."""
        ...

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; whether it ended, or never began."""
        ...

    def close(self) -> None:
        """Give everything back; the thread has ended."""
        ...


class _Parts:
    """What `Publishers.run` builds up and takes down."""

    def __init__(self, config: PublishersConfig, outbox: OutboxConfig, about: About) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._sinks: list[Sink] = []
        self._servers: list[Server] = []
        self._http: HttpServer | None = None
        self._signal: WakeSignal | None = None
        self._door: Door | None = None
        self._workers: list[Worker] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            self._monitor = Monitor(self._context, outbox.path)
            self._servers.append(self._monitor)
            if config.zeromq is not None:
                self._open_zeromq(config.zeromq, outbox)
            if config.http is not None:
                self._http = _open_http(config, outbox, self._monitor, about)
                self._servers.extend([self._http] if self._http else [])
            if config.jsonl is not None:
                self._sinks.append(_open_jsonl(config.jsonl))
            if config.mqtt is not None:
                self._sinks.append(MqttSink(config.mqtt, self._monitor.statuses))
            for name, webhook in config.webhooks.items():
                letters = DeadLetters(dead_letters_path(outbox), config.dead_letters)
                self._sinks.append(WebhookSink(name, webhook, letters))
            for name, notification in config.notifications.items():
                self._sinks.extend(open_notifications(name, notification))
            if not self._sinks and self._http is None:
                _log.warning("no sink is configured", hint="set publishers.zeromq or publishers.jsonl")
            self._signal = WakeSignal(self._context, outbox.path)
            self._workers = [Worker(sink, outbox) for sink in self._sinks]
            undo.pop_all()

    def _open_zeromq(self, config: ZeroMqConfig, outbox: OutboxConfig) -> None:
        if config.curve is not None:
            where = "publishers.zeromq.curve"
            self._door = Door(self._context, config.curve, lambda client: client.events, where)
        self._sinks.append(ZeroMqSink(self._context, config.bind, door=self._door))
        self._servers.append(History(self._context, config.history_bind, outbox, self._door))

    @property
    def _threads(self) -> list[Worker | Server]:
        return [*self._workers, *self._servers]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def turn(self) -> None:
        """Wait for the engine's message, and pass it on; raise what ended a thread."""
        if self._signal is not None and self._signal.wait(_WAIT_S):
            for worker in self._workers:
                worker.wake()
            if self._http is not None:
                self._http.wake()
        for thread in self._threads:
            if thread.error is not None:
                raise thread.error

    def close(self) -> None:
        """End the threads, then close what they used. What a thread that hangs has in use is left to the process."""
        deadline_s = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.stop()
        ended = [thread.join(max(0.0, deadline_s - time.monotonic())) for thread in self._threads]
        if self._signal is not None:
            self._signal.close()
        if not all(ended):
            _log.error("a sink did not end in time", close_s=CLOSE_S)
            return
        for part in (*self._sinks, *self._servers):
            part.close()
        if self._door is not None:
            self._door.close()
        self._context.term()


def _open_jsonl(config: JsonlConfig) -> Sink:
    return JsonlStreamSink() if str(config.path) == "-" else JsonlFileSink(config.path)


def _open_http(config: PublishersConfig, outbox: OutboxConfig, monitor: Monitor, about: About) -> "HttpServer | None":
    """The HTTP server; none where nobody asked for it and its port is taken, because a page must not stop a service."""
    from publishers.http.server import HttpServer  # noqa: PLC0415 -- who turns it off need not load a web framework

    try:
        return HttpServer(config.http or HttpConfig(), outbox, monitor, about)
    except ConfigError as error:
        if "http" in config.model_fields_set:
            raise
        _log.warning("there is no page", error=str(error))
        return None
