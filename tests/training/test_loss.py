"""What the loss asks for, part by part."""

import pytest
import torch
from torch.nn import functional

from earmark.training.config import LossConfig
from earmark.training.loss import EDGE_FRAMES, Target, event_loss, frame_loss, peak_loss, total_loss

T, C = 10, 4


def scene(*classes: int) -> Target:
    """One scene with each class all the time."""
    labels = torch.zeros(1, T, C)
    labels[..., list(classes)] = 1
    event_labels = torch.full((1, 3), -1)
    event_frames = torch.zeros(1, 3, T)
    for i, label in enumerate(classes):
        event_labels[0, i], event_frames[0, i] = label, 1
    return Target(labels, event_labels, event_frames, torch.zeros(1, 0, 0), torch.ones(1))


def certain(*classes: int) -> torch.Tensor:
    logits = torch.full((1, T, C), -12.0)
    logits[..., list(classes)] = 12
    return logits


@pytest.mark.parametrize("classes", [(), (1,), (0, 2)])
def test_the_truth_costs_next_to_nothing(classes: tuple[int, ...]):
    parts = total_loss(certain(*classes), scene(*classes), LossConfig())
    assert set(parts) == {"frame", "event", "clip", "peak"}
    assert sum(parts.values()) < 0.01


def test_a_class_that_sounds_meanwhile_is_no_rival():
    target = scene(0, 2)
    right = (target.labels, target.event_labels, target.event_frames)
    assert event_loss(certain(0, 2), *right) < 0.01
    assert event_loss(certain(0, 1, 2), *right) > 0.5


def test_one_wrong_peak_costs():
    labels = scene(0).labels
    logits = certain(0)
    calm = peak_loss(logits, labels)
    logits[0, 3, 1] = 20
    assert peak_loss(logits, labels) > calm + 1


def test_weights_scale_the_parts():
    logits, target = torch.zeros(1, T, C), scene(1)
    ones = total_loss(logits, target, LossConfig(frame=1, event=1, clip=1, peak=1))
    chosen = total_loss(logits, target, LossConfig(frame=2, event=0, clip=3, peak=0.5))
    for name, weight in {"frame": 2, "event": 0, "clip": 3, "peak": 0.5}.items():
        assert ones[name] > 0
        torch.testing.assert_close(chosen[name], weight * ones[name])


def test_without_edges_the_frame_loss_is_plain_cross_entropy():
    labels = (torch.rand(2, 40, C, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    logits = torch.randn(2, 40, C, generator=torch.Generator().manual_seed(1))
    plain = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(-1).mean()
    assert frame_loss(logits, labels, 0.0) == plain
    assert frame_loss(logits, labels) == plain
    constant = torch.ones(2, 40, C)
    torch.testing.assert_close(frame_loss(logits, constant, 3.0), frame_loss(logits, constant))


@pytest.mark.parametrize(("onset", "offset"), [(10, 25), (1, 39), (12, 14), (0, 20), (30, 40)])
def test_exactly_the_frames_around_an_onset_and_offset_count_more(onset: int, offset: int):
    n_frames, edge = 40, 2.5
    labels = torch.zeros(1, n_frames, C)
    labels[0, onset:offset, 1] = 1
    # A frame's share of the loss is its gradient: at logits of 0 each one's is 0.5 either way.
    logits = torch.zeros(1, n_frames, C, requires_grad=True)
    (gradient,) = torch.autograd.grad(frame_loss(logits, labels, edge), logits)
    expected = torch.ones(1, n_frames, C)
    for change in {onset, offset} - {0, n_frames}:  # what the scene begins or ends with has no edge there
        expected[0, max(0, change - EDGE_FRAMES) : change + EDGE_FRAMES, 1] = 1 + edge
    torch.testing.assert_close(gradient.abs() * 2 * n_frames, expected)


def test_a_delayed_target_is_the_same_later():
    target = Target(
        labels=(torch.rand(2, T, C) > 0.5).float(),
        event_labels=torch.randint(-1, C, (2, 3)),
        event_frames=(torch.rand(2, 3, T) > 0.5).float(),
        taught=torch.rand(2, 4, 5),
        is_pure=torch.tensor([1.0, 0.0]),
    )
    late = target.delayed(3)
    assert torch.equal(late.labels[:, 3:], target.labels[:, :-3])
    assert torch.equal(late.event_frames[..., 3:], target.event_frames[..., :-3])
    assert not late.labels[:, :3].any()
    assert not late.event_frames[..., :3].any()
    assert torch.equal(target.delayed(0).labels, target.labels)
    for name in ("event_labels", "taught", "is_pure"):
        assert torch.equal(getattr(late, name), getattr(target, name))
