"""Audio that waits to be analysed: one row of samples a slot, so that a batch is cut out of it in one gather."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.streams import Pcm

Slots: TypeAlias = NDArray[np.int64]


class AudioBuffers:
    """Bounded int16 buffers.

    Args:
        capacity: Samples a slot. Memory is touched only as far as a slot ever filled.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._pcm = np.empty((0, capacity), np.int16)
        self._begin = np.zeros(0, np.int64)
        self.fill = np.zeros(0, np.int64)
        """int64 ``[S]``: samples that wait."""

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        more = n_slots - len(self.fill)
        pcm = np.empty((n_slots, self.capacity), np.int16)
        for slot in range(len(self.fill)):
            used = slice(int(self._begin[slot]), int(self._begin[slot] + self.fill[slot]))
            pcm[slot, used] = self._pcm[slot, used]
        self._pcm = pcm
        self._begin = np.concatenate([self._begin, np.zeros(more, np.int64)])
        self.fill = np.concatenate([self.fill, np.zeros(more, np.int64)])

    def room(self, slot: int) -> int:
        """Samples that `append` takes now."""
        return self.capacity - int(self.fill[slot])

    def append(self, slot: int, pcm: Pcm) -> None:
        """Copy ``pcm``, int16 ``[n]`` with n at most `room`, behind what waits."""
        fill = int(self.fill[slot])
        begin = int(self._begin[slot]) if fill else 0
        if begin + fill + len(pcm) > self.capacity:
            self._pcm[slot, :fill] = self._pcm[slot, begin : begin + fill]
            begin = 0
        self._pcm[slot, begin + fill : begin + fill + len(pcm)] = pcm
        self._begin[slot] = begin
        self.fill[slot] = fill + len(pcm)

    def take(self, slots: Slots, n_samples: int) -> NDArray[np.float32]:
        """Remove the oldest ``n_samples`` of each slot; float32 ``[B, n_samples]`` in [-1, 1)."""
        where = self._begin[slots][:, None] + np.arange(n_samples)
        audio = self._pcm[slots[:, None], where].astype(np.float32)
        audio *= np.float32(1 / 32768)
        self._begin[slots] += n_samples
        self.fill[slots] -= n_samples
        return audio

    def clear(self, slot: int) -> None:
        """Forget what waits."""
        self.fill[slot] = 0
