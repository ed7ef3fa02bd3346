"""What was really there to hear, what was durably decided about it, and what an undisturbed engine says of the same."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.clock import SampleClock
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import AudioBlock, Gap, GapReason
from tests.support.simulation import Engine, stored_events

RATE_HZ = 16_000
HOP = 640
"""The tiny bundle's output hop."""
_BLOCK = 4_096


@dataclass
class Act:
    """What an engine did for another reason than its audio: ``shed`` or ``interrupt``.

    ``needed`` had come and ``decided`` was decided on; it went on at ``to``.
    """

    kind: str
    needed: int
    decided: int
    to: int


@dataclass
class Decided:
    """What one engine, or all of them durably, decided on of an epoch."""

    heard: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    is_short_of_replay: bool = False
    """The ring had lost audio that a replay needed: its scores are right, but not those of an undisturbed engine."""


class Epoch:
    """One streamer run of a stream: its whole audio, and what became durable about it."""

    def __init__(self, stream: str, number: int, can_wait: bool, clock: SampleClock):
        self.stream, self.number, self.can_wait, self.clock = stream, number, can_wait, clock
        self.pcm = np.zeros(0, np.int16)
        self.is_lost = np.zeros(0, bool)
        self._is_shed = np.zeros(0, bool)
        self.durable = Decided()
        self.has_landed = self.has_ended = False
        self.needed = self.decided = 0
        """Of the last commit: what had come, and what was decided on."""
        self.holes: list[range] = []
        """Where it was not heard; a row began after each."""
        self._heard_until = 0

    def hear(self, pcm: NDArray[np.int16], *, is_lost: bool = False):
        self.pcm = np.concatenate([self.pcm, pcm])
        self.is_lost = np.concatenate([self.is_lost, np.full(len(pcm), is_lost)])
        self._is_shed = np.concatenate([self._is_shed, np.zeros(len(pcm), bool)])

    def land(self, decided: Decided):
        """A commit with these decisions is durable: no sample is decided twice, and each is what was there to hear."""
        self.has_landed = True
        for begin, end in decided.lost:
            self.is_lost[begin:end] = True
        for act in decided.acts:
            self._is_shed[act.decided : act.to] |= act.kind == "shed"
        for begin, audio in decided.heard:
            end = begin + len(audio)
            assert begin >= self._heard_until, f"{self.stream}: sample {begin} is decided twice"
            self._check_unheard(begin)
            if begin > self._heard_until:
                self.holes.append(range(self._heard_until, begin))
            expected = np.where(self.is_lost[begin:end], 0, self.pcm[begin:end]) / np.float32(32768)
            assert np.array_equal(audio, expected), f"{self.stream}: other audio than was heard at {begin}"
            self._heard_until = end
        self.durable.acts += decided.acts
        self.durable.is_short_of_replay |= decided.is_short_of_replay

    def check_end(self):
        """What was sent is what was analysed and what is lost."""
        if self.has_ended:
            self._check_unheard(len(self.pcm))

    def _check_unheard(self, until: int):
        """Between what is lost, less than a hop before it and after it is too little to be heard."""
        is_unheard = ~(self.is_lost | self._is_shed)[self._heard_until : until]
        edges = np.flatnonzero(np.diff(is_unheard, prepend=False, append=False))
        longest = max(np.diff(edges)[::2], default=0)
        assert longest < 2 * HOP, f"{self.stream}: {longest} samples between {self._heard_until} and {until} not heard"


def undisturbed(bundle: Bundle, outbox: Path, epochs: list[Epoch], **settings: Any) -> list[SoundEvent]:
    """The events of an engine that hears the same at one go, with the same gaps, of epochs in their order."""
    engine = Engine(bundle, outbox, **settings)
    for epoch in epochs:
        at = 0
        for act in epoch.durable.acts:
            _hear(engine, epoch, at, act.needed)
            _repeat(engine, epoch, act)
            at = act.to
        _hear(engine, epoch, at, len(epoch.pcm) if epoch.has_ended else epoch.needed)
        if epoch.has_ended:
            end = len(epoch.pcm)
            engine.deliver(_record(epoch, end, end, end=True))
        else:
            _open(engine, epoch).mark(epoch.stream)
        engine.commit()
        if not epoch.has_ended and not epoch.durable.is_short_of_replay:
            point = engine.outbox.load(epoch.stream).checkpoint
            decided = point and point.decided_sample
            assert decided == epoch.decided, f"{epoch.stream}: decided {epoch.decided}, undisturbed {decided}"
    engine.die()
    return stored_events(outbox)


def _open(engine: Engine, epoch: Epoch):
    """The analyser, with the epoch open: nothing was delivered of it, or it was interrupted before."""
    analyser = engine.analyser
    stream = analyser.streams.get(epoch.stream)
    if stream is not None and stream.epoch != epoch.number:
        analyser.mark(epoch.stream)
        engine.commit()
        analyser.drop(epoch.stream)
    if epoch.stream not in analyser.streams:
        analyser.open(epoch.stream, epoch.number, engine.outbox.load(epoch.stream))
    return analyser


def _repeat(engine: Engine, epoch: Epoch, act: Act):
    analyser = _open(engine, epoch)
    if act.kind == "shed":
        analyser._shed(analyser.streams[epoch.stream], act.to, 0)
        engine.commit()
    else:
        analyser.interrupt(epoch.stream)
        engine.commit()
        analyser.drop(epoch.stream)


def _hear(engine: Engine, epoch: Epoch, begin: int, end: int):
    """Deliver a stretch: audio in blocks, what is lost as whole gaps."""
    end = min(end, len(epoch.pcm))  # an engine may need the next whole hop only
    is_lost = epoch.is_lost[begin:end]
    for run in np.split(np.arange(begin, end), np.flatnonzero(np.diff(is_lost)) + 1):
        if not len(run):
            continue
        first, last = int(run[0]), int(run[-1]) + 1
        length = last - first if epoch.is_lost[first] else _BLOCK
        for at in range(first, last, length):
            engine.deliver(_record(epoch, at, min(at + length, last)))


def _record(epoch: Epoch, begin: int, until: int, **flags: bool):
    common = {
        "stream": epoch.stream,
        "epoch": epoch.number,
        "first_sample": begin,
        "captured_at_ns": epoch.clock.utc_ns(begin),
        "sample_rate_hz": RATE_HZ,
        "newest_sample": until,
        "can_wait": True,
    }
    if until > begin and epoch.is_lost[begin]:
        return Gap(n_samples=until - begin, reason=GapReason.DEVICE, **common)
    return AudioBlock(pcm=epoch.pcm[begin:until], **common, **flags)
