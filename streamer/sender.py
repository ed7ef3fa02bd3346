"""From rings to engines: blocks are pushed, acknowledgements come back. The rings are the only buffers."""

import hashlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog
import zmq

from earmark.contracts.addresses import ack_address
from earmark.contracts.curve import CurveClient, connect_encrypted
from earmark.contracts.errors import WireError
from earmark.contracts.streams import AudioBlock, Record
from earmark.contracts.wire import ack_topic, decode_ack, encode_records
from earmark.telemetry.metrics import REFUSED, RING_FILL, SENT_BLOCKS
from streamer.feed import Feed

MESSAGE_SAMPLES = 32_768
"""A message is closed once it holds this many samples (64 KiB)."""
_MESSAGE_RECORDS = 1_024
_MESSAGES_A_TURN = 16
_HIGH_WATER_MARK = 8
_LONGEST_ANSWER = 4096
_POLL_MS = 100
_TICK_S = 0.5

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

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        engine: str,
        streams: Iterable[str],
        curve: CurveClient | None,
    ) -> None:
        self.push = _connect(context, zmq.PUSH, engine, curve)
        self.acks = _connect(context, zmq.SUB, ack_address(engine), curve, streams)
        self._ready: deque[Feed] = deque()
        self._queued: set[str] = set()

    @property
    def has_work(self) -> bool:
        return bool(self._ready)

    def add(self, feed: Feed) -> None:
        if feed.stream not in self._queued:
            self._queued.add(feed.stream)
            self._ready.append(feed)

    def pump(self) -> None:
        """Send while the socket takes something, for one turn. A message that gets lost is asked for again."""
        for _ in range(_MESSAGES_A_TURN):
            if not self._ready or not self.push.poll(0, zmq.POLLOUT):
                return
            records = self._gather()
            if not records:
                return
            try:
                self.push.send(encode_records(records), zmq.NOBLOCK)
            except zmq.Again:
                return
            for record in records:
                if isinstance(record, AudioBlock):
                    SENT_BLOCKS.labels(record.stream).inc()

    def _gather(self) -> list[Record]:
        """A message: a record of each stream in turn, until it is full or all is in it."""
        records: list[Record] = []
        n_samples = 0
        while self._ready and n_samples < MESSAGE_SAMPLES and len(records) < _MESSAGE_RECORDS:
            feed = self._ready.popleft()
            record = feed.next_record()
            if record is None:
                self._queued.discard(feed.stream)
                continue
            self._ready.append(feed)
            records.append(record)
            n_samples += len(record.pcm) if isinstance(record, AudioBlock) else 0
        return records


class Sender:
    """Sends what streams have, until it is told to stop or all have ended. Opens its sockets at once.

    Args:
        engines: Addresses where engines take blocks.
        feeds: The streams.
        wake: Told by captures that there is something new; borrowed.
        context: For the sockets.
        curve: Keys, where engines ask for one.

    Raises:
        ConfigError: A key file cannot be used.
    """

    def __init__(
        self,
        engines: Sequence[str],
        feeds: Sequence[Feed],
        wake: Wake,
        context: "zmq.Context[zmq.Socket[bytes]]",
        curve: CurveClient | None = None,
    ) -> None:
        self._wake = wake
        self._feeds = {feed.stream: feed for feed in feeds}
        self._unfinished = set(self._feeds)
        self._overwritten = dict.fromkeys(self._feeds, 0)
        self._overrun: set[str] = set()
        self._homes = homes = {stream: find_engine(stream, engines) for stream in self._feeds}
        lines = {
            engine: _Line(context, engine, [stream for stream, home in homes.items() if home == engine], curve)
            for engine in sorted(set(homes.values()))
        }
        self._lines = list(lines.values())
        self._line_of = {stream: lines[homes[stream]] for stream in self._feeds}
        self._poller = zmq.Poller()
        self._poller.register(wake.reader, zmq.POLLIN)
        for line in self._lines:
            self._poller.register(line.acks, zmq.POLLIN)

    def run(self, stop: threading.Event, on_alive: Callable[[], None]) -> None:
        """Work until ``stop`` or the end of all streams; calls ``on_alive`` about twice a second."""
        next_tick_s = time.monotonic()
        while self._unfinished and not stop.is_set():
            self._wait()
            for stream in self._wake.take():
                self._look_at(self._feeds[stream])
            for line in self._lines:
                self._take_acks(line)
                line.pump()
            if time.monotonic() >= next_tick_s:
                next_tick_s = time.monotonic() + _TICK_S
                self._tick()
                on_alive()

    def _wait(self) -> None:
        for line in self._lines:
            self._poller.register(line.push, zmq.POLLOUT if line.has_work else 0)
        self._poller.poll(_POLL_MS)

    def _look_at(self, feed: Feed) -> None:
        self._line_of[feed.stream].add(feed)
        if feed.is_finished:
            self._unfinished.discard(feed.stream)

    def _take_acks(self, line: _Line) -> None:
        while line.acks.poll(0):
            try:
                ack = decode_ack(line.acks.recv(zmq.NOBLOCK))
            except WireError as error:
                REFUSED.labels(error.reason).inc()
                log.warning("acknowledgement refused", reason=error.reason, problem=str(error))
                continue
            feed = self._feeds.get(ack.stream)
            if feed is None:
                continue
            if feed.take(ack):
                line.add(feed)
            if feed.is_finished:
                self._unfinished.discard(feed.stream)

    def _tick(self) -> None:
        for feed in self._feeds.values():
            RING_FILL.labels(feed.stream).set(feed.ring.fill)
            self._note_overrun(feed)
            if feed.nudge():
                self._line_of[feed.stream].add(feed)

    def _note_overrun(self, feed: Feed) -> None:
        """Log when a ring begins to overwrite its oldest audio and when that is over, not all the time between."""
        overwritten = feed.ring.overwritten_samples
        grows, self._overwritten[feed.stream] = overwritten > self._overwritten[feed.stream], overwritten
        if grows and feed.stream not in self._overrun:
            self._overrun.add(feed.stream)
            log.warning("ring is full, its oldest audio is lost", stream=feed.stream, engine=self._homes[feed.stream])
        elif not grows and feed.stream in self._overrun:
            self._overrun.discard(feed.stream)
            log.info("ring has room again", stream=feed.stream, lost_samples_in_all=overwritten)


def _connect(
    context: "zmq.Context[zmq.Socket[bytes]]",
    kind: int,
    address: str,
    curve: CurveClient | None,
    streams: Iterable[str] = (),
) -> "zmq.Socket[Any]":
    """A socket that queues for a living peer only, keeps nothing when it is closed, and notices a peer that is gone."""
    made = context.socket(kind)
    made.set(zmq.LINGER, 0)
    made.set(zmq.IMMEDIATE, 1)
    made.set(zmq.HEARTBEAT_IVL, 2_000)
    made.set(zmq.HEARTBEAT_TIMEOUT, 10_000)
    if kind == zmq.PUSH:
        made.set(zmq.SNDHWM, _HIGH_WATER_MARK)
    for stream in streams:
        made.set(zmq.SUBSCRIBE, ack_topic(stream))
    made.set(zmq.MAXMSGSIZE, _LONGEST_ANSWER)
    if curve is not None:
        connect_encrypted(made, curve)
    made.connect(address)
    return made
