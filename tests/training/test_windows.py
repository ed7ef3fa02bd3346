"""The judge's network: what it is asked, that its graph scores as it does, and one command that makes its bundle."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from earmark.app.cli import run_command
from earmark.contracts.bundle import FrontEnd, load_bundle
from earmark.contracts.errors import ConfigError
from earmark.training.clips import Clips
from earmark.training.config import TrainConfig, WindowConfig
from earmark.training.feed import Examples
from earmark.training.streaming import StreamedModel
from earmark.training.window_experiment import WindowExperiment
from earmark.training.window_graph import onnx_window_model
from earmark.training.window_model import WindowModel, window_cost
from earmark.training.windows import WindowHead, WindowObjective
from tests.training.small_data import LABELS, write_small_data

N_MELS, N_LABELS = 32, 3
WINDOW = WindowConfig(window_s=1.28, answer_s=0.8, channels=(8, 8, 16), blocks=(1, 2), per_scene=3)
HOPS, N_FRAMES = 4, 32
"""Hops a label and labels a window: 10 and 40 ms."""


@pytest.fixture
def model() -> WindowModel:
    torch.manual_seed(0)
    model = WindowModel(WINDOW, N_MELS, N_LABELS).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.mean.normal_(-5, 1)
    model.scale.uniform_(0.2, 0.5)
    return model


def objective_of(model: WindowModel, head: WindowHead | None = None) -> WindowObjective:
    config = TrainConfig(
        name="x", description="x", data="d", out="o", front_end=FrontEnd(hop_length=160, n_mels=N_MELS), window=WINDOW
    )
    clips = Clips(np.zeros((1, 500, N_MELS), np.float32), np.zeros(1, np.int64))
    return WindowObjective(model, head, config, clips, HOPS)


def examples(n_rows: int = 4, n_labels: int = 100) -> Examples:
    """Class 0 sounds from label 40 to 60; each feature frame holds its own number."""
    labels = np.zeros((n_rows, n_labels, N_LABELS), np.float16)
    labels[:, 40:60, 0] = 1
    event_frames = np.zeros((n_rows, 8, n_labels), bool)
    event_frames[:, 0, 40:60] = True
    event_labels = np.full((n_rows, 8), -1)
    event_labels[:, 0] = 0
    hops = np.arange(n_labels * HOPS, dtype=np.float32)
    features = np.broadcast_to(hops[:, None], (n_rows, len(hops), N_MELS)).copy()
    taught = np.broadcast_to(np.arange(n_labels // 8 + 1, dtype=np.float16)[:, None], (n_rows, n_labels // 8 + 1, 2))
    return Examples(features, labels, event_labels, event_frames, taught.copy())


def test_a_windows_labels_are_those_of_its_end(model: WindowModel):
    objective, batch = objective_of(model), examples()
    torch.manual_seed(1)
    rows, ends = objective._cut(batch)
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert ends.min() >= N_FRAMES
    assert ends.max() <= 100
    windows = objective._windows(batch.features, rows, ends)
    assert windows.shape == (12, N_FRAMES * HOPS, N_MELS)
    np.testing.assert_array_equal(windows[:, -1, 0], ends * HOPS - 1)
    labels = objective._labels(batch, rows, ends)
    np.testing.assert_array_equal(labels[:, 0], (ends > 40) & (ends - 20 < 60))
    assert not labels[:, 1:].any()


def test_half_of_the_windows_end_soon_after_an_onset(model: WindowModel):
    objective, batch = objective_of(model), examples(n_rows=400)
    torch.manual_seed(2)
    _, ends = objective._cut(batch)
    soon = ((ends >= 40 + 15) & (ends <= 40 + 55)).mean()
    assert 0.72 < soon < 0.86  # half of them, and those of the rest that happen to


def test_a_window_is_taught_what_the_teacher_says_of_its_end(model: WindowModel):
    """A column is 8 labels long and centred: those whose centre lies in the last 20 labels count."""
    objective, batch = objective_of(model), examples(n_rows=1)
    taught = objective._taught(batch, np.zeros(2, np.int64), np.array([80, 100]))
    np.testing.assert_array_equal(taught[:, 0], [np.mean([8, 9, 10]), np.mean([10, 11, 12])])


def test_what_can_be_told_is_learnt(model: WindowModel):
    objective = objective_of(model, WindowHead(model, torch.randn(4, 13, 2)))
    optimizer = torch.optim.Adam([*model.parameters(), *objective.head.parameters()], 3e-3)
    losses = []
    for step in range(40):
        torch.manual_seed(step % 4)
        parts = objective.losses(examples(), torch.device("cpu"), bf16=False)
        assert set(parts) == {"frame", "peak", "teacher"}
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])


@pytest.mark.parametrize("n_frames", [128, 130])
def test_the_graph_scores_as_the_model_does(model: WindowModel, n_frames: int):
    windows = torch.randn(5, n_frames, N_MELS, generator=torch.Generator().manual_seed(0)) - 5
    with torch.inference_mode():
        expected = torch.sigmoid(model(windows)).numpy()
    graph = StreamedModel(onnx_window_model(model).SerializeToString(), ())
    scores = graph.scores(windows.numpy(), n_frames)
    assert scores.shape == (5, 1, N_LABELS)
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(graph.scores(windows[2:3].numpy(), n_frames)[0], scores[2], atol=1e-6)


def test_cost_is_counted_by_hand():
    model = WindowModel(WindowConfig(channels=(8, 16), blocks=(1,)), 8, 3)
    convolutions = 25 * 8 * (8 * 4) + (8 * 16 * 9 + 16 * 16 * 9 + 8 * 16) * (4 * 2)
    layers = 16 * 4 + 4 * 16 + 2 * 16 * 3
    assert window_cost(model, 16).mflop == pytest.approx(2e-6 * (convolutions + layers))


def run_file(folder: Path, **changes: object) -> Path:
    run = {
        "name": "judge",
        "description": "tones",
        "data": str(write_small_data(folder / "data")),
        "cache": str(folder / "cache"),
        "out": str(folder / "judge"),
        "naming": {"neutral": ["pink_noise"]},
        "scenes": {"duration_s": 4.0},
        "front_end": {"hop_length": 160, "n_mels": 32},
        "window": {"window_s": 1.28, "answer_s": 0.8, "channels": [8, 8, 16], "blocks": [1, 1]},
        "optim": {"steps": 3, "batch": 4, "pool": 16, "warmup_steps": 1, "bf16": False, "threads": 1},
        **changes,
    }
    path = folder / "judge.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def test_one_command_makes_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_command(["train", "--config", str(run_file(tmp_path))]) == 0
    assert "clip_accuracy" in capsys.readouterr().out
    bundle = load_bundle(tmp_path / "judge")
    assert bundle.spec.states == ()
    assert bundle.spec.labels == tuple(LABELS)
    assert bundle.spec.output_hop == round(1.28 * 16_000)
    assert len((tmp_path / "judge" / "CREDITS.csv").read_text().splitlines()) > 1
    assert "It is a judge" in (tmp_path / "judge" / "CARD.md").read_text()


@pytest.mark.parametrize(
    "changes",
    [{"front_end": {"hop_length": 256, "n_mels": 32}}, {"window": {"window_s": 1.3, "answer_s": 0.8}}],
    ids=["hop", "window"],
)
def test_a_window_that_is_not_of_whole_labels_is_refused(tmp_path: Path, changes: dict[str, object]):
    with pytest.raises(ConfigError, match="40 ms is a multiple and a part"):
        WindowExperiment(TrainConfig.load(run_file(tmp_path, **changes)))


def test_a_stage_without_its_number_of_blocks_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="expected blocks for 2 stages, got 1"):
        TrainConfig.load(run_file(tmp_path, window={"channels": [8, 8, 16], "blocks": [1]}))
