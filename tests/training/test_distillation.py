"""The teacher's head reads the right frames, and learns."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from earmark.training.config import ModelConfig
from earmark.training.distillation import TeacherHead
from earmark.training.loss import Target
from earmark.training.model import Crnn
from earmark.training.teacher import COLUMN

B, T, SIZE, OUTPUT_HOP = 24, 100, 6, 640
N_COLUMNS = 11
"""Whose frames have all been heard, with every delay."""
PER_COLUMN = COLUMN // OUTPUT_HOP
DELAYS = [0, 2, 4]
STEPS = 60


@pytest.fixture
def model() -> Crnn:
    return Crnn(ModelConfig(channels=(2, 2, 2, 2, 2), hidden=3), 64, 3)


@pytest.fixture
def seen(model: Crnn) -> Tensor:
    return torch.randn(B, T, model.seen, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def heard() -> Tensor:
    return torch.randn(B, T, 3, generator=torch.Generator().manual_seed(1))


def taught(seen: Tensor, heard: Tensor, delay: int) -> Tensor:
    """What follows from the two columns' time after each column's centre, ``delay`` frames late."""
    features = torch.cat([seen, heard], -1)
    rule = torch.randn(features.shape[-1], SIZE, generator=torch.Generator().manual_seed(2))
    columns = []
    for i in range(N_COLUMNS):
        first = i * PER_COLUMN + delay
        columns.append(features[:, first : first + 2 * PER_COLUMN].mean(1) @ rule + 0.3)
    return torch.stack(columns, 1)


def target(taught: Tensor) -> Target:
    none = torch.zeros(B, T, 3)
    return Target(none, torch.full((B, 1), -1), torch.zeros(B, 1, T), taught, torch.ones(B))


def learnt(head: TeacherHead, seen: Tensor, heard: Tensor, wanted: Target, delay: int) -> float:
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = head.loss(seen, heard, wanted, delay)
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.loss(seen, heard, wanted, delay).item()


@pytest.mark.parametrize("delay", DELAYS)
def test_what_can_be_predicted_is_learnt(model: Crnn, seen: Tensor, heard: Tensor, delay: int):
    wanted = target(taught(seen, heard, delay))
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    assert head.loss(seen, heard, wanted, delay) > 0.5
    assert learnt(head, seen, heard, wanted, delay) < 1e-4


def test_another_delay_reads_other_frames(model: Crnn, seen: Tensor, heard: Tensor):
    wanted = target(taught(seen, heard, 0))
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    assert learnt(head, seen, heard, wanted, 2) > 0.05


def test_what_is_taught_is_standardised(model: Crnn, seen: Tensor, heard: Tensor):
    """The mean is all that a head of zeros says: its loss is the variance, 1, whatever its scale."""
    wanted = target(taught(seen, heard, 2) * 50 + 7)
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    torch.nn.init.zeros_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    assert head.loss(seen, heard, wanted, 2).item() == pytest.approx(1, rel=0.01)


def test_a_number_that_never_changes_asks_for_nothing(model: Crnn, seen: Tensor, heard: Tensor):
    wanted = target(torch.full((B, N_COLUMNS, SIZE), 3.0))
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    torch.nn.init.zeros_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    assert head.loss(seen, heard, wanted, 2).item() == pytest.approx(0, abs=1e-6)


def test_impure_rows_do_not_count(model: Crnn, seen: Tensor, heard: Tensor):
    wanted = target(taught(seen, heard, 2))
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    pure = (torch.arange(B) >= B // 2).float()
    spoilt = wanted.taught.clone()
    spoilt[: B // 2] += 100
    mixed = head.loss(seen, heard, replace(wanted, taught=spoilt, is_pure=pure), 2)
    half = slice(B // 2, None)
    alone = replace(wanted, taught=wanted.taught[half], is_pure=torch.ones(B - B // 2))
    torch.testing.assert_close(mixed, head.loss(seen[half], heard[half], alone, 2))


def test_nothing_is_learnt_from_impure_rows_alone(model: Crnn, seen: Tensor, heard: Tensor):
    wanted = replace(target(taught(seen, heard, 2)), is_pure=torch.zeros(B))
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    loss = head.loss(seen, heard, wanted, 2)
    loss.backward()
    assert loss.item() == 0
    assert all(not p.grad.any() for p in head.parameters())


def test_a_column_that_is_not_heard_in_time_is_left_out(model: Crnn, seen: Tensor, heard: Tensor):
    """Column 10 is answered by frames 80 to 96, and up to 4 frames later by what is heard of 100."""
    wanted = target(taught(seen, heard, 0))
    head = TeacherHead(model, wanted.taught, OUTPUT_HOP)
    spoilt = wanted.taught.clone()
    spoilt[:, 10] += 100
    for delay, counts in ((4, True), (5, False)):
        as_is, other = (head.loss(seen, heard, replace(wanted, taught=each), delay) for each in (wanted.taught, spoilt))
        assert (other > as_is + 1).item() == counts
        assert torch.isfinite(as_is)
