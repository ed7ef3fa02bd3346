"""From rings to engines: blocks are pushed, acknowledgements come back. The rings are the only buffers."""

import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import structlog
import zmq

from earmark.contracts.addresses import ack_address, needs_ipv6
from earmark.contracts.curve import CurveClient, connect_encrypted
from earmark.contracts.errors import WireError
from earmark.contracts.streams import AudioBlock, Record
from earmark.contracts.wire import ack_topic, decode_ack, encode_records
from earmark.telemetry.metrics import RING_FILL, SENT_BLOCKS
from earmark.telemetry.refusals import Refusals
from streamer.feed import Feed

MESSAGE_SAMPLES = 32_768
"""A message is closed once it holds this many samples (64 KiB)."""
_MESSAGE_RECORDS = 1_024
_MESSAGES_A_TURN = 16
_HIGH_WATER_MARK = 8
_LONGEST_ANSWER = 4096
_POLL_MS = 100
_TICK_S = 0.5
_SILENT_S = 10.0
"""An engine that has something to answer, and does not for so long, is told of."""

log = structlog.get_logger()


def find_engine(stream: str, engines: Sequence[str]) -> str:
    """The engine of a stream by rendezvous hashing: when one is added or removed, only its own streams move."""
    return max(engines, key=lambda engine: hashlib.blake2b(f"{stream}|{engine}".encode(), digest_size=8).digest())


class Wake:
    """Tells the sender's thread which streams have something new. Any thread may call `tell`; it never blocks."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self._lock = threading.Lock()
        self._streams: set[str] = set()

    def tell(self, stream: str) -> None:
        """There is something new in the ring of ``stream``."""
        with self._lock:
            if not self._streams:
                self._writer.send(b"\0")
            self._streams.add(stream)

    def take(self) -> set[str]:
        """The streams that were named since the last time."""
        with self._lock:
            streams, self._streams = self._streams, set()
            if streams:
                self.reader.recv(1)
            return streams

    def close(self) -> None:
        """Close both ends."""
        with self._lock:
            self._streams = {""}  # whoever calls `tell` from now on finds it told
            self.reader.close()
            self._writer.close()


class _Line:
    """The sockets to one engine and the streams that wait for them, in turn."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", engine: str, curve: CurveClient | None) -> None:
        self.engine = engine
        self.push = _connect(context, zmq.PUSH, engine, curve)
        self.acks = _connect(context, zmq.SUB, ack_address(engine), curve)
        self._ready: deque[Feed] = deque()
        self._ready_first: deque[Feed] = deque()
        self._queued: set[str] = set()
        self._is_owed_an_answer = self._is_told = False
        self._waits_since_s: float | None = None

    @property
    def has_work(self) -> bool:
        return bool(self._ready or self._ready_first)

    def forget(self, feed: Feed) -> None:
        if feed.stream in self._queued:
            self._queued.discard(feed.stream)
            self._queue_of(feed).remove(feed)

    def add(self, feed: Feed) -> None:
        if feed.stream not in self._queued:
            self._queued.add(feed.stream)
            self._queue_of(feed).append(feed)

    def _queue_of(self, feed: Feed) -> "deque[Feed]":
        return self._ready_first if feed.has_priority else self._ready

    def pump(self) -> None:
        """Send while the socket takes something, for one turn. A message that gets lost is asked for again."""
        for _ in range(_MESSAGES_A_TURN):
            if not self.has_work or not self.push.poll(0, zmq.POLLOUT):
                return
            records = self._gather()
            if not records:
                return
            try:
                self.push.send(encode_records(records), zmq.NOBLOCK)
            except zmq.Again:
                return
            self._is_owed_an_answer = True
            for record in records:
                if isinstance(record, AudioBlock):
                    SENT_BLOCKS.labels(record.stream).inc()

    def _gather(self) -> list[Record]:
        """A message: a record of each stream in turn, until it is full or all is in it; first what has priority."""
        records: list[Record] = []
        n_samples = 0
        while self.has_work and n_samples < MESSAGE_SAMPLES and len(records) < _MESSAGE_RECORDS:
            queue = self._ready_first or self._ready
            feed = queue.popleft()
            record = feed.next_record()
            if record is None:
                self._queued.discard(feed.stream)
                continue
            queue.append(feed)
            records.append(record)
            n_samples += len(record.pcm) if isinstance(record, AudioBlock) else 0
        return records

    def note_answer(self) -> None:
        """The engine is there."""
        self._is_owed_an_answer, self._waits_since_s = False, None
        if self._is_told:
            self._is_told = False
            log.info("engine answers", engine=self.engine)

    def look(self, now_s: float) -> None:
        """Tell once of an engine that does not answer; it does every second while it hears streams."""
        if not (self.has_work or self._is_owed_an_answer):
            self._waits_since_s = None
        elif self._waits_since_s is None:
            self._waits_since_s = now_s
        elif now_s - self._waits_since_s >= _SILENT_S and not self._is_told:
            self._is_told = True
            log.warning(
                "no answer from the engine; audio waits in the rings",
                engine=self.engine,
                hint="is it up there, are its port and the one above open, and is this key allowed?",
            )


class Sender:
    """Sends what streams have, until it is told to stop or all have ended. Streams come and go in its own thread.

    Args:
        engines: Addresses where engines take blocks.
        wake: Told by captures that there is something new; borrowed.
        context: For the sockets.
        curve: Keys, where engines ask for one.

    Raises:
        ConfigError: A key file cannot be used.
    """

    def __init__(
        self,
        engines: Sequence[str],
        wake: Wake,
        context: "zmq.Context[zmq.Socket[bytes]]",
        curve: CurveClient | None = None,
    ) -> None:
        self._engines = engines
        self._wake = wake
        self._context = context
        self._feeds: dict[str, Feed] = {}
        self._unfinished: set[str] = set()
        self._overwritten: dict[str, int] = {}
        self._overrun: set[str] = set()
        self._refusals = Refusals()
        self._curve = curve
        self._lines: dict[str, _Line] = {}
        self._poller = zmq.Poller()
        self._poller.register(wake.reader, zmq.POLLIN)

    def add(self, feed: Feed) -> None:
        """Send a stream from now on, by the sockets of its engine."""
        engine = find_engine(feed.stream, self._engines)
        if engine not in self._lines:
            self._lines[engine] = _Line(self._context, engine, self._curve)
            self._poller.register(self._lines[engine].acks, zmq.POLLIN)
        self._lines[engine].acks.set(zmq.SUBSCRIBE, ack_topic(feed.stream))
        self._feeds[feed.stream] = feed
        self._unfinished.add(feed.stream)
        self._overwritten[feed.stream] = 0
        self._lines[engine].add(feed)

    def remove(self, feed: Feed) -> None:
        """Send nothing more of a stream."""
        line = self._line_of(feed)
        line.forget(feed)
        line.acks.set(zmq.UNSUBSCRIBE, ack_topic(feed.stream))
        del self._feeds[feed.stream], self._overwritten[feed.stream]
        self._unfinished.discard(feed.stream)
        self._overrun.discard(feed.stream)
        RING_FILL.remove(feed.stream)

    def _line_of(self, feed: Feed) -> _Line:
        return self._lines[find_engine(feed.stream, self._engines)]

    def run(self, stop: threading.Event, on_alive: Callable[[], bool]) -> None:
        """Work until ``stop`` or the end of all streams.

        Args:
            stop: Heard within a poll.
            on_alive: Called about twice a second; whether more streams are still to come.
        """
        next_tick_s = time.monotonic()
        are_to_come = False
        while (self._unfinished or are_to_come) and not stop.is_set():
            self._wait()
            for stream in self._wake.take() & self._feeds.keys():
                self._look_at(self._feeds[stream])
            for line in self._lines.values():
                self._take_acks(line)
                line.pump()
            if time.monotonic() >= next_tick_s:
                next_tick_s = time.monotonic() + _TICK_S
                self._tick()
                are_to_come = on_alive()

    def _wait(self) -> None:
        for line in self._lines.values():
            self._poller.register(line.push, zmq.POLLOUT if line.has_work else 0)
        self._poller.poll(_POLL_MS)

    def _look_at(self, feed: Feed) -> None:
        self._line_of(feed).add(feed)
        if feed.is_finished:
            self._unfinished.discard(feed.stream)

    def _take_acks(self, line: _Line) -> None:
        while line.acks.poll(0):
            try:
                ack = decode_ack(line.acks.recv(zmq.NOBLOCK))
            except WireError as error:
                self._refusals.count(error.reason, line.engine, str(error))
                continue
            line.note_answer()
            feed = self._feeds.get(ack.stream)
            if feed is None:
                continue
            if feed.take(ack):
                line.add(feed)
            if feed.is_finished:
                self._unfinished.discard(feed.stream)

    def _tick(self) -> None:
        for line in self._lines.values():
            line.look(time.monotonic())
        for feed in self._feeds.values():
            RING_FILL.labels(feed.stream).set(feed.ring.fill)
            self._note_overrun(feed)
            if feed.nudge():
                self._line_of(feed).add(feed)

    def _note_overrun(self, feed: Feed) -> None:
        """Log when a ring begins to overwrite its oldest audio and when that is over, not all the time between."""
        overwritten = feed.ring.overwritten_samples
        grows, self._overwritten[feed.stream] = overwritten > self._overwritten[feed.stream], overwritten
        if grows and feed.stream not in self._overrun:
            self._overrun.add(feed.stream)
            log.warning(
                "ring is full, its oldest audio is lost",
                stream=feed.stream,
                engine=find_engine(feed.stream, self._engines),
            )
        elif not grows and feed.stream in self._overrun:
            self._overrun.discard(feed.stream)
            log.info("ring has room again", stream=feed.stream, lost_samples_in_all=overwritten)


def _connect(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, address: str, curve: CurveClient | None
) -> "zmq.Socket[Any]":
    """A socket that queues for a living peer only, keeps nothing when it is closed, and notices a peer that is gone."""
    made = context.socket(kind)
    made.set(zmq.LINGER, 0)
    made.set(zmq.IMMEDIATE, 1)
    made.set(zmq.IPV6, int(needs_ipv6(address)))
    made.set(zmq.HEARTBEAT_IVL, 2_000)
    made.set(zmq.HEARTBEAT_TIMEOUT, 10_000)
    if kind == zmq.PUSH:
        made.set(zmq.SNDHWM, _HIGH_WATER_MARK)
    made.set(zmq.MAXMSGSIZE, _LONGEST_ANSWER)
    if curve is not None:
        connect_encrypted(made, curve)
    made.connect(address)
    return made
