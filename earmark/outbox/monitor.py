"""Both ends of what engines show to the publishers of their machine (`earmark.contracts.monitor`).

A message is made only where somebody asks for it: subscriptions travel to the engines.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import zmq

from earmark.contracts.errors import WireError
from earmark.contracts.monitor import (
    AUDIO_PREFIX,
    FRAMES_PREFIX,
    REFUSED_PREFIX,
    SCORES_TOPIC,
    STATUS_TOPIC,
    Frames,
    MonitorMessage,
    RefusedCandidate,
    Statuses,
    StepAudio,
    StepScores,
    decode_monitor,
    encode_audio,
    encode_frames,
    encode_refused,
    encode_scores,
    encode_statuses,
)
from earmark.outbox.wake import bind_beside, connect_beside
from earmark.telemetry.refusals import Refusals

_HIGH_WATER_MARK = 1000
"""Messages that wait; further ones are lost."""


class Asked(NamedTuple):
    """What somebody listens to now.

    Attributes:
        statuses: Whether statuses.
        frames: Frames of which streams.
        scores: Whether the scores of all.
        audio: Audio of which streams; whether they allow it is for the engine to know.
        refused: Refused candidates of which streams.
    """

    statuses: bool = False
    frames: Collection[str] = ()
    scores: bool = False
    audio: Collection[str] = ()
    refused: Collection[str] = ()


class MonitorSender:
    """An engine's end. Never blocks."""

    def __init__(self, context: "zmq.Context[Any]", outbox: Path) -> None:
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        connect_beside(self._socket, outbox, "monitor")
        self._topics: set[bytes] = set()
        self._asked = Asked()

    def asked(self) -> Asked:
        """What is asked for; the very same object until that changes."""
        is_news = False
        while self._socket.poll(0):
            message = self._socket.recv()
            (self._topics.add if message[:1] == b"\x01" else self._topics.discard)(message[1:])
            is_news = True
        if is_news:
            self._asked = Asked(
                statuses=STATUS_TOPIC in self._topics,
                frames=self._names_behind(FRAMES_PREFIX),
                scores=SCORES_TOPIC in self._topics,
                audio=self._names_behind(AUDIO_PREFIX),
                refused=self._names_behind(REFUSED_PREFIX),
            )
        return self._asked

    def _names_behind(self, prefix: bytes) -> list[str]:
        topics = (topic for topic in self._topics if topic.startswith(prefix))
        return [topic[len(prefix) : -1].decode("ascii", "replace") for topic in topics]

    def send_statuses(self, statuses: Statuses) -> None:
        """Send to whoever listens."""
        self._socket.send_multipart(encode_statuses(statuses))

    def send_frames(self, frames: Frames) -> None:
        """Send to whoever listens."""
        self._socket.send_multipart(encode_frames(frames))

    def send_refused(self, refused: RefusedCandidate) -> None:
        """Send to whoever listens."""
        self._socket.send_multipart(encode_refused(refused))

    def send_scores(self, step: StepScores) -> None:
        """Send to whoever listens."""
        self._socket.send_multipart(encode_scores(step))

    def send_audio(self, audio: StepAudio) -> None:
        """Send to whoever listens; the stream allows it."""
        self._socket.send_multipart(encode_audio(audio))

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
        self._refusals = Refusals()

    def watch(self, topic: bytes) -> None:
        """Ask for a topic; as often as `unwatch` takes it back."""
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)

    def unwatch(self, topic: bytes) -> None:
        """Take one `watch` back."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    def receive(self, timeout_s: float) -> MonitorMessage | None:
        """The next message, None when there is none in time or it is none of ours."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        try:
            return decode_monitor(self._socket.recv_multipart())
        except WireError as error:
            self._refusals.count(error.reason, "an engine", f"{error}; run the same Earmark release in both")
            return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(0)
