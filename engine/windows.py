"""Sliding windows: which row of the state bank scores a stream, and since when.

A stream that runs for weeks must not drift, and a crash must be repairable. So every ``window_s`` a fresh row starts,
warms up for ``warmup_s`` beside the old one, and takes over. Starts lie on a grid of the sample clock that is shifted
by a hash of the stream's name, so that streams do not warm up together. At an epoch's start and after a reset one row
starts and scores at once. A score is a function of the audio since its row began.
"""

import hashlib
from heapq import heappop, heappush

import numpy as np

from earmark.contracts.bundle import BundleSpec
from engine.runtimes import Runtime

_NONE = -1


class Windows:
    """The rows of every slot.

    Args:
        spec: Gives the window, the warm-up and the output hop, which they are rounded to.
        runtime: Owns the bank; grown as needed.
    """

    def __init__(self, spec: BundleSpec, runtime: Runtime) -> None:
        self._runtime = runtime
        self._hop = spec.output_hop
        self._window, self._warmup = spec.window_samples, spec.warmup_samples
        self._free: list[int] = []
        self._shift = np.zeros(0, np.int64)
        self.row = np.zeros(0, np.int32)
        """int32 ``[S]``: the row whose scores count."""
        self.row_start = np.zeros(0, np.int64)
        """int64 ``[S]``: the first sample that it has seen."""
        self.warming = np.zeros(0, np.int32)
        """int32 ``[S]``: the row that warms up, -1 for none."""
        self._warming_start = np.zeros(0, np.int64)
        self.boundary = np.zeros(0, np.int64)
        """int64 ``[S]``: the sample at which `cross` is due; no step may pass it."""

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        more = n_slots - len(self.row)
        for name in ("_shift", "row_start", "_warming_start", "boundary"):
            setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more, np.int64)]))
        for name in ("row", "warming"):
            setattr(self, name, np.concatenate([getattr(self, name), np.full(more, _NONE, np.int32)]))

    def begin(self, slot: int, stream: str, start: int) -> None:
        """Start one row at ``start``, a whole output hop, which scores at once; other rows of the slot die."""
        self.end(slot)
        digest = hashlib.blake2b(stream.encode(), digest_size=8).digest()
        self._shift[slot] = int.from_bytes(digest, "little") % (self._window // self._hop) * self._hop
        self.row[slot] = self._take_row()
        self.row_start[slot] = start
        self._set_boundary(slot, start)

    def end(self, slot: int) -> None:
        """Give the slot's rows back."""
        for rows in (self.row, self.warming):
            if rows[slot] != _NONE:
                heappush(self._free, int(rows[slot]))
                rows[slot] = _NONE

    def cross(self, slot: int, position: int) -> None:
        """Do what is due at ``position``, which is the slot's `boundary`."""
        if self.warming[slot] != _NONE and position == self._warming_start[slot] + self._warmup:
            heappush(self._free, int(self.row[slot]))
            self.row[slot], self.warming[slot] = self.warming[slot], _NONE
            self.row_start[slot] = self._warming_start[slot]
        if position == self.grid_start(slot, position) and position > self.row_start[slot]:
            self.warming[slot] = self._take_row()
            self._warming_start[slot] = position
        self._set_boundary(slot, position)

    def grid_start(self, slot: int, sample: int) -> int:
        """The newest start on the grid that is not after ``sample``."""
        shift = int(self._shift[slot])
        return (sample - shift) // self._window * self._window + shift

    def _set_boundary(self, slot: int, position: int) -> None:
        boundary = self.grid_start(slot, position) + self._window
        if self.warming[slot] != _NONE:
            boundary = min(boundary, int(self._warming_start[slot]) + self._warmup)
        self.boundary[slot] = boundary

    def _take_row(self) -> int:
        """The lowest free row, fresh: a runtime works best on rows that lie close together."""
        if not self._free:
            n_rows = self._runtime.n_rows
            self._runtime.reserve(max(2, 2 * n_rows))
            self._free = list(range(n_rows, self._runtime.n_rows))
        row = heappop(self._free)
        self._runtime.reset(np.array([row], np.int32))
        return row
