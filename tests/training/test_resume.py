"""Killed and gone on == uninterrupted: weights, optimiser, carried state and the loss's curve, to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from earmark.training.config import TrainConfig
from earmark.training.experiment import Experiment
from earmark.training.loop import Trainer
from tests.training.small_data import write_small_data
from tests.training.test_feed import LevelTeacher

STEPS = 7
OPTIM = {
    "steps": STEPS, "batch": 4, "pool": 16, "warmup_steps": 2, "evaluate_every": 3, "checkpoint_every": 2,
    "mixup_share": 0.5, "bf16": False, "threads": 1,
}  # fmt: skip
Curves = dict[str, list[tuple[int, float]]]


class Killed(Exception):  # noqa: N818 -- not an error
    """The power went."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"))


def experiment(data: Path, cache: Path) -> Experiment:
    """A tiny run, with a teacher that needs no file."""
    made = Experiment(
        TrainConfig.model_validate(
            {
                "name": "tones", "description": "three tones", "data": data, "cache": cache, "out": cache / "bundle",
                "naming": {"neutral": ["pink_noise"]}, "scenes": {"duration_s": 2.0},
                "model": {"channels": [4, 4, 4, 4, 4], "hidden": 8}, "optim": OPTIM,
            }
        )
    )  # fmt: skip
    made._teacher = LevelTeacher(len(made.labels))
    return made


def train_until(monkeypatch: pytest.MonkeyPatch, run: Experiment, killed_in: int) -> None:
    """Train, but for the power going at the end of a step, before anything of it is saved."""

    def step(trainer: Trainer, *arguments: Any) -> dict[str, float]:
        losses = original(trainer, *arguments)
        if trainer.step == killed_in:
            raise Killed
        return losses

    original = Trainer._step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Killed):
            run.train()


def saved(run: Experiment) -> dict[str, Any]:
    return torch.load(run.checkpoint, weights_only=True)


def curves(run: Experiment) -> Curves:
    """What TensorBoard shows."""
    events = EventAccumulator(str(run.checkpoint.parent)).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same(found: Any, expected: Any, where: str = "checkpoint") -> None:
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, value in enumerate(expected):
            assert_same(found[i], value, f"{where}[{i}]")
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    run = experiment(data, tmp_path_factory.mktemp("whole"))
    run.train()
    return run


def test_the_whole_run_logs_each_step_once(uninterrupted: Experiment):
    logged = curves(uninterrupted)
    assert {"loss/all", "loss/frame", "loss/teacher", "dev/accuracy"} <= set(logged)
    assert [step for step, _ in logged["loss/all"]] == list(range(1, STEPS + 1))
    assert [step for step, _ in logged["dev/accuracy"]] == [3, 6, 7]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(1,), (4,), (5, 6), (7,)], ids=str)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, uninterrupted: Experiment, kills: tuple[int, ...]
):
    """Steps 2, 4 and 6 are saved; 1 is lost for good, 5 and 7 are done again."""
    for killed_in in kills:
        train_until(monkeypatch, experiment(data, tmp_path), killed_in)
    run = experiment(data, tmp_path)
    model = run.train()
    assert_same(saved(run), saved(uninterrupted))
    assert_same(model.state_dict(), uninterrupted.load().state_dict())
    assert curves(run) == curves(uninterrupted)


def test_a_finished_run_is_not_trained_again(data: Path, uninterrupted: Experiment):
    before, logged = saved(uninterrupted), curves(uninterrupted)
    again = experiment(data, uninterrupted.config.cache)
    model = again.train()
    assert_same(saved(again), before)
    assert_same(model.state_dict(), again.load().state_dict())
    assert curves(again) == logged


def longer(run: Experiment, **length: int) -> Experiment:
    """The same run of another length, with the checkpoints of the first."""
    optim = run.config.optim.model_copy(update=length)
    made = Experiment(run.config.model_copy(update={"optim": optim}))
    made._teacher = LevelTeacher(len(made.labels))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", [None, 6])
def test_a_run_with_a_cooldown_is_made_longer_as_if_it_had_been_so_from_the_start(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, killed_in: int | None
):
    """The first one cools down from step 4 on: whether it ended or not, the longer one resumes from step 4."""
    short, long = {"steps": 7, "cooldown_steps": 3}, {"steps": 9, "cooldown_steps": 2}
    whole = longer(experiment(data, tmp_path / "whole"), **long)
    whole.train()
    first = longer(experiment(data, tmp_path / "cache"), **short)
    if killed_in is None:
        first.train()
    else:
        train_until(monkeypatch, first, killed_in)
    second = longer(experiment(data, tmp_path / "cache"), **long)
    assert second.checkpoint == first.checkpoint
    second.train()
    assert_same(saved(second), saved(whole))


def test_what_is_not_trained_to_its_end_is_exported_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path, uninterrupted: Experiment
):
    train_until(monkeypatch, experiment(data, tmp_path), killed_in=5)
    with capture_logs() as logged:
        experiment(data, tmp_path).load()
        assert [(line["steps"], line["of"]) for line in logged] == [(4, STEPS)]
        uninterrupted.load()
    assert len(logged) == 1
