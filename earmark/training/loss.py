"""The loss: is a class there in each frame, which one is this event, what is in the scene at all?"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from earmark.training.config import LossConfig
from earmark.training.feed import Examples

EDGE_FRAMES = 3
"""To either side of an onset or offset; 120 ms of the shipped model."""
PRESENT, ABSENT = 0.5, 0.1
"""Labels from which a class counts as there, and below which it counts as not there. The teacher's scores, which stand
for the labels of classes that nobody is sure of, may lie between."""
_IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class Target:
    """What is right for B rows.

    Attributes:
        labels: float32 ``[B, T, C]``, 0 or 1, or between where the teacher stands in for the list.
        event_labels: int64 ``[B, E]``, -1 for none.
        event_frames: float32 ``[B, E, T]``, 0 or 1.
        taught: float32 ``[B, W, D]``, what the teacher made of each column.
        is_pure: float32 ``[B]``, 0 for rows that have another mixed in, of which the teacher knows nothing.
    """

    labels: Tensor
    event_labels: Tensor
    event_frames: Tensor
    taught: Tensor
    is_pure: Tensor

    @classmethod
    def of(cls, examples: Examples, device: torch.device) -> Self:
        """The target of examples, on ``device``."""
        return cls(
            torch.from_numpy(examples.labels).to(device).float(),
            torch.from_numpy(examples.event_labels).to(device),
            torch.from_numpy(examples.event_frames).to(device).float(),
            torch.from_numpy(examples.taught).to(device).float(),
            torch.ones(len(examples.labels), device=device),
        )

    def delayed(self, frames: int) -> Self:
        """The same, to be answered ``frames`` later."""
        n_frames = self.labels.shape[1]
        return replace(
            self,
            labels=functional.pad(self.labels, (0, 0, frames, 0))[:, :n_frames],
            event_frames=functional.pad(self.event_frames, (frames, 0))[..., :n_frames],
        )


def total_loss(logits: Tensor, target: Target, weights: LossConfig) -> dict[str, Tensor]:
    """The weighted parts by name, whose sum is the loss.

    Args:
        logits: float32 ``[B, T, C]``.
        target: What is right.
        weights: Of the parts.
    """
    labels = target.labels
    return {
        "frame": weights.frame * frame_loss(logits, labels, weights.edge),
        "event": weights.event * event_loss(logits, labels, target.event_labels, target.event_frames),
        "clip": weights.clip * clip_loss(logits, labels),
        "peak": weights.peak * peak_loss(logits, labels),
    }


def frame_loss(logits: Tensor, labels: Tensor, edge_weight: float = 0.0) -> Tensor:
    """Binary cross-entropy, summed over the classes of a frame: what makes scores probabilities.

    A class counts ``1 + edge_weight`` times in the `EDGE_FRAMES` frames to either side of its onsets and offsets.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if edge_weight:
        losses = losses * (1 + edge_weight * _edges(labels))
    return losses.sum(-1).mean()


def _edges(labels: Tensor) -> Tensor:
    """1 in the frames around a change of ``labels [B, T, C]``, else 0."""
    present = labels >= PRESENT
    changes = functional.pad((present[:, 1:] != present[:, :-1]).float(), (0, 0, EDGE_FRAMES, EDGE_FRAMES))
    return functional.max_pool1d(changes.transpose(1, 2), 2 * EDGE_FRAMES, stride=1).transpose(1, 2)


def event_loss(logits: Tensor, labels: Tensor, event_labels: Tensor, event_frames: Tensor) -> Tensor:
    """Cross-entropy of the logits averaged over an event, other classes that sound meanwhile left out."""
    share = event_frames / event_frames.sum(-1, keepdim=True).clamp(min=1)
    mean_logits = torch.bmm(share, logits)
    meanwhile = torch.bmm(share, (labels >= ABSENT).float()) > 0
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
    peaks, most = torch.logsumexp(logits, dim=1), labels.amax(1)
    present = most >= PRESENT
    if not present.any():
        return logits.new_zeros(())
    absent = torch.logsumexp(peaks.masked_fill(most >= ABSENT, _IMPOSSIBLE), dim=1, keepdim=True)
    return functional.softplus(absent - peaks)[present].mean()
