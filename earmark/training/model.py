"""The causal CRNN in torch. State is an argument and a return value; offline is one step from fresh state."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.contracts.bundle import StateSpec
from earmark.training.config import ModelConfig

State = list[Tensor]
"""One tensor a `StateSpec`, ``[B, *shape]``."""

HOPS_PER_SCORE = 2
_TIME_STRIDES = {1: 2}
"""The second convolution halves the frame rate."""

_RARE = -4.0
"""First logit of every class: most are absent most of the time, which need not be learnt."""


class CausalConv(nn.Module):
    """3x3 convolution over [time, frequency], stride 2 in frequency; sees no later frame.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        time_stride: Frames in to a frame out.
    """

    def __init__(self, inputs: int, outputs: int, time_stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=(time_stride, 2), padding=(0, 1), bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.cache_frames = 3 - time_stride

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            x: ``[B, C_in, T, F]``, T a multiple of the stride.
            cache: ``[B, C_in, cache_frames, F]``, the frames before x.

        Returns:
            ``[B, C_out, T / time_stride, ceil(F / 2)]`` and the next cache.
        """
        x = torch.cat([cache.to(x.dtype), x], dim=2)
        return functional.relu(self.norm(self.conv(x))), x[:, :, -self.cache_frames :]

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution with its batch norm folded in."""
        norm = self.norm
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return self.conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class Crnn(nn.Module):
    """log-mel -> fixed normalisation -> causal convolutions -> GRU -> linear -> logits.

    Args:
        config: Widths.
        n_mels: Bands of a feature frame.
        n_labels: Classes.
    """

    def __init__(self, config: ModelConfig, n_mels: int, n_labels: int) -> None:
        super().__init__()
        self.config, self.n_mels, self.n_labels = config, n_mels, n_labels
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("scale", torch.ones(n_mels))
        widths = (1, *config.channels)
        self.convs = nn.ModuleList(
            CausalConv(widths[i], widths[i + 1], _TIME_STRIDES.get(i, 1)) for i in range(len(config.channels))
        )
        self.seen = widths[-1] * self._bands(len(config.channels))
        """Numbers in a frame after the convolutions."""
        self.gru = nn.GRU(self.seen, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, n_labels)
        nn.init.constant_(self.head.bias, _RARE)

    def _bands(self, depth: int) -> int:
        return -(-self.n_mels // 2**depth)

    def state_specs(self) -> tuple[StateSpec, ...]:
        """Names and shapes of the states, in the order of `State`."""
        convs = [
            StateSpec(name=f"conv{i + 1}", shape=(conv.conv.in_channels, conv.cache_frames, self._bands(i)))
            for i, conv in enumerate(self.convs)
        ]
        return (*convs, StateSpec(name="gru", shape=(self.config.hidden,)))

    def fresh_state(self, batch: int) -> State:
        """What a row begins with: zeros, which stand for frames of average loudness."""
        return [torch.zeros(batch, *spec.shape) for spec in self.state_specs()]

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """One step.

        Args:
            features: float32 ``[B, T, n_mels]``, T a multiple of `HOPS_PER_SCORE`.
            state: Of every row, not changed.

        Returns:
            Logits, float32 ``[B, T / HOPS_PER_SCORE, C]``, and the next state.
        """
        _, heard, after = self.encode(features, state)
        return self.classify(heard), after

    def encode(self, features: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `forward`, up to what the classes are told from.

        Returns:
            What the convolutions made of it, ``[B, T / HOPS_PER_SCORE, seen]``, what the GRU made of that,
            ``[B, T / HOPS_PER_SCORE, hidden]``, and the next state.
        """
        x = ((features - self.mean) * self.scale)[:, None]
        caches: State = []
        for conv, cache in zip(self.convs, state[:-1], strict=True):
            x, cache_out = conv(x, cache)
            caches.append(cache_out)
        seen = x.permute(0, 2, 1, 3).flatten(2)
        heard, hidden = self.gru(self.dropout(seen), state[-1][None].to(seen.dtype))
        return seen, heard, [*caches, hidden[0]]

    def classify(self, heard: Tensor) -> Tensor:
        """Logits, float32 ``[B, T, C]``, of encoded frames ``[B, T, hidden]``."""
        return self.head(self.dropout(heard)).float()


@dataclass(frozen=True)
class Cost:
    """What a model costs: trained and stored numbers, and arithmetic a second of audio."""

    parameters: int
    mflop_per_s: float

    def times(self, count: int) -> "Cost":
        """Of so many such models."""
        return Cost(count * self.parameters, count * self.mflop_per_s)


def cost(model: Crnn, hops_per_s: float) -> Cost:
    """Cost of the exported model; 1 multiplication with its addition is 2 FLOP.

    Args:
        model: The model.
        hops_per_s: Feature frames a second.
    """
    macs, rate, bands = 0.0, hops_per_s, model.n_mels
    for i, conv in enumerate(model.convs):
        rate, bands = rate / _TIME_STRIDES.get(i, 1), -(-bands // 2)
        macs += rate * bands * conv.conv.weight.numel()
    macs += rate * (model.gru.weight_ih_l0.numel() + model.gru.weight_hh_l0.numel() + model.head.weight.numel())
    return Cost(sum(p.numel() for p in model.parameters()), 2 * macs / 1e6)
