"""What streams sound like now, for those who look.

Statuses come every second, and frames and what the judge refused of the streams that they chose.

A message is the length of its header (uint32, little-endian), the header (JSON), and the arrays that the header names,
a byte a value. It is lossy: what a client does not take in time is dropped, the oldest first.
"""

import asyncio
import json
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.clock import NS
from earmark.contracts.monitor import Frames, RefusedCandidate
from publishers.http.coarse import CoarsePicture, Detail, without_picture
from publishers.monitor import Monitor

LOWEST, HIGHEST = -14.0, 6.0
"""Natural logarithms of power that are told as 0 and 255."""
MOST_MESSAGES = 64
MOST_WAITING = 256
STATUS_S = 1.0
GATHER_S = 0.08
"""Messages that come so close are sent together."""


class Live:
    """Watches each stream once, however many look at it. For one event loop, but for the monitor's thread.

    Args:
        monitor: Where frames and statuses come from.
        loop: The clients'.
        score_delay: How many frames later the model answers.
        detail: How much of a stream's sound may be shown.
    """

    def __init__(
        self,
        monitor: Monitor,
        loop: asyncio.AbstractEventLoop,
        score_delay: int = 0,
        detail: Callable[[str], Detail] = lambda _stream: "full",
    ) -> None:
        self._monitor = monitor
        self._loop = loop
        self._score_delay = score_delay
        self._detail = detail
        self._coarse: dict[str, CoarsePicture] = {}
        self._clients: dict[str, set[_Client]] = {}
        self._ends: dict[str, list[Callable[[], None]]] = {}
        self._n_waiting = 0
        self.is_closing = False
        """Whether everybody should leave."""

    def close(self) -> None:
        """Send everybody home."""
        self.is_closing = True
        for client in set[_Client]().union(*self._clients.values()):
            client.came.set()

    async def follow(self, streams: Collection[str]) -> AsyncIterator[bytes]:
        """The body of an answer, until the server ends."""
        client = _Client()
        for stream in streams:
            self._enter(stream, client)
        try:
            status_due_s = 0.0
            while not self.is_closing:
                if self._loop.time() >= status_due_s:
                    status_due_s = self._loop.time() + STATUS_S
                    client.put(self._statuses())
                if messages := await client.take(status_due_s - self._loop.time()):
                    yield messages
        finally:
            for stream in streams:
                self._leave(stream, client)

    def _statuses(self) -> bytes:
        return _pack({"type": "statuses", "streams": [each.model_dump() for each in self._monitor.statuses()]})

    def _enter(self, stream: str, client: "_Client") -> None:
        self._clients.setdefault(stream, set()).add(client)
        if stream not in self._ends:
            monitor, take = self._monitor, self._take
            self._ends[stream] = [monitor.watch(stream, take), monitor.watch_refused(stream, take)]

    def _leave(self, stream: str, client: "_Client") -> None:
        clients = self._clients.get(stream, set())
        clients.discard(client)
        if not clients and stream in self._ends:
            del self._clients[stream]
            self._coarse.pop(stream, None)
            for end in self._ends.pop(stream):
                end()

    def _take(self, shown: Frames | RefusedCandidate) -> None:
        """In the monitor's thread, which never waits; a loop that is busy for long loses what is shown."""
        if self._n_waiting < MOST_WAITING and not self._loop.is_closed():
            self._n_waiting += 1
            self._loop.call_soon_threadsafe(self._deliver, shown)

    def _deliver(self, shown: Frames | RefusedCandidate) -> None:
        self._n_waiting -= 1
        if clients := self._clients.get(shown.stream):
            message = self._encode(shown) if isinstance(shown, Frames) else encode_refused(shown)
            for client in clients if message else ():
                client.put(message)

    def _encode(self, frames: Frames) -> bytes:
        """The message of what a stream may show of its frames; empty while that waits for more of them."""
        detail = self._detail(frames.stream)
        if detail == "full":
            return encode(frames, self._score_delay, detail)
        if detail == "none":
            return encode(without_picture(frames), self._score_delay, detail)
        coarse = self._coarse.setdefault(frames.stream, CoarsePicture()).take(frames)
        return b"" if coarse is None else encode(coarse, self._score_delay, detail)


class _Client:
    """A queue that drops its oldest."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque(maxlen=MOST_MESSAGES)
        self.came = asyncio.Event()

    def put(self, message: bytes) -> None:
        self._messages.append(message)
        self.came.set()

    async def take(self, timeout_s: float) -> bytes:
        """All that there is, after a while in which more may come."""
        try:
            await asyncio.wait_for(self.came.wait(), max(0.0, timeout_s))
            await asyncio.sleep(GATHER_S)
        except TimeoutError:
            pass
        self.came.clear()
        messages = b"".join(self._messages)
        self._messages.clear()
        return messages


def encode(frames: Frames, score_delay: int = 0, spectrogram: Detail = "full") -> bytes:
    """A message of type ``frames``; its arrays are ``features [T * K, n_mels]`` and ``scores [T, C]``.

    A row of scores tells of what was heard ``score_delay`` rows before.
    """
    header = {
        "type": "frames",
        "stream": frames.stream,
        "first_s": frames.first_ns / NS,
        "hop_s": frames.hop / frames.sample_rate_hz,
        "score_delay": score_delay,
        "spectrogram": spectrogram,
        "level_db": [round(float(level), 1) for level in frames.level_db],
        "arrays": {"features": frames.features.shape, "scores": frames.scores.shape},
    }
    features = (frames.features - LOWEST) / (HIGHEST - LOWEST)
    return _pack(header, _bytes_of(features), _bytes_of(frames.scores))


def encode_refused(refused: RefusedCandidate) -> bytes:
    """A message of type ``refused``: a sound that the judge did not confirm, from its begin to what the judge heard."""
    header = {
        "type": "refused",
        "stream": refused.stream,
        "label": refused.label,
        "onset_s": refused.onset_ns / NS,
        "until_s": refused.until_ns / NS,
        "score": round(refused.score, 4),
    }
    return _pack(header)


def _bytes_of(values: NDArray[np.float32]) -> bytes:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8).tobytes()


def _pack(header: object, *arrays: bytes) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([struct.pack("<I", len(text)), text, *arrays])
