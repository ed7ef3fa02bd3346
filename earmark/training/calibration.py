"""Moves all logits by one number, so that a threshold of 0.5 is where scenes like the training's are told best.

Rare events make honest probabilities low: most classes are absent most of the time. One shift for all classes keeps
their order, and with it whatever depends on the largest score.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from earmark.training.metrics import hysteresis, segment_score
from earmark.training.model import Crnn

_SHIFTS = np.arange(-2.0, 4.01, 0.25)
_BETA = 0.5
"""A false alarm is worse than a miss: a detector runs all day, and most of the day there is nothing to hear."""


def best_shift(scores: NDArray[np.float32], labels: NDArray[np.bool_], frames: int) -> float:
    """The shift with the best F score (beta 0.5) of one-second segments at thresholds of 0.5 and 0.3.

    Args:
        scores: In [0, 1], float32 ``[B, T, C]``.
        labels: bool ``[B, T, C]``.
        frames: Frames in a second.
    """
    logits = np.log(scores.clip(1e-7, 1 - 1e-7) / (1 - scores.clip(1e-7, 1 - 1e-7)))
    found = (hysteresis(_sigmoid(logits + shift)) for shift in _SHIFTS)
    return float(_SHIFTS[int(np.argmax([segment_score(on, labels, frames).f_score(_BETA) for on in found]))])


def shift_logits(model: Crnn, shift: float) -> None:
    """Add ``shift`` to every logit of ``model``, in place."""
    with torch.no_grad():
        model.head.bias += shift


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return 1 / (1 + np.exp(-logits))
