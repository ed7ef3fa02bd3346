"""A network that hears a whole window and says what sounds in it: a residual CNN with squeeze and excitation.

He et al., "Deep residual learning for image recognition", CVPR 2016; Hu et al., "Squeeze-and-excitation networks",
CVPR 2018. It is not causal and keeps no state, so it costs nothing until it is asked: it confirms what a streaming
network heard (ADR 27).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.training.config import WindowConfig

_RARE = -4.0
"""First logit of every class: most are absent from most windows."""
_SQUEEZED = 4
"""Channels to a channel of the squeezed layer."""


class ConvNorm(nn.Module):
    """A convolution that keeps the size but for its stride, and batch norm."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C_in, T, F]`` to ``[B, C_out, ceil(T / stride), ceil(F / stride)]``."""
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two convolutions, of which the second is excited, beside a short cut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3, 1)
        self.squeeze = nn.Linear(outputs, outputs // _SQUEEZED)
        self.excite = nn.Linear(outputs // _SQUEEZED, outputs)
        self.short_cut = ConvNorm(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C_in, T, F]`` to ``[B, C_out, ceil(T / stride), ceil(F / stride)]``."""
        y = self.second(functional.relu(self.first(x)))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean(dim=(2, 3))))))
        same = x if self.short_cut is None else self.short_cut(x)
        return functional.relu(y * gate[..., None, None] + same)


class WindowModel(nn.Module):
    """log-mel window -> fixed normalisation -> stem -> residual blocks -> mean and maximum -> linear -> logits.

    Args:
        config: Widths.
        n_mels: Bands of a feature frame.
        n_labels: Classes.
    """

    def __init__(self, config: WindowConfig, n_mels: int, n_labels: int) -> None:
        super().__init__()
        self.config, self.n_mels, self.n_labels = config, n_mels, n_labels
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("scale", torch.ones(n_mels))
        widths = config.channels
        self.stem = ConvNorm(1, widths[0], 5, 2)
        self.blocks = nn.ModuleList()
        for inputs, outputs, n_blocks in zip(widths[:-1], widths[1:], config.blocks, strict=True):
            self.blocks.append(Block(inputs, outputs, 2))
            self.blocks.extend(Block(outputs, outputs, 1) for _ in range(n_blocks - 1))
        self.n_pooled = 2 * widths[-1]
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.n_pooled, n_labels)
        nn.init.constant_(self.head.bias, _RARE)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, float32 ``[B, C]``, of windows ``[B, T, n_mels]``."""
        return self.classify(self.encode(features))

    def encode(self, features: Tensor) -> Tensor:
        """What the classes are told from, ``[B, n_pooled]``: means, and the largest over time of the bands' means."""
        x = functional.relu(self.stem(((features - self.mean) * self.scale)[:, None]))
        for block in self.blocks:
            x = block(x)
        by_time = x.mean(dim=3)
        return torch.cat([by_time.mean(dim=2), by_time.amax(dim=2)], dim=1)

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits, float32 ``[B, C]``."""
        return self.head(self.dropout(pooled)).float()


@dataclass(frozen=True)
class WindowCost:
    """What a model costs: trained numbers, and arithmetic a window."""

    parameters: int
    mflop: float


def window_cost(model: WindowModel, n_frames: int) -> WindowCost:
    """Cost of one window of ``n_frames``; 1 multiplication with its addition is 2 FLOP."""
    macs = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            macs += layer.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(layer, nn.Linear):
            macs += layer.weight.numel()

    hooks = [layer.register_forward_hook(count) for layer in model.modules()]
    with torch.inference_mode():
        model(torch.zeros(1, n_frames, model.n_mels))
    for hook in hooks:
        hook.remove()
    return WindowCost(sum(p.numel() for p in model.parameters()), 2 * macs / 1e6)
