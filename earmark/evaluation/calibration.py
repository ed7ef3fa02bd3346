"""Whether a score of 0.7 means that 7 of 10 such frames are true.

M. P. Naeini, G. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.evaluation.annotations import LabelledEvent


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often scores were right, in bins of equal width over [0, 1].

    Attributes:
        edges: float64 ``[n_bins + 1]``.
        counts: int64 ``[n_bins]``: scores in each bin; a score of 1 is in the last.
        true_sums: int64 ``[n_bins]``: how many of them were true.
        score_sums: float64 ``[n_bins]``: their sum.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    true_sums: NDArray[np.int64]
    score_sums: NDArray[np.float64]

    @classmethod
    def empty(cls, n_bins: int = 10) -> "Reliability":
        """Without any score."""
        zeros = np.zeros(n_bins, np.int64)
        return cls(np.linspace(0, 1, n_bins + 1), zeros, zeros, np.zeros(n_bins))

    def add(self, scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> "Reliability":
        """A new one with these scores in [0, 1] and whether each was true; both of the same shape, any."""
        n_bins = len(self.counts)
        bins = np.minimum((scores.ravel() * n_bins).astype(np.int64), n_bins - 1)
        return Reliability(
            self.edges,
            self.counts + np.bincount(bins, minlength=n_bins),
            self.true_sums + np.bincount(bins[truth.ravel()], minlength=n_bins),
            self.score_sums + np.bincount(bins, scores.ravel().astype(np.float64), minlength=n_bins),
        )

    @property
    def true_share(self) -> NDArray[np.float64]:
        """Share of each bin's scores that were true, NaN in an empty bin."""
        return np.where(self.counts > 0, self.true_sums / np.maximum(self.counts, 1), np.nan)

    @property
    def mean_score(self) -> NDArray[np.float64]:
        """Mean of each bin's scores, NaN in an empty bin."""
        return np.where(self.counts > 0, self.score_sums / np.maximum(self.counts, 1), np.nan)

    @property
    def expected_error(self) -> float:
        """Expected calibration error: ``sum(n_b / n * |true share_b - mean score_b|)``; NaN without scores."""
        n_scores = int(self.counts.sum())
        return float(np.abs(self.true_sums - self.score_sums).sum() / n_scores) if n_scores else float("nan")


def active_frames(
    events: Iterable[LabelledEvent], n_frames: int, frame_s: float, labels: Sequence[str]
) -> NDArray[np.bool_]:
    """Where classes are truly on, bool ``[n_frames, C]``: a frame is, where an event covers its middle.

    Args:
        events: True events of one file.
        n_frames: Of the file's scores.
        frame_s: Length of a frame.
        labels: The classes.
    """
    active = np.zeros((n_frames, len(labels)), np.bool_)
    middle_s = (np.arange(n_frames) + 0.5) * frame_s
    place = {label: index for index, label in enumerate(labels)}
    for event in events:
        if event.label in place:
            first, end = np.searchsorted(middle_s, (event.onset_s, event.offset_s))
            active[first:end, place[event.label]] = True
    return active
