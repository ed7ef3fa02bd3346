"""The bank of states in a GPU's memory, and the steps that it records once and plays from then on.

A step is: one copy of row numbers and audio to the device, the rows' states gathered, the engine, the new states
scattered back, one copy of scores to the host. All of it is recorded per batch size and length of step (a CUDA graph),
with every buffer at its place for good, so that a steady load allocates nothing. So that few are recorded, batches are
rounded up to a power of two, and lengths are cut into those of `_HOPS`. The rows that fill a batch up all work on row 0
of the device's bank, which belongs to nobody.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import ShapeError
from engine.runtimes import Audio, Rows, Scores
from engine.runtimes.tensorrt.device import Address, Device, StepBuffers
from engine.runtimes.tensorrt.graph import row_length
from engine.runtimes.tensorrt.sidecar import LONGEST_STEP, Sidecar

_HOPS = (LONGEST_STEP, 5, 1)
_ALIGNMENT = 256
_N_SPARE = 1
"""Rows of the device's bank that are no caller's."""


@dataclass(frozen=True)
class _Step:
    """A recorded step with its views of the staging memory, which the next step of any size overwrites."""

    rows: NDArray[np.int32]
    audio: NDArray[np.float32]
    scores: NDArray[np.float32]
    play: Callable[[], None]


class TensorRtRuntime:
    """See `engine.runtimes.Runtime`.

    Args:
        bundle: What the engine was built from.
        sidecar: Says how large its steps may be.
        device: Has loaded it.

    Raises:
        GpuError: The GPU's memory is too small.
    """

    def __init__(self, bundle: Bundle, sidecar: Sidecar, device: Device) -> None:
        self.bundle = bundle
        self._device = device
        self._row_bytes = 4 * row_length(bundle.spec)
        self._limits = {
            hops: max(profile.batch[2] for profile in sidecar.profiles if profile.hops[0] <= hops <= profile.hops[2])
            for hops in _HOPS
        }
        self._n_rows = 0
        self._bank: Address = device.allocate(_N_SPARE * self._row_bytes)
        device.clear(self._bank, _N_SPARE * self._row_bytes)
        self._make_buffers()
        self._steps: dict[tuple[int, int], _Step] = {}

    def _make_buffers(self) -> None:
        spec, device = self.bundle.spec, self._device
        most_rows = max(self._limits.values())
        most_frames = max(rows * hops for hops, rows in self._limits.items())
        n_up = _aligned(4 * most_rows) + 4 * most_frames * spec.output_hop
        n_down = 4 * most_frames * len(spec.labels)
        self._up, self._down = device.staging(n_up), device.staging(n_down)
        self._up_at, self._scores_at = device.allocate(n_up), device.allocate(n_down)
        self._state_at = device.allocate(most_rows * self._row_bytes)
        self._new_state_at = device.allocate(most_rows * self._row_bytes)

    @property
    def n_rows(self) -> int:
        """Rows that the bank has."""
        return self._n_rows

    def reserve(self, n_rows: int) -> None:
        """Make the bank hold at least ``n_rows``; rows that are there keep their state.

        Raises:
            GpuError: The GPU's memory is too small.
        """
        if n_rows <= self._n_rows:
            return
        device, n_bytes = self._device, (_N_SPARE + self._n_rows) * self._row_bytes
        n_more = (n_rows - self._n_rows) * self._row_bytes
        bank = device.allocate(n_bytes + n_more)
        device.move(bank, self._bank, n_bytes)
        device.clear(bank + n_bytes, n_more)
        device.free(self._bank)
        self._bank, self._n_rows = bank, n_rows
        self._steps.clear()  # they know the old place

    def reset(self, rows: Rows) -> None:
        """Make these rows as if they had never heard anything.

        Raises:
            ShapeError: Not all are in the bank.
        """
        self._check_rows(rows)
        for row in rows:
            self._device.clear(self._bank + (_N_SPARE + int(row)) * self._row_bytes, self._row_bytes)

    def step(self, rows: Rows, audio: Audio) -> Scores:
        """Advance some rows by whole output hops; see `engine.runtimes.Runtime.step`.

        Raises:
            ShapeError: As there, or not all rows are in the bank.
            GpuError: The GPU failed.
        """
        hop = self.bundle.spec.output_hop
        if audio.ndim != 2 or len(audio) != len(rows) or not audio.size or audio.shape[1] % hop:
            raise ShapeError(f"expected audio of [{len(rows)}, T * {hop}], got {list(audio.shape)}")
        self._check_rows(rows)
        scores = np.empty((len(rows), audio.shape[1] // hop, len(self.bundle.spec.labels)), np.float32)
        for first_hop, n_hops in _cut(scores.shape[1]):
            hops, samples = slice(first_hop, first_hop + n_hops), slice(first_hop * hop, (first_hop + n_hops) * hop)
            limit = self._limits[n_hops]
            for first in range(0, len(rows), limit):
                part = slice(first, first + limit)
                scores[part, hops] = self._play(rows[part], audio[part, samples], n_hops)
        return scores

    def _check_rows(self, rows: Rows) -> None:
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._n_rows):
            raise ShapeError(f"expected rows of a bank of {self._n_rows}, got {rows.min()} to {rows.max()}")

    def _play(self, rows: Rows, audio: Audio, n_hops: int) -> Scores:
        """The scores of one recorded step: borrowed until the next."""
        n = len(rows)
        bucket = min(1 << (n - 1).bit_length(), self._limits[n_hops])
        step = self._steps.get((bucket, n_hops)) or self._record(bucket, n_hops)
        np.add(rows, _N_SPARE, out=step.rows[:n])
        step.rows[n:] = 0
        step.audio[:n] = audio
        step.audio[n:] = 0
        step.play()
        self._device.wait()
        return step.scores[:n]

    def _record(self, bucket: int, n_hops: int) -> _Step:
        """Record a step. Recording may run it, which then happens to the row that is nobody's."""
        spec, device = self.bundle.spec, self._device
        audio_from = _aligned(4 * bucket)
        n_up = audio_from + 4 * bucket * n_hops * spec.output_hop
        up, down = self._up[:n_up], self._down[: 4 * bucket * n_hops * len(spec.labels)]
        up[:] = 0
        buffers = StepBuffers(
            bucket, n_hops, self._up_at + audio_from, self._state_at, self._scores_at, self._new_state_at
        )
        size = {"n_rows": bucket, "row_bytes": self._row_bytes}

        def commands() -> None:
            device.upload(self._up_at, up)
            device.gather(self._state_at, self._bank, self._up_at, **size)
            device.infer(buffers)
            device.scatter(self._bank, self._new_state_at, self._up_at, **size)
            device.download(down, self._scores_at)

        self._steps[bucket, n_hops] = step = _Step(
            up[: 4 * bucket].view(np.int32),
            up[audio_from:].view(np.float32).reshape(bucket, -1),
            down.view(np.float32).reshape(bucket, n_hops, -1),
            device.record(commands),
        )
        return step


def _cut(n_hops: int) -> Iterator[tuple[int, int]]:
    """``n_hops`` as few lengths of `_HOPS`: where each begins, and its length."""
    first = 0
    for length in _HOPS:
        while n_hops - first >= length:
            yield first, length
            first += length


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
