"""Augmentation of log-mel features: random equalisers (FilterAugment; Nam et al., 2022), masks in time, mixup.

Chance comes from torch's own generator, which the loop seeds in every step.
"""

import math

import torch
from torch import Tensor

from earmark.training.loss import Target

_LN_PER_DB = math.log(10) / 10


def augment(features: Tensor, *, max_db: float = 6.0, max_mask: int = 12) -> Tensor:
    """A copy with each row filtered, made louder or softer and masked in its own way.

    Args:
        features: float32 ``[B, T, n_mels]``, natural logarithm of power.
        max_db: The filter's largest gain or loss at any band.
        max_mask: The longest mask, frames; two a row.
    """
    filters = _filters(features.shape[0], features.shape[2], max_db)
    return _mask_time(features + filters[:, None], max_mask)


def mixup(features: Tensor, target: Target, share: float, *, max_db: float = 10.0) -> tuple[Tensor, Target]:
    """The first rows with the row before mixed in, as their sound would add up, labels joined (Zhang et al., 2018).

    Args:
        features: float32 ``[B, T, n_mels]``, natural logarithm of power.
        target: Of the same rows.
        share: Of the rows that are mixed.
        max_db: The largest gain or loss of what is mixed in.
    """
    n_mixed = round(len(features) * share)
    if not n_mixed:
        return features, target
    gains = (2 * torch.rand(n_mixed, 1, 1) - 1).to(features.device) * max_db * _LN_PER_DB
    louder = torch.logaddexp(features[:n_mixed], features.roll(1, 0)[:n_mixed] + gains)
    is_mixed = torch.arange(len(features), device=features.device) < n_mixed
    more_labels = torch.where(is_mixed[:, None], target.event_labels.roll(1, 0), -1)
    return torch.cat([louder, features[n_mixed:]]), Target(
        labels=torch.maximum(target.labels, target.labels.roll(1, 0) * is_mixed[:, None, None]),
        event_labels=torch.cat([target.event_labels, more_labels], 1),
        event_frames=torch.cat([target.event_frames, target.event_frames.roll(1, 0)], 1),
        taught=target.taught,
        is_pure=(~is_mixed).float(),
    )


def _filters(rows: int, n_mels: int, max_db: float) -> Tensor:
    """Gains ``[rows, n_mels]``, linear between 3 to 6 random bands."""
    gains = torch.empty(rows, n_mels)
    for row in range(rows):
        n_knots = int(torch.randint(3, 7, ()))
        inner = torch.randint(1, n_mels - 1, (n_knots - 2,))
        knots = torch.cat([torch.tensor([0]), inner.unique(), torch.tensor([n_mels - 1])])
        levels_db = (2 * torch.rand(len(knots)) - 1) * max_db
        right = torch.bucketize(torch.arange(n_mels), knots).clamp(1)
        left_at, right_at = knots[right - 1], knots[right]
        share = (torch.arange(n_mels) - left_at) / (right_at - left_at)
        gains[row] = torch.lerp(levels_db[right - 1], levels_db[right], share)
    return gains * _LN_PER_DB


def _mask_time(features: Tensor, max_mask: int) -> Tensor:
    rows, n_frames, _ = features.shape
    frames = torch.arange(n_frames)
    for _ in range(2):
        length = torch.randint(0, max_mask + 1, (rows, 1))
        start = torch.randint(0, n_frames - max_mask, (rows, 1))
        masked = (frames >= start) & (frames < start + length)
        features = torch.where(masked[..., None], features.amin(dim=(1, 2), keepdim=True), features)
    return features
