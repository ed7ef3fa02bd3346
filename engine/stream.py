"""What the analyser knows of its streams: what is asked of all at once in arrays by slot, the rest in a `Stream`."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.events import SoundEvent
from engine.buffers import Slots

NO_SAMPLE = -1
_ARRIVALS = 8
"""Arrivals that are remembered of a stream."""


class StreamTable:
    """The sample clocks of all streams, by slot.

    Attributes:
        epoch: uint64 ``[S]``: run of the streamer.
        needed: int64 ``[S]``: the next sample that should arrive.
        gap_start: int64 ``[S]``: first sample of the gap that arrived last, -1 when audio did.
        resend_from: int64 ``[S]``: what to ask the streamer for; -1 when nothing is missing.
        acknowledged: int64 ``[S]``: `needed` as the streamer was last told.
        newest: int64 ``[S]``: end of what the streamer held when it last sent.
        n_blocks: int64 ``[S]``: blocks taken, not yet counted in the metrics.
        n_samples: int64 ``[S]``: their samples.
    """

    def __init__(self) -> None:
        self.epoch = np.zeros(0, np.uint64)
        self.needed = np.zeros(0, np.int64)
        self.gap_start = np.zeros(0, np.int64)
        self.resend_from = np.zeros(0, np.int64)
        self.acknowledged = np.zeros(0, np.int64)
        self.newest = np.zeros(0, np.int64)
        self.n_blocks = np.zeros(0, np.int64)
        self.n_samples = np.zeros(0, np.int64)
        self._arrival_end = np.zeros((0, _ARRIVALS), np.int64)
        self._arrival_s = np.zeros((0, _ARRIVALS), np.float64)
        self._arrival_place = np.zeros(0, np.int64)

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        for name, old in vars(self).items():
            new = np.zeros((n_slots, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def open(self, slot: int, epoch: int) -> None:
        """Begin an epoch at its first sample."""
        self.epoch[slot] = epoch
        self.gap_start[slot] = self.resend_from[slot] = NO_SAMPLE
        self.needed[slot] = self.acknowledged[slot] = self.newest[slot] = self.n_blocks[slot] = self.n_samples[slot] = 0
        self._arrival_end[slot] = self._arrival_s[slot] = self._arrival_place[slot] = 0

    def note_arrivals(self, slots: Slots, ends: NDArray[np.int64], now_s: float) -> None:
        """Remember when audio up to ``ends [K]`` came to ``slots [K]``, which are distinct."""
        oldest = self._arrival_place[slots]
        self._arrival_end[slots, oldest] = ends
        self._arrival_s[slots, oldest] = now_s
        self._arrival_place[slots] = (oldest + 1) % _ARRIVALS

    def arrived_s(self, slot: int) -> float:
        """Monotonic time of the last arrival; 0 before the first."""
        return float(self._arrival_s[slot].max())

    def arrived_at(self, slot: int, sample: int) -> float | None:
        """Monotonic arrival of the audio that brought the sample before ``sample``; None if none did.

        Of a backlog only the last arrivals are remembered: the oldest of them then.
        """
        brought = self._arrival_s[slot][self._arrival_end[slot] >= sample]
        return float(brought.min()) if len(brought) else None


@dataclass(slots=True)
class Stream:
    """One epoch of one stream.

    Attributes:
        name: Its name.
        slot: Its place in the arrays.
        epoch: Run of its streamer.
        revision: What the outbox holds of it as far as this engine knows.
        table: Holds its clock.
        keep_sample: Everything before it is committed.
        end: End of the epoch, once it is known.
        events: Decided, not yet committed.
        retired: Epochs that the next commit ends for good.
        refused: Labels of onsets that the judge refused, not yet committed.
    """

    name: str
    slot: int
    epoch: int
    revision: int
    table: StreamTable
    keep_sample: int = 0
    end: int | None = None
    events: list[SoundEvent] = field(default_factory=list[SoundEvent])
    retired: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    refused: list[str] = field(default_factory=list[str])

    @property
    def needed(self) -> int:
        """The next sample that should arrive."""
        return int(self.table.needed[self.slot])

    @needed.setter
    def needed(self, sample: int) -> None:
        self.table.needed[self.slot] = sample

    @property
    def arrived_s(self) -> float:
        """Monotonic time of the last arrival of audio; 0 before the first."""
        return self.table.arrived_s(self.slot)

    @property
    def gap_start(self) -> int:
        """First sample of the gap that arrived last, -1 when audio did."""
        return int(self.table.gap_start[self.slot])

    @gap_start.setter
    def gap_start(self, sample: int) -> None:
        self.table.gap_start[self.slot] = sample

    @property
    def resend_from(self) -> int:
        """What to ask the streamer for; -1 when nothing is missing."""
        return int(self.table.resend_from[self.slot])

    @resend_from.setter
    def resend_from(self, sample: int) -> None:
        self.table.resend_from[self.slot] = sample
