"""Learning from a teacher: a head, dropped at export, predicts what it says from the model's own features.

What the teacher makes of our own scenes is free, and says much more about a sound than the name of its class (FitNets;
Romero et al., 2015; ADR 6). The head reads both the convolutions and the GRU, so that neither has to learn from the
labels alone.
"""

import torch
from torch import Tensor, nn

from earmark.training.loss import Target
from earmark.training.model import Crnn
from earmark.training.teacher import COLUMN

_ANSWER_COLUMNS = 2
"""Columns' time, from a column's centre on, whose frames answer for it: the teacher hears as much to either side."""
_LEAST_STD = 0.05
"""Of a number that the teacher says, below which it is taken to say nothing."""


class TeacherHead(nn.Module):
    """Predicts standardised features and logits, a row for each of the teacher's columns.

    Args:
        model: Whose features it reads.
        taught: Of usual scenes, float32 ``[N, W, D]``, whose mean and spread count.
        output_hop: Samples from one frame to the next.
    """

    def __init__(self, model: Crnn, taught: Tensor, output_hop: int) -> None:
        super().__init__()
        self.register_buffer("mean", taught.mean(dim=(0, 1)))
        self.register_buffer("scale", 1 / taught.std(dim=(0, 1)).clamp(min=_LEAST_STD))
        self.linear = nn.Linear(model.seen + model.config.hidden, taught.shape[-1])
        self._hop = output_hop

    def loss(self, seen: Tensor, heard: Tensor, target: Target, delay_frames: int) -> Tensor:
        """Mean squared error over the columns that the model has heard enough of.

        Args:
            seen: ``[B, T, seen]``, of the convolutions.
            heard: ``[B, T, hidden]``, of the GRU.
            target: What the teacher said; of rows that have another mixed in nothing is asked.
            delay_frames: By which the model answers later.
        """
        features, n_frames = torch.cat([seen, heard], dim=-1), _ANSWER_COLUMNS * COLUMN // self._hop
        starts = [round(i * COLUMN / self._hop) + delay_frames for i in range(target.taught.shape[1])]
        starts = [start for start in starts if start + n_frames <= features.shape[1]]
        pooled = torch.stack([features[:, start : start + n_frames].mean(dim=1) for start in starts], dim=1)
        wanted = (target.taught[:, : pooled.shape[1]] - self.mean) * self.scale
        errors = (self.linear(pooled.float()) - wanted).square().mean(dim=(1, 2))
        return (errors * target.is_pure).sum() / target.is_pure.sum().clamp(min=1)
