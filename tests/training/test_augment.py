"""Augmentation says what it did: labels follow the sound."""

import math

import pytest
import torch

from earmark.training.augment import augment, mixup
from earmark.training.loss import Target

B, T, N_MELS, C, E = 6, 40, 16, 5, 3


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(B, T, N_MELS, generator=torch.Generator().manual_seed(0)) * 2 - 6


@pytest.fixture
def target() -> Target:
    chance = torch.Generator().manual_seed(1)
    return Target(
        labels=(torch.rand(B, T // 2, C, generator=chance) > 0.8).float(),
        event_labels=torch.randint(-1, C, (B, E), generator=chance),
        event_frames=(torch.rand(B, E, T // 2, generator=chance) > 0.5).float(),
        taught=torch.rand(B, 2, 7, generator=chance),
        is_pure=torch.ones(B),
    )


def test_no_share_is_no_change(features: torch.Tensor, target: Target):
    mixed, after = mixup(features, target, 0.0)
    assert mixed is features
    assert after is target


@pytest.mark.parametrize(("share", "n_mixed"), [(0.5, 3), (1.0, B)])
def test_power_adds_up(features: torch.Tensor, target: Target, share: float, n_mixed: int):
    torch.manual_seed(2)
    mixed, _ = mixup(features.double(), target, share, max_db=10)
    assert torch.equal(mixed[n_mixed:], features[n_mixed:].double())
    gains_db = []
    for row in range(n_mixed):
        added = mixed[row].exp() - features[row].double().exp()
        gain = added / features[row - 1].double().exp()
        torch.testing.assert_close(gain, gain.mean().expand_as(gain), rtol=1e-4, atol=0)
        gains_db.append(10 * math.log10(gain.mean()))
    assert -10 <= min(gains_db) < max(gains_db) <= 10


@pytest.mark.parametrize(("share", "n_mixed"), [(0.5, 3), (1.0, B)])
def test_labels_are_united(features: torch.Tensor, target: Target, share: float, n_mixed: int):
    _, after = mixup(features, target, share)
    for row in range(B):
        is_mixed = row < n_mixed
        other = target.labels[row - 1] if is_mixed else torch.zeros(T // 2, C)
        assert torch.equal(after.labels[row].bool(), target.labels[row].bool() | other.bool())
        assert torch.equal(after.event_labels[row, :E], target.event_labels[row])
        assert torch.equal(after.event_frames[row, :E], target.event_frames[row])
        if is_mixed:
            assert torch.equal(after.event_labels[row, E:], target.event_labels[row - 1])
            assert torch.equal(after.event_frames[row, E:], target.event_frames[row - 1])
        else:
            assert (after.event_labels[row, E:] == -1).all()
        assert after.is_pure[row] == float(not is_mixed)
    assert torch.equal(after.taught, target.taught)


def test_chance_is_torchs_own_and_the_input_stays(features: torch.Tensor):
    before, drawn = features.clone(), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(augment(features))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(features, before)


def test_a_filter_is_the_same_all_the_time(features: torch.Tensor):
    torch.manual_seed(0)
    gains = augment(features, max_db=6, max_mask=0) - features
    torch.testing.assert_close(gains, gains[:, :1].expand_as(gains), rtol=0, atol=1e-5)
    assert 0.1 < gains.abs().max() <= 6 * math.log(10) / 10 + 1e-5
