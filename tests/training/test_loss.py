import pytest
import torch

from earmark.training.config import LossConfig
from earmark.training.loss import event_loss, peak_loss, total_loss

T, C = 10, 4


def scene(*classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, event labels and event frames of one scene with each class all the time."""
    labels = torch.zeros(1, T, C)
    labels[..., list(classes)] = 1
    event_labels = torch.full((1, 3), -1)
    event_frames = torch.zeros(1, 3, T)
    for i, label in enumerate(classes):
        event_labels[0, i], event_frames[0, i] = label, 1
    return labels, event_labels, event_frames


def certain(*classes: int) -> torch.Tensor:
    logits = torch.full((1, T, C), -12.0)
    logits[..., list(classes)] = 12
    return logits


@pytest.mark.parametrize("classes", [(), (1,), (0, 2)])
def test_the_truth_costs_next_to_nothing(classes: tuple[int, ...]):
    assert total_loss(certain(*classes), *scene(*classes), LossConfig()) < 0.01


def test_a_class_that_sounds_meanwhile_is_no_rival():
    labels, event_labels, event_frames = scene(0, 2)
    assert event_loss(certain(0, 2), labels, event_labels, event_frames) < 0.01
    assert event_loss(certain(0, 1, 2), labels, event_labels, event_frames) > 0.5


def test_one_wrong_peak_costs():
    labels, *_ = scene(0)
    logits = certain(0)
    calm = peak_loss(logits, labels)
    logits[0, 3, 1] = 20
    assert peak_loss(logits, labels) > calm + 1
