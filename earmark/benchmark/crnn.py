"""A network as DCASE's baselines of task 4 have been for years, with random weights: seven convolutions, two biGRUs.

Each convolution is 3x3 with batch norm, a gate (a linear layer times a sigmoid) and average pooling; the recurrent
layers have 128 units a direction; a linear layer and an attention over all time answer. It hears a whole clip, so it is
computed anew for each answer. What makes its log-mel is not counted.
"""

from typing import Any

_CHANNELS = (1, 16, 32, 64, 128, 128, 128, 128)
_POOLING = ((2, 2), (2, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 2))
_N_BANDS, _N_FRAMES, _N_UNITS, _N_CLASSES = 128, 626, 128, 10
"""10 s at 16 kHz with a hop of 256 samples."""


def make_crnn(torch: Any) -> tuple[Any, Any]:
    """The network, ready to run, and one clip's log-mel, float32 ``[1, 1, 626, 128]``.

    Args:
        torch: The package PyTorch.
    """
    nn = torch.nn

    class Gate(nn.Module):
        def __init__(self, n_channels: int) -> None:
            nn.Module.__init__(self)
            self.linear = nn.Conv2d(n_channels, n_channels, 1)

        def forward(self, hidden: Any) -> Any:
            return self.linear(hidden) * hidden.sigmoid()

    class Crnn(nn.Module):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            layers: list[Any] = []
            for n_in, n_out, pooling in zip(_CHANNELS[:-1], _CHANNELS[1:], _POOLING, strict=True):
                layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), Gate(n_out)]
                layers.append(nn.AvgPool2d(pooling))
            self.convolutions = nn.Sequential(*layers)
            self.recurrent = nn.GRU(_CHANNELS[-1], _N_UNITS, num_layers=2, bidirectional=True, batch_first=True)
            self.strong = nn.Linear(2 * _N_UNITS, _N_CLASSES)
            self.attention = nn.Linear(2 * _N_UNITS, _N_CLASSES)

        def forward(self, features: Any) -> tuple[Any, Any]:
            hidden = self.convolutions(features).squeeze(-1).transpose(1, 2)
            hidden, _ = self.recurrent(hidden)
            scores, weights = self.strong(hidden).sigmoid(), self.attention(hidden).softmax(dim=-1)
            return scores, (scores * weights).sum(1) / weights.sum(1)

    network: Any = Crnn()
    return network.eval(), torch.randn(1, 1, _N_FRAMES, _N_BANDS)
