"""All sinks of one outbox: starts their workers, wakes them, and ends them under a deadline."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

import structlog
import zmq

from earmark.outbox import OutboxReader, WakeSignal
from earmark.outbox.config import OutboxConfig
from publishers.config import JsonlConfig, PublishersConfig
from publishers.history import History
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.monitor import Monitor
from publishers.sinks import Sink
from publishers.worker import Worker
from publishers.zeromq import ZeroMqSink

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
    """

    def __init__(self, config: PublishersConfig, outbox: OutboxConfig) -> None:
        self._config = config
        self._outbox = outbox

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
        parts = _Parts(self._config, self._outbox)
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

    def __init__(self, config: PublishersConfig, outbox: OutboxConfig) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._sinks: list[Sink] = []
        self._servers: list[Server] = []
        self._signal: WakeSignal | None = None
        self._workers: list[Worker] = []
        with ExitStack() as undo:
            undo.callback(self.close)
            self._monitor = Monitor(self._context, outbox.path)
            self._servers.append(self._monitor)
            if config.zeromq is not None:
                self._sinks.append(ZeroMqSink(self._context, config.zeromq.bind))
                self._servers.append(History(self._context, config.zeromq.history_bind, outbox))
            if config.jsonl is not None:
                self._sinks.append(_open_jsonl(config.jsonl))
            if not self._sinks:
                _log.warning("no sink is configured", hint="set publishers.zeromq or publishers.jsonl")
            self._signal = WakeSignal(self._context, outbox.path)
            self._workers = [Worker(sink, outbox) for sink in self._sinks]
            undo.pop_all()

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
        self._context.term()


def _open_jsonl(config: JsonlConfig) -> Sink:
    return JsonlStreamSink() if str(config.path) == "-" else JsonlFileSink(config.path)
