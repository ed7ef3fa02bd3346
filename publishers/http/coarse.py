"""How much of a stream's sound its picture shows: all, too little to rebuild speech, or nothing.

Speech can be rebuilt from 64 mel bands every 20 ms. It is carried by changes of a few times a second, so a coarse
picture averages over more than that: half a second, and an eighth of the mel scale. Its cells lie on a fixed grid of
the sample clock, so that looking twice shows nothing more.
"""

from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.monitor import Frames

Detail: TypeAlias = Literal["full", "coarse", "none"]
CELL_S, BANDS = 0.5, 8


class _Run(NamedTuple):
    """What frames must share to belong to one cell."""

    epoch: str
    hop: int
    next_sample: int


class CoarsePicture:
    """Averages one stream's frames over cells of half a second and eight bands."""

    def __init__(self) -> None:
        self._run: _Run | None = None
        self._held: Frames | None = None

    def take(self, frames: Frames) -> Frames | None:
        """Add frames; those of the cells that they complete, None where they complete none.

        Returns:
            ``features`` are ``[T * K, 8]`` and ``level_db`` is ``[T]``, both the mean power of the cell in each of its
            frames; ``scores`` are as they came.
        """
        if self._held is not None and self._run == _Run(frames.epoch, frames.hop, frames.first_sample):
            frames = _joined(self._held, frames)
        cell = _cell_scores(frames)
        n_scores, first = len(frames.scores), -(frames.first_sample // frames.hop) % cell
        if first:  # a cell whose start did not come
            frames, n_scores = _cut(frames, min(first, n_scores), n_scores), max(0, n_scores - first)
        whole = n_scores // cell * cell
        self._held = _cut(frames, whole, n_scores)
        self._run = _Run(frames.epoch, frames.hop, frames.first_sample + n_scores * frames.hop)
        return _averaged(_cut(frames, 0, whole), cell) if whole else None


def without_picture(frames: Frames) -> Frames:
    """The frames with scores and levels alone: ``features`` are ``[0, 0]``."""
    return replace(frames, features=np.zeros((0, 0), np.float32))


def _cell_scores(frames: Frames) -> int:
    """Scores of one cell."""
    return max(1, -int(-CELL_S * frames.sample_rate_hz // frames.hop))


def _cut(frames: Frames, first: int, end: int) -> Frames:
    """Some of the frames, by index of their scores."""
    n_features = len(frames.features) // max(1, len(frames.scores))
    return replace(
        frames,
        first_sample=frames.first_sample + first * frames.hop,
        first_ns=frames.first_ns + first * frames.hop * 1_000_000_000 // frames.sample_rate_hz,
        level_db=frames.level_db[first:end],
        features=frames.features[first * n_features : end * n_features],
        scores=frames.scores[first:end],
    )


def _joined(held: Frames, frames: Frames) -> Frames:
    if not len(held.scores):
        return frames
    return replace(
        held,
        level_db=np.concatenate([held.level_db, frames.level_db]),
        features=np.concatenate([held.features, frames.features]),
        scores=np.concatenate([held.scores, frames.scores]),
    )


def _averaged(frames: Frames, cell: int) -> Frames:
    n_features = len(frames.features) // len(frames.scores) * cell
    bands = np.array_split(np.exp(frames.features), BANDS, axis=1)
    powers = np.stack([band.mean(axis=1) for band in bands if band.shape[1]], axis=1)
    return replace(
        frames,
        level_db=10 * np.log10(_held_mean(np.power(np.float32(10), frames.level_db / 10), cell)),
        features=np.log(_held_mean(powers, n_features)),
    )


def _held_mean(rows: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Each of ``n`` rows in place of which their mean stands; ``rows`` are whole such groups."""
    means = rows.reshape(-1, n, *rows.shape[1:]).mean(axis=1)
    return np.repeat(means, n, axis=0).astype(np.float32)
