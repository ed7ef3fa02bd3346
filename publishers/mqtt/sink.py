"""The MQTT sink: every event at least once and in order, and around it what `publishers.mqtt.board` shows.

An event counts as taken when the broker acknowledged it. One whose acknowledgement got lost with the connection goes
out again under the same id; nothing else does.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress

import structlog

from earmark.contracts import cloudevents
from earmark.contracts.errors import UnreadableEventError
from earmark.contracts.events import SoundEvent
from earmark.contracts.monitor import StreamStatus
from earmark.outbox import OutboxReader, StoredEvent
from earmark.telemetry import metrics
from publishers.filters import EventFilter
from publishers.mqtt.access import open_access
from publishers.mqtt.board import Board
from publishers.mqtt.config import MqttConfig
from publishers.mqtt.connection import Connection
from publishers.mqtt.topics import OFFLINE, ONLINE, Topics
from publishers.sinks import SinkError

TURN_S = 0.5
"""After this long the worker gets to remember what was taken."""
LOOK_BACK_EVENTS = 20_000
"""At the start, what is open is found in so many events before the cursor."""
_READ_EVENTS = 256

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class MqttSink:
    """Tells one broker. Everything but `interrupt` happens in the worker's thread.

    Args:
        config: The sink's.
        statuses: The newest status of each stream.
        zones: The streams of each zone.
        clock: Monotonic seconds.

    Raises:
        ConfigError: A password's or a certificate's file cannot be used.
    """

    name = "mqtt"

    def __init__(
        self,
        config: MqttConfig,
        statuses: Callable[[], Sequence[StreamStatus]],
        zones: Mapping[str, Collection[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._clock = clock
        self._access = open_access(config)
        self._topics = Topics(config.prefix)
        self._names = EventFilter(streams=config.filter.streams, labels=config.filter.labels)
        self._board = Board(config, statuses, zones or {}, clock)
        self._ending = threading.Event()
        self._connection: Connection | None = None
        self._outbox: OutboxReader | None = None
        self._backlog_through = self._taken_through = 0
        self._has_taken = False
        self._held: SinkError | None = None

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """From the cursor, with the states that the events before it left."""
        self._outbox, self._taken_through = outbox, cursor
        self._board.states.rebuild(self._before(outbox, cursor))
        self._begin_backlog()
        return cursor

    def _before(self, outbox: OutboxReader, cursor: int) -> Iterator[SoundEvent]:
        since = max(0, cursor - LOOK_BACK_EVENTS)
        while batch := outbox.read(since, _READ_EVENTS, through=cursor):
            since = batch[-1].seq
            for stored in batch:
                with suppress(UnreadableEventError):  # it was skipped
                    if (event := self._names.read(stored)) is not None:
                        yield event

    def _begin_backlog(self) -> None:
        """What lies in the outbox now comes late, and states wait for its end."""
        self._backlog_through = 0 if self._outbox is None else self._outbox.newest_seq()
        self._board.is_settled = False

    def publish(self, events: Sequence[StoredEvent]) -> int:
        """Send for half a second, then wait until the broker has it all.

        Raises:
            SinkError: The broker did not take the first event.
            UnreadableEventError: Another release wrote one of them; nothing was sent.
        """
        self._raise_held()
        read = [(stored.seq, self._names.read(stored)) for stored in events]
        connection, failure = self._connected(), None
        sent: list[tuple[int, int]] = []
        try:
            self._send_events(connection, read, sent)
            connection.settle()
        except SinkError as error:
            failure = error
        through = _through(connection, sent)
        self._has_taken, self._held = through > 0, failure
        if not through:
            self._raise_held()
        return through

    def _send_events(
        self, connection: Connection, events: Sequence[tuple[int, SoundEvent | None]], sent: list[tuple[int, int]]
    ) -> None:
        """Append to ``sent`` each ``seq``, and what `Connection` calls its message."""
        until_s, streams = self._clock() + TURN_S, set[str]()
        for seq, event in events:
            if sent and self._clock() >= until_s:
                break
            if seq > self._taken_through + 1:
                self._board.doubt()  # what retention took, or nobody can read, may have been the end of any sound
            is_live = seq > self._backlog_through
            if is_live and not self._board.is_settled:
                self._board.settle(connection)
            sent.append((seq, self._send_event(connection, event)))
            if event is not None:
                self._board.take(connection, event, is_live=is_live)
                streams.add(event.stream)
            self._taken_through = max(seq, self._taken_through)
        self._board.tell_last(connection, streams)

    def _send_event(self, connection: Connection, event: SoundEvent | None) -> int:
        """What the event's message is called; 0 where there is none."""
        if event is None or not self._config.filter.takes(event):
            return 0
        if event.stream in self._board.states.muted:
            metrics.SINK_HELD_BACK.labels(self.name, "disabled").inc()
            return 0
        body = cloudevents.encode_structured(event, self._config.source_prefix)
        return connection.send(self._topics.events, body, content_type=cloudevents.STRUCTURED)

    def tick(self, seq: int) -> None:
        """Tell how streams are, hear what others want; connect where that is needed.

        Raises:
            SinkError: The broker cannot be reached, and no event was taken just now, which is remembered first.
        """
        has_taken, self._has_taken = self._has_taken, False
        if self._held is not None and has_taken:
            return
        self._raise_held()
        try:
            self._turn(self._connected(), seq)
        except SinkError as error:
            if not has_taken:
                raise
            self._held = error

    def _turn(self, connection: Connection, seq: int) -> None:
        connection.turn()
        if not self._board.is_settled and seq >= self._backlog_through:
            self._board.settle(connection)
        self._board.turn(connection)
        connection.turn()

    def _raise_held(self) -> None:
        if self._held is not None:
            error, self._held = self._held, None
            raise error

    def _connected(self) -> Connection:
        """The connection, made anew where it is lost."""
        if self._connection is None or self._connection.is_lost:
            board = self._board
            self._connection = Connection(
                self._access, board.subscriptions, self._ending, self._clock, optional=board.kept
            )
            self._begin_backlog()
            self._connection.send(self._topics.available, ONLINE, retain=True)
            self._connection.settle()
            _log.info("connected to the broker", sink=self.name, broker=f"{self._access.host}:{self._access.port}")
            self._board.begin(self._connection)
        return self._connection

    def interrupt(self) -> None:
        """Wait for the broker no longer than a second from now on. For any thread."""
        self._ending.set()

    def close(self) -> None:
        """Say that we are gone."""
        if self._connection is None or self._connection.is_lost:
            return
        try:
            self._connection.send(self._topics.available, OFFLINE, retain=True)
            self._connection.settle()
        except SinkError as error:
            _log.warning("the broker was not told of the end", sink=self.name, error=str(error))
        self._connection.close()


def _through(connection: Connection, sent: Sequence[tuple[int, int]]) -> int:
    """The ``seq`` through which the broker acknowledged all, 0 for none."""
    through = 0
    for seq, mid in sent:
        if mid in connection.unacknowledged:
            break
        through = seq
    return through
