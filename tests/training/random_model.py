"""A model with random weights and statistics, as good as a trained one where quality does not matter."""

import torch

from earmark.training.config import ModelConfig
from earmark.training.model import Crnn

N_MELS = 64


def random_model(n_labels: int) -> Crnn:
    """For inference; the same every time."""
    torch.manual_seed(0)
    model = Crnn(ModelConfig(), N_MELS, n_labels).eval()
    model.mean.normal_(-5, 1)
    model.scale.uniform_(0.2, 0.5)
    for conv in model.convs:
        conv.norm.running_mean.normal_()
        conv.norm.running_var.uniform_(0.5, 2)
    return model
