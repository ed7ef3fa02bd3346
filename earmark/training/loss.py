"""The loss: is a class there in each frame, which one is this event, what is in the scene at all?"""

import torch
from torch import Tensor
from torch.nn import functional

from earmark.training.config import LossConfig

_IMPOSSIBLE = -1e4


def total_loss(
    logits: Tensor, labels: Tensor, event_labels: Tensor, event_frames: Tensor, weights: LossConfig
) -> Tensor:
    """The weighted sum of four parts.

    Args:
        logits: float32 ``[B, T, C]``.
        labels: float32 ``[B, T, C]``, 0 or 1.
        event_labels: int64 ``[B, E]``, -1 for none.
        event_frames: float32 ``[B, E, T]``, 0 or 1.
        weights: Of the parts.
    """
    return (
        weights.frame * frame_loss(logits, labels)
        + weights.event * event_loss(logits, labels, event_labels, event_frames)
        + weights.clip * clip_loss(logits, labels)
        + weights.peak * peak_loss(logits, labels)
    )


def frame_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the classes of a frame: what makes scores probabilities."""
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(-1).mean()


def event_loss(logits: Tensor, labels: Tensor, event_labels: Tensor, event_frames: Tensor) -> Tensor:
    """Cross-entropy of the logits averaged over an event, other classes that sound meanwhile left out."""
    share = event_frames / event_frames.sum(-1, keepdim=True).clamp(min=1)
    mean_logits = torch.bmm(share, logits)
    meanwhile = torch.bmm(share, labels) > 0
    own = functional.one_hot(event_labels.clamp(min=0), logits.shape[-1]).bool()
    mean_logits = mean_logits.masked_fill(meanwhile & ~own, _IMPOSSIBLE)
    real = (event_labels >= 0) & (event_frames.sum(-1) > 0)
    if not real.any():
        return logits.new_zeros(())
    return functional.cross_entropy(mean_logits[real], event_labels[real])


def clip_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of each class's linear softmax over time (Wang et al., 2019), summed over classes."""
    scores = torch.sigmoid(logits)
    pooled = (scores.square().sum(1) / scores.sum(1).clamp(min=1e-4)).clamp(1e-5, 1 - 1e-5)
    return functional.binary_cross_entropy(pooled, labels.amax(1), reduction="none").sum(-1).mean()


def peak_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy between soft maxima over time of a scene's classes and those of absent classes.

    It is the maximum of a clip that names it, so a wrong class must not peak, not even for a moment.
    """
    peaks = torch.logsumexp(logits, dim=1)
    present = labels.amax(1) > 0
    if not present.any():
        return logits.new_zeros(())
    absent = torch.logsumexp(peaks.masked_fill(present, _IMPOSSIBLE), dim=1, keepdim=True)
    return functional.softplus(absent - peaks)[present].mean()
