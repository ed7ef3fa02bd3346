"""What must hold for any bundle: causal, streamed == offline, a batch == its singles, within its budgets."""

import numpy as np
import onnx
import pytest
import torch

from earmark.training.model import HOPS_PER_SCORE, Crnn, cost
from earmark.training.onnx_graph import onnx_model
from earmark.training.streaming import StreamedModel
from tests.training.random_model import N_MELS, random_model

N_LABELS = 51
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model() -> Crnn:
    return random_model(N_LABELS)


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(3, 60, N_MELS, generator=torch.Generator().manual_seed(1)) * 3 - 5


def scores(model: Crnn, features: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return torch.sigmoid(model(features, model.fresh_state(len(features)))[0]).numpy()


def test_later_input_never_changes_earlier_scores(model: Crnn, features: torch.Tensor):
    before = scores(model, features)
    for frame in (20, 21, 40):
        changed = features.clone()
        changed[:, frame:] += 5
        after = scores(model, changed)
        unchanged = frame // HOPS_PER_SCORE
        np.testing.assert_array_equal(after[:, :unchanged], before[:, :unchanged])
        assert np.abs(after[:, unchanged] - before[:, unchanged]).max() > 0, "a score hears its own last hop"


@pytest.mark.parametrize("hops", [2, 4, 14, 60])
def test_streamed_is_offline(model: Crnn, features: torch.Tensor, hops: int):
    state, parts = model.fresh_state(len(features)), []
    with torch.inference_mode():
        for step in features.split(hops, dim=1):
            logits, state = model(step, state)
            parts.append(torch.sigmoid(logits))
    np.testing.assert_allclose(torch.cat(parts, dim=1).numpy(), scores(model, features), atol=TOLERANCE)


def test_a_batch_is_its_singles(model: Crnn, features: torch.Tensor):
    together = scores(model, features)
    for row in range(len(features)):
        np.testing.assert_allclose(scores(model, features[row : row + 1])[0], together[row], atol=TOLERANCE)


def test_classes_are_told_from_what_encode_returns(model: Crnn, features: torch.Tensor):
    with torch.inference_mode():
        logits, after = model(features, model.fresh_state(len(features)))
        seen, heard, state = model.encode(features, model.fresh_state(len(features)))
        assert torch.equal(model.classify(heard), logits)
    n_frames = features.shape[1] // HOPS_PER_SCORE
    assert seen.shape == (len(features), n_frames, model.seen)
    assert heard.shape == (len(features), n_frames, model.config.hidden)
    assert [part.shape[1:] for part in state] == [spec.shape for spec in model.state_specs()]
    assert all(torch.equal(*parts) for parts in zip(state, after, strict=True))


@pytest.mark.parametrize("hops", [2, 10, 60])
def test_the_exported_step_agrees_with_torch(model: Crnn, features: torch.Tensor, hops: int):
    step = StreamedModel(onnx_model(model).SerializeToString(), model.state_specs())
    np.testing.assert_allclose(step.scores(features.numpy(), hops), scores(model, features), atol=TOLERANCE)


def test_the_exported_step_has_the_bundle_formats_names(model: Crnn):
    graph = onnx_model(model).graph
    states = [spec.name for spec in model.state_specs()]
    assert states == ["conv1", "conv2", "conv3", "conv4", "conv5", "gru"]
    assert [value.name for value in graph.input] == ["features", *states]
    assert [value.name for value in graph.output] == ["scores", *(f"new_{name}" for name in states)]
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in (*graph.input, *graph.output))


def test_cost_is_within_the_budgets(model: Crnn):
    figures = cost(model, hops_per_s=50)
    assert figures.parameters < 1_000_000
    assert figures.mflop_per_s <= 60
    assert sum(state.n_bytes for state in model.state_specs()) <= 24 * 1024
    assert len(onnx_model(model).SerializeToString()) < 5_000_000
