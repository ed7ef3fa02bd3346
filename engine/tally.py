"""What is counted of every stream between two looks at it: how much was analysed, and how loud it was."""

import numpy as np
from numpy.typing import NDArray

from engine.buffers import Slots
from engine.coverage import Coverage


class Tally:
    """Counts by slot.

    Attributes:
        advanced: int64 ``[S]``: samples by which the clock of what is analysed advanced, gaps included.
        lost: int64 ``[S]``: samples that never came.
    """

    def __init__(self) -> None:
        self.advanced = np.zeros(0, np.int64)
        self.lost = np.zeros(0, np.int64)
        self._analysed = np.zeros(0, np.int64)
        self._power = np.zeros((0, 2))

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        for name, old in vars(self).items():
            setattr(self, name, np.concatenate([old, np.zeros((n_slots - len(old), *old.shape[1:]), old.dtype)]))

    def clear(self, slot: int) -> None:
        """Start again from nothing."""
        self.advanced[slot] = self.lost[slot] = self._analysed[slot] = self._power[slot] = 0

    def add(self, slots: Slots, n_samples: int, powers: NDArray[np.float64]) -> None:
        """Count ``n_samples`` that were analysed of each slot, whose mean squares are ``powers [B, T]``."""
        self._analysed[slots] += n_samples
        self.advanced[slots] += n_samples
        self._power[slots, 0] += powers.sum(axis=1)
        self._power[slots, 1] += powers.shape[1]

    def fill(self, slot: int, n_samples: int) -> None:
        """Take back what `add` will count of silence that takes the place of a gap: nobody heard it."""
        self._analysed[slot] -= n_samples
        self.advanced[slot] -= n_samples

    def move(self, slot: int, coverage: Coverage, now_s: float) -> int:
        """Move what was counted since the last call into ``coverage``; the samples that were analysed."""
        # Silence for a gap is taken back before it is analysed, so the count may be in debt for a moment.
        analysed = max(0, int(self._analysed[slot]))
        self._analysed[slot] -= analysed
        coverage.add(now_s, analysed, int(self.advanced[slot]))
        coverage.lose(now_s, int(self.lost[slot]))
        self.advanced[slot] = self.lost[slot] = 0
        return analysed

    def take_level(self, slot: int) -> float | None:
        """Mean power since the last call, full scale 1; None where nothing was analysed."""
        power, n = self._power[slot].tolist()
        self._power[slot] = 0
        return power / n if n else None
