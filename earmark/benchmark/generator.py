"""Thousands of streamers in one process: jittered blocks in real time, from streams that leave and join.

A stream that leaves says so with its last block, and the engine acknowledges its end once everything before it is
analysed and committed. So each one that leaves tells how long the way from its last sample to a durable decision was,
and every sample that was sent is accounted for.
"""

import heapq
import math
import random
import time
from array import array
from collections.abc import Generator as Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from earmark.benchmark.load import Street, read_audio
from earmark.benchmark.measuring import cpu_seconds, resident_mb
from earmark.contracts.addresses import ack_address, needs_ipv6
from earmark.contracts.curve import CurveClient, connect_encrypted
from earmark.contracts.wire import decode_ack, encode_records

_HIGH_WATER_MARK = 8
_LEAVES_EVERY_S = 0.1
_AWAY_S = (0.1, 0.5)
_JITTER = 0.5
"""Most that a block comes late, in blocks; so a stream's blocks keep their order."""
_STALLED_S = 10.0


@dataclass(frozen=True)
class Load:
    """What to send.

    Attributes:
        engine: Address that takes blocks.
        engine_pid: Its process.
        n_streams: How many at once; one that leaves comes back soon.
        block: Samples of a block: the output hop, so that whatever is sent can be analysed.
        sample_rate_hz: Of the audio.
        warm_up_s: Audio before delays count.
        audio_s: Audio of each stream after that.
        data: See `load.read_audio`.
        real_time: Whether blocks come when their last sample would have been heard; else as the engine takes them.
        give_up_s: Ends it once blocks leave so much too late.
    """

    engine: str
    engine_pid: int
    n_streams: int
    block: int
    sample_rate_hz: int
    warm_up_s: float
    audio_s: float
    data: Path
    real_time: bool = True
    give_up_s: float = 1.0

    def unpaced(self) -> "Load":
        """The warm-up alone, as fast as the engine takes it."""
        return replace(self, audio_s=0.0, real_time=False)

    def lasting(self, duration_s: float) -> "Load":
        """The same for so long, however late."""
        return replace(self, warm_up_s=0.0, audio_s=duration_s, give_up_s=math.inf)


@dataclass
class Sent:
    """What became of a `Load`.

    Attributes:
        audio: What it was of.
        samples: In all blocks that were sent.
        blocks: How many those were.
        epochs: How often a stream joined.
        unanswered: Epochs whose end was not acknowledged.
        delays_ms: After the warm-up, of each stream that left before the end, when all do: from when its last block
            was due to the acknowledgement.
        late_ms: After the warm-up, how late blocks were sent, by the generator's or the engine's fault.
        engine_mb: The engine's memory when the first end was acknowledged.
        engine_busy: Share of its core that the engine took after the warm-up.
        generator_busy: The same of the generator.
        gave_up: It was ended because the engine took too little.
    """

    audio: str
    samples: int = 0
    blocks: int = 0
    epochs: int = 0
    unanswered: int = 0
    delays_ms: "array[float]" = field(default_factory=lambda: array("d"))
    late_ms: "array[float]" = field(default_factory=lambda: array("d"))
    engine_mb: float | None = None
    engine_busy: float | None = None
    generator_busy: float | None = None
    gave_up: bool = False


def generate(load: Load, curve: CurveClient | None = None) -> Sent:
    """Send it, with keys where the engine asks for them. All streams have left at the end.

    Raises:
        TimeoutError: The engine takes nothing for a long time.
    """
    heard, audio = read_audio(load.data, load.sample_rate_hz)
    street = Street(audio, load.n_streams, load.sample_rate_hz, load.block)
    with _sockets(load.engine, curve) as (push, acks):
        return _Generator(load, street, push, acks).run(Sent(heard))


@contextmanager
def _sockets(engine: str, curve: CurveClient | None) -> Iterator[tuple[Any, Any]]:
    context: zmq.Context[Any] = zmq.Context()
    push, acks = context.socket(zmq.PUSH), context.socket(zmq.SUB)
    push.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
    push.setsockopt(zmq.IMMEDIATE, 1)
    acks.setsockopt(zmq.RCVHWM, 0)
    acks.subscribe(b"")
    for channel in (push, acks):
        channel.setsockopt(zmq.IPV6, int(needs_ipv6(engine)))
    try:
        if curve is not None:
            connect_encrypted(push, curve)
            connect_encrypted(acks, curve)
        push.connect(engine)
        acks.connect(ack_address(engine))
        yield push, acks
    finally:
        context.destroy(linger=0)


class _Spent:
    """Processor time of the engine and of this process, from now on."""

    def __init__(self, engine_pid: int) -> None:
        self._engine_pid = engine_pid
        self._began = self._now()

    def busy(self) -> tuple[float, float]:
        """The shares of the time since then that they took."""
        wall_s, engine_s, own_s = self._now() - self._began
        return round(float(engine_s / wall_s), 3), round(float(own_s / wall_s), 3)

    def _now(self) -> NDArray[np.float64]:
        return np.array([time.monotonic(), cpu_seconds(self._engine_pid), time.process_time()])


class _Generator:
    """Blocks by when they are due. Each stream's next block is in the heap, once."""

    def __init__(self, load: Load, street: Street, push: Any, acks: Any) -> None:
        self._load = load
        self._street = street
        self._push = push
        self._acks = acks
        self._random = random.Random(0)  # noqa: S311 -- no secret
        self._block_s = load.block / load.sample_rate_hz
        self._first = [0] * load.n_streams
        self._began_s = [0.0] * load.n_streams
        self._due: list[tuple[float, int]] = []
        self._awaited: dict[int, tuple[int, float]] = {}
        self._is_heard = False

    def run(self, sent: Sent) -> Sent:
        load, start_s = self._load, time.monotonic()
        warm_s, end_s = start_s + load.warm_up_s, start_s + load.warm_up_s + load.audio_s
        for i in range(load.n_streams):
            self._join(i, start_s + self._block_s * self._random.random(), sent)
        next_leave_s, leaving, since = start_s, 0, None
        while self._due and not sent.gave_up:
            due_s, i = heapq.heappop(self._due)
            self._wait_until(due_s, sent)
            ends = due_s >= end_s
            leaves = ends or (load.real_time and self._is_heard and due_s >= next_leave_s and i == leaving)
            if leaves and not ends:
                next_leave_s, leaving = due_s + _LEAVES_EVERY_S, (leaving + 1) % load.n_streams
            counts = due_s >= warm_s and load.real_time
            if counts and since is None:
                since = _Spent(load.engine_pid)
            now_s = self._send(i, due_s, sent, end=leaves, counts=counts and not ends)
            if counts:
                sent.late_ms.append(1e3 * max(0.0, now_s - due_s))
                sent.gave_up = now_s - due_s > load.give_up_s
            if not leaves:
                self._plan(i)
            elif not ends:
                self._join(i, due_s + self._random.uniform(*_AWAY_S), sent)
        if since is not None:
            sent.engine_busy, sent.generator_busy = since.busy()
        self._settle(sent)
        return sent

    def _join(self, i: int, at_s: float, sent: Sent) -> None:
        self._street.next_epoch(i)
        self._first[i], self._began_s[i] = 0, at_s
        sent.epochs += 1
        self._plan(i)

    def _plan(self, i: int) -> None:
        """When the stream's next block leaves: its last sample was heard, and the way here took a while."""
        heard_s = self._began_s[i] + (self._first[i] + self._load.block) / self._load.sample_rate_hz
        heapq.heappush(self._due, (heard_s + self._random.uniform(0, _JITTER) * self._block_s, i))

    def _wait_until(self, due_s: float, sent: Sent) -> None:
        while True:
            left_ms = 1e3 * (due_s - time.monotonic()) if self._load.real_time else 0.0
            if not self._acks.poll(max(0, int(left_ms))):
                if left_ms < 1:
                    return
                continue
            self._take_acks(sent)

    def _take_acks(self, sent: Sent) -> None:
        self._is_heard = True
        now_s = time.monotonic()
        while True:
            try:
                ack = decode_ack(self._acks.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            end_sample, due_s = self._awaited.get(ack.epoch, (-1, math.nan))
            if ack.keep_sample == end_sample:
                del self._awaited[ack.epoch]
                if sent.engine_mb is None:
                    sent.engine_mb = resident_mb(self._load.engine_pid)
                if not math.isnan(due_s):
                    sent.delays_ms.append(1e3 * (now_s - due_s))

    def _send(self, i: int, due_s: float, sent: Sent, *, end: bool, counts: bool) -> float:
        first, self._first[i] = self._first[i], self._first[i] + self._load.block
        block = self._street.one(i, first, time.time_ns() - round(1e9 * self._block_s), end=end)
        message = encode_records([block])
        give_up_s = time.monotonic() + _STALLED_S
        while not self._push.poll(0, zmq.POLLOUT):
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"expected the engine to take a block within {_STALLED_S:g} s; look at its log")
            self._push.poll(1, zmq.POLLOUT)
        now_s = time.monotonic()
        if end:
            self._awaited[block.epoch] = (block.end_sample, min(due_s, now_s) if counts else math.nan)
        self._push.send(message, zmq.NOBLOCK)
        sent.samples += self._load.block
        sent.blocks += 1
        return now_s

    def _settle(self, sent: Sent) -> None:
        """Wait for the ends that are still on their way."""
        give_up_s = time.monotonic() + _STALLED_S
        while self._awaited and time.monotonic() < give_up_s and not sent.gave_up:
            if self._acks.poll(100):
                self._take_acks(sent)
        sent.unanswered = len(self._awaited)
