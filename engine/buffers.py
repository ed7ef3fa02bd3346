"""Audio that waits to be analysed: one row of samples a slot, so that a batch is cut out of it in one gather."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.arrays import pieces
from earmark.contracts.streams import Pcm

Slots: TypeAlias = NDArray[np.int64]


class AudioBuffers:
    """Bounded int16 buffers.

    Args:
        capacity: Samples a slot that may wait. Memory is touched only as far as a slot ever filled.
        history: Samples a slot that `latest` still knows after `take` removed them; they take as much memory again.
    """

    def __init__(self, capacity: int, history: int = 0) -> None:
        self.capacity = capacity
        self._history = history
        self._length = capacity + history
        self._pcm = np.empty((0, self._length), np.int16)
        self._begin = np.zeros(0, np.int64)
        self._taken = np.zeros(0, np.int64)
        """int64 ``[S]``: samples before ``_begin`` that are kept, ``history`` at most."""
        self.fill = np.zeros(0, np.int64)
        """int64 ``[S]``: samples that wait."""

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        more = n_slots - len(self.fill)
        pcm = np.empty((n_slots, self._length), np.int16)
        for slot in range(len(self.fill)):
            used = slice(int(self._begin[slot] - self._taken[slot]), int(self._begin[slot] + self.fill[slot]))
            pcm[slot, used] = self._pcm[slot, used]
        self._pcm = pcm
        for name in ("_begin", "_taken", "fill"):
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more, np.int64)]))

    @property
    def room(self) -> NDArray[np.int64]:
        """int64 ``[S]``: samples that each slot takes now."""
        return self.capacity - self.fill

    def append(self, slot: int, pcm: Pcm) -> None:
        """Copy ``pcm``, int16 ``[n]`` with n at most its `room`, behind what waits."""
        self._make_straight(slot, len(pcm))
        begin = int(self._begin[slot] + self.fill[slot])
        self._pcm[slot, begin : begin + len(pcm)] = pcm
        self.fill[slot] += len(pcm)

    def append_many(
        self, slots: Slots, offset: NDArray[np.int64], pcm: Pcm, begin: NDArray[np.int64], n_samples: NDArray[np.int64]
    ) -> None:
        """Copy K pieces of audio behind what waits; all of a slot fit into its `room`.

        Args:
            slots: int64 ``[K]``, in order.
            offset: int64 ``[K]``: samples that come before each piece here, in its slot.
            pcm: int16 ``[n]``, which has all of them.
            begin: int64 ``[K]``: where in it each one begins.
            n_samples: int64 ``[K]``: how long each one is.
        """
        is_last = ends_of_runs(slots)
        receiving, total = slots[is_last], (offset + n_samples)[is_last]
        too_far = self._begin[receiving] + self.fill[receiving] + total > self._length
        for slot, n_more in zip(receiving[too_far].tolist(), total[too_far].tolist(), strict=True):
            self._make_straight(slot, n_more)
        to = slots * self._length + self._begin[slots] + self.fill[slots] + offset
        for length in set(n_samples.tolist()):
            chosen = n_samples == length
            pieces(self._flat, length)[to[chosen]] = pieces(pcm, length)[begin[chosen]]
        self.fill[receiving] += total

    def _make_straight(self, slot: int, n_more: int) -> None:
        """Move what waits, and the history before it, to the front if ``n_more`` samples would not fit behind it."""
        begin, fill, taken = int(self._begin[slot]), int(self.fill[slot]), int(self._taken[slot])
        if begin + fill + n_more > self._length:
            self._pcm[slot, : taken + fill] = self._pcm[slot, begin - taken : begin + fill]
            self._begin[slot] = taken

    def take(self, slots: Slots, n_samples: int) -> NDArray[np.float32]:
        """Remove the oldest ``n_samples`` of each slot; float32 ``[B, n_samples]`` in [-1, 1).

        A slot that is there twice gets them twice, and loses them once.
        """
        audio = pieces(self._flat, n_samples)[slots * self._length + self._begin[slots]].astype(np.float32)
        self._begin[slots] += n_samples
        self.fill[slots] -= n_samples
        if self._history:
            self._taken[slots] = np.minimum(self._taken[slots] + n_samples, self._history)
        return np.multiply(audio, np.float32(1 / 32768), out=audio)

    def latest(self, slots: Slots) -> NDArray[np.float32]:
        """What was taken last of each slot, float32 ``[K, history]`` in [-1, 1); zeros before what there was."""
        audio = np.zeros((len(slots), self._history), np.float32)
        for row, slot in enumerate(slots.tolist()):
            begin, taken = int(self._begin[slot]), int(self._taken[slot])
            audio[row, self._history - taken :] = self._pcm[slot, begin - taken : begin]
        return np.multiply(audio, np.float32(1 / 32768), out=audio)

    @property
    def _flat(self) -> Pcm:
        return self._pcm.reshape(-1)

    def clear(self, slot: int) -> None:
        """Forget what waits, and what was taken."""
        self.fill[slot] = self._begin[slot] = self._taken[slot] = 0


def ends_of_runs(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where equal neighbours end, bool ``[K]``. `numpy.diff` takes ten times as long for a few."""
    is_last = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=is_last[:-1])
    return is_last
