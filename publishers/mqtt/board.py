"""What stands on the broker beside the events: states, statuses, levels, entities; and what is said back to us."""

import json
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import structlog

from earmark.contracts.events import SoundEvent
from earmark.contracts.monitor import StreamStatus
from earmark.telemetry import metrics
from publishers.mqtt.config import MqttConfig
from publishers.mqtt.connection import Connection, Received
from publishers.mqtt.discovery import Discovery
from publishers.mqtt.homeassistant import Entities
from publishers.mqtt.reports import Reports, statuses_of_zones
from publishers.mqtt.states import States
from publishers.mqtt.topics import OFF, ON, ONLINE, Topics

TURN_S = 0.5
"""Reports that take longer go on in the next turn."""
BIRTH_DELAY_S = (0.2, 2.0)
"""After Home Assistant's birth, so that not everybody answers at once."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Board:
    """Keeps the broker's picture of us right, over one connection at a time.

    Its methods raise `publishers.sinks.SinkError` where the connection is lost.

    Args:
        config: The sink's.
        statuses: The newest status of each stream.
        zones: The streams of each zone.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: MqttConfig,
        statuses: Callable[[], Sequence[StreamStatus]],
        zones: Mapping[str, Collection[str]],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._statuses = statuses
        self._zones = zones
        self._clock = clock
        self._topics = Topics(config.prefix)
        self._reports = Reports(self._topics, clock, zones)
        home = config.homeassistant
        self._entities = None if home is None else Entities(config, home, zones)
        self._discovery = None if home is None or self._entities is None else Discovery(self._entities, home)
        self.states = States(config)
        self.is_settled = False
        """Whether the backlog is over, and states are told as they change."""
        self._told: dict[str, str] = {}
        self._kept_on: set[str] = set()
        self._obeyed: set[str] = set()
        self._retell_at_s: float | None = None

    @property
    def subscriptions(self) -> dict[str, int]:
        """What to listen to: topics and the quality of service of each."""
        wanted: dict[str, int] = {}
        if self._config.control:
            wanted |= {self._topics.of("+", "enabled"): 0, self._topics.of("+", "set"): 1}
        if self._entities is not None:
            wanted |= {self._entities.filter: 0, self._entities.birth: 0}
        return wanted

    @property
    def kept(self) -> dict[str, int]:
        """Where the broker may keep statuses, and with ``retain`` states, of streams and labels that are gone."""
        return {self._topics.of("+", "+" if self._config.retain else "status"): 0}

    def begin(self, connection: Connection) -> None:
        """The broker may know nothing of us: hear what it kept, and tell all from now on."""
        self._forget()
        self._hear(connection)

    def take(self, connection: Connection, event: SoundEvent, *, is_live: bool) -> None:
        """Note an event, and tell the states that it changes."""
        self.states.take(event, is_live=is_live)
        if self.is_settled:
            self._tell_states(connection, [self.states.wanted(event.stream, event.label)])

    def doubt(self) -> None:
        """Events are missing: no sound is known to be on any more, and all states are told when the backlog is over."""
        self.states.doubt()
        self.is_settled = False

    def settle(self, connection: Connection) -> None:
        """The backlog is over: tell the newest states."""
        self.states.settle()
        self.is_settled = True
        for stream in self.states.streams:
            self._tell_states(connection, self.states.wanted_of(stream))
        self.tell_last(connection, self.states.streams)

    def _take_back_states(self, connection: Connection) -> None:
        """Turn off what the broker keeps ``ON`` of streams and labels that are told no more."""
        gone = sorted(self._kept_on.difference(self._told))
        self._tell_states(connection, ((topic, OFF) for topic in gone))
        self._kept_on.clear()

    def tell_last(self, connection: Connection, streams: Iterable[str]) -> None:
        """Tell the newest event of each of ``streams``, but for that of a backlog."""
        if not self.is_settled:
            return
        last = ((stream, self.states.last.get(stream)) for stream in sorted(streams))
        messages = ((self._topics.of(stream, "last_event"), event.model_dump_json()) for stream, event in last if event)
        self._tell(connection, messages, retain=True)

    def turn(self, connection: Connection) -> None:
        """Hear what was said, and tell what is due, for about half a second."""
        self._hear(connection)
        if self._retell_at_s is not None and self._clock() >= self._retell_at_s:
            self._forget()
            if self.is_settled:
                self.settle(connection)
        if self.is_settled and self._kept_on:
            self._take_back_states(connection)
        self._report(connection)

    def _forget(self) -> None:
        """Somebody begins anew, and knows nothing."""
        self._retell_at_s = None
        self._told.clear()
        self._reports.forget()
        if self._discovery is not None:
            self._discovery.begin()

    # Telling.

    def _tell_states(self, connection: Connection, messages: Iterable[tuple[str, str]]) -> None:
        self._tell(connection, messages, retain=self._config.retain)

    def _tell(self, connection: Connection, messages: Iterable[tuple[str, str]], *, retain: bool) -> None:
        """Send what this connection did not carry yet."""
        for topic, payload in messages:
            if self._told.get(topic) != payload:
                connection.send(topic, payload, retain=retain)
                self._told[topic] = payload

    def _report(self, connection: Connection) -> None:
        until_s = self._clock() + TURN_S
        shown = self._config.filter.streams
        streams = self._statuses()
        told = (*streams, *statuses_of_zones(streams, self._zones))
        statuses = [status for status in told if not shown or status.stream in shown]
        for stream in {status.stream for status in statuses}.difference(self.states.streams):
            self.states.add_stream(stream)
            if self.is_settled:
                self._tell_states(connection, self.states.wanted_of(stream))
        if self._config.control:
            self._tell(connection, self._switches(), retain=True)
        for topic, payload, retain in self._due(statuses):
            connection.send(topic, payload, retain=retain)
            if self._clock() >= until_s:
                return

    def _switches(self) -> Iterator[tuple[str, str]]:
        for stream in self.states.streams:
            yield self._topics.of(stream, "enabled"), OFF if stream in self.states.muted else ON

    def _due(self, statuses: Sequence[StreamStatus]) -> Iterator[tuple[str, str, bool]]:
        if self._discovery is not None:
            self._discovery.show([status.stream for status in statuses])
            while self._discovery.queue:
                yield (*self._discovery.queue.popleft(), True)
        yield from self._reports.due(statuses)

    # Hearing.

    def _hear(self, connection: Connection) -> None:
        while connection.received:
            message = connection.received.popleft()
            if self._topics.is_of_stream(message.topic):
                self._hear_own(connection, message)
            elif self._entities is not None and message.topic == self._entities.birth:
                if message.payload == ONLINE.encode() and not message.is_kept:
                    self._retell_at_s = self._clock() + random.uniform(*BIRTH_DELAY_S)  # noqa: S311 -- no secret
            elif self._discovery is not None:
                (self._discovery.found if message.payload else self._discovery.gone)(message.topic)

    def _hear_own(self, connection: Connection, message: Received) -> None:
        """A command, or what the broker keeps of a stream."""
        if (stream := self._topics.stream_of(message.topic, "set")) is not None:
            self._obey(connection, stream, message)
        elif not message.is_kept:
            return
        elif (stream := self._topics.stream_of(message.topic, "enabled")) is not None:
            if stream not in self._obeyed:
                self._switch(connection, stream, is_enabled=message.payload != OFF.encode())
        elif (stream := self._topics.stream_of(message.topic, "status")) is not None:
            if _is_up(message.payload):
                self._reports.found(stream)
        elif message.payload == ON.encode():
            self._kept_on.add(message.topic)

    def _obey(self, connection: Connection, stream: str, message: Received) -> None:
        is_enabled = _command(message.payload)
        if is_enabled is None:
            metrics.REFUSED.labels("mqtt").inc()
            _log.warning("not understood", sink="mqtt", topic=message.topic, expected='{"enabled": true} or false')
            return
        self._obeyed.add(stream)
        self._switch(connection, stream, is_enabled=is_enabled)

    def _switch(self, connection: Connection, stream: str, *, is_enabled: bool) -> None:
        if is_enabled == (stream not in self.states.muted):
            return
        (self.states.muted.discard if is_enabled else self.states.muted.add)(stream)
        _log.info("stream switched", sink="mqtt", stream=stream, enabled=is_enabled)
        if self.is_settled:
            self._tell_states(connection, self.states.wanted_of(stream))


def _is_up(payload: bytes) -> bool:
    """Whether a retained status says so; one that cannot be read may."""
    try:
        content = json.loads(payload) if payload else {"up": False}
    except (ValueError, RecursionError):
        return True
    return not (isinstance(content, dict) and cast("dict[str, Any]", content).get("up") is False)


def _command(payload: bytes) -> bool | None:
    """Whether a stream is to be on; None where that is not what the payload says."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match content:
        case {"enabled": bool(is_enabled), **rest} if not rest:
            return is_enabled
        case _:
            return None
