"""Which class a clip is of, from one score a class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from earmark.evaluation.events import Counts, Tally

ClipScores = NDArray[np.float64]
"""In [0, 1], ``[N, C]``."""
Tags = NDArray[np.bool_]
"""``[N, C]``."""

_SMALLEST = 1e-7
_sklearn: Any = metrics
"""It has no types."""


@dataclass(frozen=True)
class Ranking:
    """How far up the true classes stand, 0 to 1; see `rank`.

    Attributes:
        accuracy: Share of clips whose highest class is true.
        top5: Share of clips with a true class among the five highest.
        mean_average_precision: Mean over the classes that are somewhere true.
        lwlrap: Label-weighted label-ranking average precision.
    """

    accuracy: float
    top5: float
    mean_average_precision: float
    lwlrap: float


def clip_score(scores: NDArray[np.float32]) -> ClipScores:
    """One score a class for a whole clip: the sigmoid of the mean over its frames of the scores' logits.

    Args:
        scores: float32 ``[T, C]`` in [0, 1]; 1e-7 and less count as 1e-7, as much below 1 too.

    Returns:
        float64 ``[C]`` in [0, 1]; zeros for a clip without a frame.
    """
    if not len(scores):
        return np.zeros(int(scores.shape[1]))
    inner = np.clip(scores.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    mean: ClipScores = np.log(inner / (1 - inner)).mean(axis=0, dtype=np.float64)
    return np.asarray(1 / (1 + np.exp(-mean)), np.float64)


def rank(scores: ClipScores, truth: Tags) -> Ranking:
    """Measure clips by the order of their scores alone.

    LWLRAP as in E. Fonseca et al., "Audio tagging with noisy labels and minimal supervision", DCASE 2019: the mean,
    over all pairs of a clip and a class true of it, of the precision down to that class's rank.

    Args:
        scores: ``[N, C]``.
        truth: ``[N, C]``, at least one class in each clip.
    """
    if not len(scores):
        return Ranking(math.nan, math.nan, math.nan, math.nan)
    best = np.argsort(-scores, axis=1, kind="stable")
    is_true = np.take_along_axis(truth, best, axis=1)
    present = np.flatnonzero(truth.any(axis=0))
    return Ranking(
        accuracy=float(is_true[:, 0].mean()),
        top5=float(is_true[:, :5].any(axis=1).mean()),
        mean_average_precision=float(np.mean([_average_precision(truth[:, c], scores[:, c]) for c in present])),
        lwlrap=float(_sklearn.label_ranking_average_precision_score(truth, scores, sample_weight=truth.sum(axis=1))),
    )


def _average_precision(truth: Tags, scores: ClipScores) -> float:
    return float(_sklearn.average_precision_score(truth, scores))


def count_tags(found: Tags, truth: Tags, labels: Sequence[str]) -> Tally:
    """Count the clips in which each class was found.

    Args:
        found: What was found: clip scores at or above each class's threshold, or classes with an event.
        truth: What is true.
        labels: The classes.
    """
    counts = np.stack([(found & truth).sum(0), (found & ~truth).sum(0), (~found & truth).sum(0)])
    return Tally({label: Counts(*counts[:, place].tolist()) for place, label in enumerate(labels)})


def confusions(scores: ClipScores, truth: Tags) -> NDArray[np.int64]:
    """How often each class was the highest of clips of each true class: int64 ``[C, C]``, rows are true classes."""
    n_labels = truth.shape[1]
    clips, true = np.nonzero(truth)
    counts = np.zeros((n_labels, n_labels), np.int64)
    if len(clips):
        np.add.at(counts, (true, scores.argmax(axis=1)[clips]), 1)
    return counts
