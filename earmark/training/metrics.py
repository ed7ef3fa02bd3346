"""Scores into decisions, and decisions against truth. Only what choosing a model needs; see `earmark.evaluation`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Active = NDArray[np.bool_]
Threshold = float | NDArray[np.float64]
"""One for all classes, or one a class, ``[C]``."""


@dataclass(frozen=True)
class SegmentScore:
    """Over all segments and classes together, 0 to 1."""

    precision: float
    recall: float

    def f_score(self, beta: float = 1.0) -> float:
        """F score, in which recall counts ``beta`` times as much as precision."""
        weight = beta * beta
        return (1 + weight) * self.precision * self.recall / max(1e-9, weight * self.precision + self.recall)


def hysteresis(scores: Scores, onset_threshold: Threshold = 0.5, offset_threshold: Threshold = 0.3) -> Active:
    """Where a class is on, bool ``[B, T, C]``: from a score at the first threshold until one below the second."""
    on = np.zeros(scores.shape, bool)
    state = np.zeros((scores.shape[0], scores.shape[2]), bool)
    for t in range(scores.shape[1]):
        state = (scores[:, t] >= onset_threshold) | (state & (scores[:, t] >= offset_threshold))
        on[:, t] = state
    return on


def onsets(active: Active) -> int:
    """How often any class goes on in bool ``[B, T, C]``."""
    return int((active[:, 1:] & ~active[:, :-1]).sum() + active[:, 0].sum())


def segment_score(found: Active, truth: Active, frames: int) -> SegmentScore:
    """Compare bool ``[B, T, C]`` in segments of ``frames``; one active frame makes an active segment."""
    found, truth = _by_segment(found, frames), _by_segment(truth, frames)
    hits = float((found & truth).sum())
    return SegmentScore(hits / max(1, int(found.sum())), hits / max(1, int(truth.sum())))


def _by_segment(active: Active, frames: int) -> Active:
    whole = active[:, : active.shape[1] // frames * frames]
    return whole.reshape(len(whole), -1, frames, whole.shape[2]).any(axis=2)
