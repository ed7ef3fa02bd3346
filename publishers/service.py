"""All sinks of one outbox: starts their workers, wakes them, and ends them under a deadline."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import structlog
import zmq

from earmark.contracts.errors import ConfigError, EarmarkError
from earmark.links.door import Door
from earmark.outbox import Cursors, OutboxReader, WakeSignal
from earmark.outbox.config import OutboxConfig
from earmark.telemetry import metrics
from publishers.clips.config import ClipsConfig
from publishers.clips.files import ClipFiles
from publishers.clips.index import ClipIndex, clip_index_path
from publishers.clips.retention import ClipRetention
from publishers.clips.sink import ClipsSink
from publishers.config import JsonlConfig, PublishersConfig, ZeroMqConfig
from publishers.deadletters import DeadLetters, dead_letters_path
from publishers.filters import Begin
from publishers.history import History
from publishers.http.about import About
from publishers.http.config import HttpConfig
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.monitor import Monitor
from publishers.mqtt.sink import MqttSink
from publishers.names import sink_beginnings
from publishers.notify.sink import open_notifications
from publishers.sinks import Sink
from publishers.webhook.config import WebhookConfig
from publishers.webhook.sink import WebhookSink
from publishers.worker import Backoff, Worker, enter_outbox
from publishers.zeromq import ZeroMqSink

if TYPE_CHECKING:
    from publishers.http.server import HttpServer

CLOSE_S = 5.0
_WAIT_S = 0.2
_LEAVE_S = 3.0

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
        self._parts: _Parts | None = None

    def run(
        self, stop: threading.Event, on_ready: Callable[[], None] = _nothing, on_alive: Callable[[], None] = _nothing
    ) -> None:
        """Publish until ``stop`` is set; returns at most 6 s after it.

        Args:
            stop: Ends it.
            on_ready: Called once, when every socket is bound and every file open.
            on_alive: Called at least every second while the main loop turns.

        Raises:
            ConfigError: An address cannot be bound. A sink whose file cannot be used is only tried again.
            OutboxError: The outbox is no outbox.
        """
        OutboxReader(self._outbox.path).close()
        parts = self._parts = _Parts(self._config, self._outbox, self._about)
        try:
            parts.start()
            on_ready()
            while not stop.is_set():
                parts.turn()
                on_alive()
        finally:
            parts.close()

    def reload(self, config: PublishersConfig, about: About) -> None:
        """Publish to other sinks: only those that are new, changed or gone begin and end. Called from ``on_alive``.

        A sink's cursor stays, whether it is changed or gone. ZeroMQ and HTTP stay as they were at the start.

        Args:
            config: The sinks.
            about: What the service is now.

        Raises:
            ConfigError: A sink's address or file cannot be used; nothing has changed.
        """
        if self._parts is not None:
            self._parts.reload(config, about)


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


@dataclass
class _Channel:
    """What one setting of the configuration asks for.

    Attributes:
        setting: That.
        sinks: Open.
        workers: One for each.
    """

    setting: object
    sinks: list[Sink]
    workers: list[Worker]

    @property
    def names(self) -> set[str]:
        return {sink.name for sink in self.sinks}


@dataclass
class _Late:
    """A setting whose sinks could not be opened yet. Nothing else waits for them.

    Attributes:
        setting: As of `_Channel`.
        open_sinks: Opens them.
        backoff: When to try again.
    """

    setting: object
    open_sinks: Callable[[], list[Sink]]
    backoff: Backoff = field(default_factory=Backoff)


class _Parts:
    """What `Publishers.run` builds up and takes down."""

    def __init__(self, config: PublishersConfig, outbox: OutboxConfig, about: About) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._outbox = outbox
        self._about = about
        self._config = config
        self._servers: list[Server] = []
        self._http: HttpServer | None = None
        self._signal: WakeSignal | None = None
        self._channels: dict[str, _Channel] = {}
        self._leaving: list[_Channel] = []
        self._coming: dict[str, _Channel] = {}
        self._late: dict[str, _Late] = {}
        self._door: Door | None = None
        with ExitStack() as undo:
            undo.callback(self.close)
            self._signal = WakeSignal(outbox.path)  # first: it keeps other publishers out
            self._monitor = Monitor(self._context, outbox.path)
            self._servers.append(self._monitor)
            if config.zeromq is not None:
                self._open_zeromq(config.zeromq, outbox)
            if config.http is not None:
                self._http = _open_http(config, outbox, self._monitor, about)
                self._servers.extend([self._http] if self._http else [])
            for name, (setting, open_sinks) in self._wanted(config, about).items():
                self._late[name] = _Late(setting, open_sinks)
            self._open_late()
            self._enter()
            if not self._channels and not self._late and self._http is None:
                _log.warning("no sink is configured", hint="set publishers.zeromq or publishers.jsonl")
            undo.pop_all()

    def _open_zeromq(self, config: ZeroMqConfig, outbox: OutboxConfig) -> None:
        if config.curve is not None:
            where = "publishers.zeromq.curve"
            self._door = Door(self._context, config.curve, lambda client: client.events, where)
        self._add("zeromq", config, [ZeroMqSink(self._context, config.bind, door=self._door)])
        self._servers.append(History(self._context, config.history_bind, outbox, self._door))

    def _add(self, name: str, setting: object, sinks: list[Sink]) -> None:
        self._channels[name] = self._channel(setting, sinks)

    def _channel(self, setting: object, sinks: list[Sink]) -> _Channel:
        begin: Begin = getattr(setting, "begin", "now")
        return _Channel(setting, sinks, [Worker(sink, self._outbox, begin=begin) for sink in sinks])

    def _enter(self) -> None:
        """Give all sinks their places at once, before any moves: the first start is the same for all of them."""
        try:
            beginnings = sink_beginnings(self._config)
            with (
                closing(OutboxReader(self._outbox.path)) as reader,
                closing(Cursors(self._outbox.cursors_path)) as cursors,
            ):
                enter_outbox(cursors, reader, beginnings)
        except EarmarkError as error:  # each sink's own worker tries again
            _log.warning("sinks could not be given their places", error=str(error))

    def _wanted(self, config: PublishersConfig, about: About) -> dict[str, tuple[object, Callable[[], list[Sink]]]]:
        """What opens the sinks of each setting that can be changed while they run."""
        wanted: dict[str, tuple[object, Callable[[], list[Sink]]]] = {}
        if (jsonl := config.jsonl) is not None:
            wanted["jsonl"] = jsonl, lambda: [_open_jsonl(jsonl)]
        if (mqtt := config.mqtt) is not None:
            wanted["mqtt"] = mqtt, lambda: [MqttSink(mqtt, self._monitor.statuses, about.zones)]
        if (clips := config.clips) is not None:
            wanted["clips"] = (
                (clips, about.clips),
                lambda: [self._clips(clips, about)],
            )
        for name, webhook in config.webhooks.items():
            wanted[f"webhooks.{name}"] = webhook, lambda name=name, webhook=webhook: [self._webhook(name, webhook)]
        for name, notification in config.notifications.items():
            wanted[f"notifications.{name}"] = (
                notification,
                lambda name=name, notification=notification: [*open_notifications(name, notification, self._outbox)],
            )
        return wanted

    def _clips(self, config: ClipsConfig, about: About) -> Sink:
        retention = ClipRetention(config.folder, ClipIndex(clip_index_path(self._outbox)))
        return ClipsSink(config, self._monitor, self._about, retention, streams=about.clips)

    def _webhook(self, name: str, config: WebhookConfig) -> Sink:
        return WebhookSink(name, config, DeadLetters(dead_letters_path(self._outbox), self._config.dead_letters))

    @property
    def _threads(self) -> list[Worker | Server]:
        channels = [*self._channels.values(), *self._leaving]
        return [*(worker for channel in channels for worker in channel.workers), *self._servers]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def turn(self) -> None:
        """Wait for the engine's message, and pass it on; raise what ended a thread."""
        if self._signal is not None and self._signal.wait(_WAIT_S):
            for channel in self._channels.values():
                for worker in channel.workers:
                    worker.wake()
            if self._http is not None:
                self._http.wake()
        for thread in [*self._threads, *([self._door] if self._door else [])]:
            if thread.error is not None:
                raise thread.error
        self._hand_over()
        for worker in self._open_late():
            worker.start()

    def _open_late(self) -> list[Worker]:
        """Try the sinks that could not be opened yet; the workers of those that now are, not started."""
        opened = list[Worker]()
        for name, late in list(self._late.items()):
            if late.backoff.is_waiting:
                continue
            try:
                self._add(name, late.setting, late.open_sinks())
            except EarmarkError as error:
                metrics.SINK_FAILURES.labels(name).inc()
                retry_s = round(late.backoff.failed(), 2)
                _log.error("a sink cannot be opened; the others go on", sink=name, error=str(error), retry_s=retry_s)
                continue
            del self._late[name]
            opened += self._channels[name].workers
        return opened

    # Sinks come and go.

    def reload(self, config: PublishersConfig, about: About) -> None:
        """Open what is new or changed; only when all of that is open, end what is changed or gone."""
        self._wait_for_leaving()
        wanted = self._wanted(config, about)
        now = {name: each.setting for name, each in {**self._channels, **self._coming, **self._late}.items()}
        opened: dict[str, _Channel] = {}
        with ExitStack() as undo:
            for name, (setting, open_sinks) in wanted.items():
                if now.get(name) != setting:
                    sinks = open_sinks()
                    for sink in sinks:
                        undo.callback(sink.close)
                    opened[name] = self._channel(setting, sinks)
            undo.pop_all()
        for name in now:
            if name != "zeromq" and (name in opened or name not in wanted):
                self._end(name)
        self._coming.update(opened)
        self._about.become(about)
        self._monitor.expect(about.streams)

    def _wait_for_leaving(self) -> None:
        """Let go of what an earlier reload ended: a sink that comes back may want the same file."""
        deadline_s = time.monotonic() + _LEAVE_S
        for channel in self._leaving:
            for worker in channel.workers:
                worker.join(max(0.0, deadline_s - time.monotonic()))
        self._hand_over()

    def _end(self, name: str) -> None:
        self._late.pop(name, None)
        if name in self._coming:
            _close_sinks(self._coming.pop(name))
        if name in self._channels:
            channel = self._channels.pop(name)
            for worker in channel.workers:
                worker.stop()
            self._leaving.append(channel)

    def _hand_over(self) -> None:
        """Close sinks whose workers have ended, and start those whose cursor nobody moves any more."""
        ended = [channel for channel in self._leaving if all(worker.join(0) for worker in channel.workers)]
        for channel in ended:
            self._leaving.remove(channel)
            _close_sinks(channel)
            for name in channel.names:
                metrics.SINK_DEPTH.remove(name)
        held = {name for channel in self._leaving for name in channel.names}
        for name in [name for name, channel in self._coming.items() if not channel.names & held]:
            self._channels[name] = channel = self._coming.pop(name)
            for worker in channel.workers:
                worker.start()

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
        for channel in (*self._channels.values(), *self._leaving, *self._coming.values()):
            _close_sinks(channel)
        for server in self._servers:
            server.close()
        if self._door is not None:
            self._door.close()
        self._context.term()


def _close_sinks(channel: _Channel) -> None:
    for sink in channel.sinks:
        sink.close()


def _open_jsonl(config: JsonlConfig) -> Sink:
    return JsonlStreamSink() if str(config.path) == "-" else JsonlFileSink(config.path)


def _open_http(config: PublishersConfig, outbox: OutboxConfig, monitor: Monitor, about: About) -> "HttpServer | None":
    """The HTTP server; none where nobody asked for it and its port is taken, because a page must not stop a service."""
    from publishers.http.server import HttpServer  # noqa: PLC0415 -- who turns it off need not load a web framework

    try:
        clips = None if config.clips is None else ClipFiles(config.clips.folder)
        return HttpServer(config.http or HttpConfig(), outbox, monitor, about, clips)
    except ConfigError as error:
        if "http" in config.model_fields_set:
            raise
        _log.warning("there is no page", error=str(error))
        return None
