"""Both ends of what engines show to the publishers of their machine (`earmark.contracts.monitor`).

A message is made only where somebody asks for it: subscriptions travel to the engines.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import zmq

from earmark.contracts.errors import WireError
from earmark.contracts.monitor import (
    FRAMES_PREFIX,
    STATUS_TOPIC,
    Frames,
    Statuses,
    decode_monitor,
    encode_frames,
    encode_statuses,
    frames_topic,
)
from earmark.outbox.wake import address_beside, bind_beside

_HIGH_WATER_MARK = 1000
"""Messages that wait; further ones are lost."""


class MonitorSender:
    """An engine's end. Never blocks."""

    def __init__(self, context: "zmq.Context[Any]", outbox: Path) -> None:
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address_beside(outbox, "monitor"))
        self._topics: set[bytes] = set()

    def asked(self) -> tuple[bool, Collection[str]]:
        """Whether statuses are wanted now, and of which streams frames."""
        while self._socket.poll(0):
            message = self._socket.recv()
            (self._topics.add if message[:1] == b"\x01" else self._topics.discard)(message[1:])
        streams = [
            topic[len(FRAMES_PREFIX) : -1].decode("ascii", "replace")
            for topic in self._topics
            if topic.startswith(FRAMES_PREFIX)
        ]
        return STATUS_TOPIC in self._topics, streams

    def send_statuses(self, statuses: Statuses) -> None:
        """Send to whoever listens."""
        self._socket.send_multipart(encode_statuses(statuses))

    def send_frames(self, frames: Frames) -> None:
        """Send to whoever listens."""
        self._socket.send_multipart(encode_frames(frames))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class MonitorReceiver:
    """The publishers' end: one a machine. Statuses are asked for from the start. For one thread."""

    def __init__(self, context: "zmq.Context[Any]", outbox: Path) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, _HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.SUBSCRIBE, STATUS_TOPIC)
        bind_beside(self._socket, outbox, "monitor")

    def watch(self, stream: str) -> None:
        """Ask for a stream's frames; as often as `unwatch` takes it back."""
        self._socket.setsockopt(zmq.SUBSCRIBE, frames_topic(stream))

    def unwatch(self, stream: str) -> None:
        """Take one `watch` back."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, frames_topic(stream))

    def receive(self, timeout_s: float) -> Statuses | Frames | None:
        """The next message, None when there is none in time or it is none of ours."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        try:
            return decode_monitor(self._socket.recv_multipart())
        except WireError:
            return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(0)
