"""Augmentation of log-mel features: random equalisers (FilterAugment; Nam et al., 2022), gain, masks in time."""

import math

import torch
from torch import Tensor

_LN_PER_DB = math.log(10) / 10


def augment(features: Tensor, generator: torch.Generator, *, max_db: float = 6.0, max_mask: int = 12) -> Tensor:
    """A copy with each row filtered, made louder or softer and masked in its own way.

    Args:
        features: float32 ``[B, T, n_mels]``, natural logarithm of power.
        generator: Every random choice comes from here; advanced.
        max_db: The filter's largest gain or loss at any band.
        max_mask: The longest mask, frames; two a row.
    """
    filters = _filters(features.shape[0], features.shape[2], generator, max_db)
    return _mask_time(features + filters[:, None], generator, max_mask)


def _filters(rows: int, n_mels: int, generator: torch.Generator, max_db: float) -> Tensor:
    """Gains ``[rows, n_mels]``, linear between 3 to 6 random bands."""
    gains = torch.empty(rows, n_mels)
    for row in range(rows):
        n_knots = int(torch.randint(3, 7, (), generator=generator))
        inner = torch.randint(1, n_mels - 1, (n_knots - 2,), generator=generator)
        knots = torch.cat([torch.tensor([0]), inner.unique(), torch.tensor([n_mels - 1])])
        levels_db = (2 * torch.rand(len(knots), generator=generator) - 1) * max_db
        right = torch.bucketize(torch.arange(n_mels), knots).clamp(1)
        left_at, right_at = knots[right - 1], knots[right]
        share = (torch.arange(n_mels) - left_at) / (right_at - left_at)
        gains[row] = torch.lerp(levels_db[right - 1], levels_db[right], share)
    return gains * _LN_PER_DB


def _mask_time(features: Tensor, generator: torch.Generator, max_mask: int) -> Tensor:
    rows, n_frames, _ = features.shape
    frames = torch.arange(n_frames)
    for _ in range(2):
        length = torch.randint(0, max_mask + 1, (rows, 1), generator=generator)
        start = torch.randint(0, n_frames - max_mask, (rows, 1), generator=generator)
        masked = (frames >= start) & (frames < start + length)
        features = torch.where(masked[..., None], features.amin(dim=(1, 2), keepdim=True), features)
    return features
