"""The step in int8: near to torch's scores, and the same however audio is cut."""

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from earmark.training.model import Crnn
from earmark.training.onnx_graph import Step, head_of, with_head, with_hidden
from earmark.training.quantisation import quantised
from earmark.training.streaming import StreamedModel
from tests.training.random_model import N_MELS, random_model

N_LABELS, N_FRAMES = 5, 60


@pytest.fixture(scope="module")
def model() -> Crnn:
    model = random_model(N_LABELS)
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(6, N_FRAMES, N_MELS, generator=torch.Generator().manual_seed(1)) * 3 - 5


@pytest.fixture(scope="module")
def step(model: Crnn, features: torch.Tensor) -> Step:
    return quantised(model, features)


def streamed(step: Step, features: torch.Tensor, hops: int) -> np.ndarray:
    return StreamedModel(step[0].SerializeToString(), step[1]).scores(features.numpy(), hops)


def test_scores_are_near_to_torchs(model: Crnn, step: Step):
    other = torch.randn(6, N_FRAMES, N_MELS, generator=torch.Generator().manual_seed(2)) * 3 - 5
    with torch.inference_mode():
        expected = torch.sigmoid(model(other, model.fresh_state(len(other)))[0]).numpy()
    differences = np.abs(streamed(step, other, 2) - expected)
    assert 0 < differences.mean() < 0.01
    assert expected.std() > 10 * differences.mean()


def test_scales_are_those_of_all_bands(model: Crnn):
    """Sound in the highest bands alone; a step that looked at the lowest only was off by 0.0034."""
    features = torch.full((64, 400, N_MELS), -12.0)
    features[..., 24:] = torch.randn(64, 400, N_MELS - 24, generator=torch.Generator().manual_seed(1)) * 3 - 3
    with torch.inference_mode():
        expected = torch.sigmoid(model(features[:4], model.fresh_state(4))[0]).numpy()
    assert np.abs(streamed(quantised(model, features), features[:4], 400) - expected).mean() < 0.0025


@pytest.mark.parametrize("hops", [2, 4, 14])
def test_streamed_is_offline(step: Step, features: torch.Tensor, hops: int):
    np.testing.assert_allclose(streamed(step, features, hops), streamed(step, features, N_FRAMES), atol=1e-6)


def test_a_batch_is_its_singles(step: Step, features: torch.Tensor):
    together = streamed(step, features, 2)
    for row in range(len(features)):
        np.testing.assert_allclose(streamed(step, features[row : row + 1], 2)[0], together[row], atol=1e-6)


def test_the_caches_between_convolutions_are_bytes_with_the_channels_last(model: Crnn, step: Step):
    proto, states = step
    assert [(state.name, state.dtype) for state in states] == [
        ("conv1", "float32"), ("conv2", "uint8"), ("conv3", "uint8"), ("conv4", "uint8"), ("conv5", "uint8"),
        ("gru", "float32"),
    ]  # fmt: skip
    of_float = {state.name: state.shape for state in model.state_specs()}
    for state in states[1:5]:
        n_channels, n_frames, n_bands = of_float[state.name]
        assert state.shape == (n_frames, n_bands, n_channels)
    assert sum(state.n_bytes for state in states) < 0.35 * sum(state.n_bytes for state in model.state_specs())
    assert [value.name for value in proto.graph.input] == ["features", *(state.name for state in states)]


def test_two_products_fit_into_16_bits_on_a_cpu_that_adds_up_there(step: Step):
    weights = [numpy_helper.to_array(each) for each in step[0].graph.initializer if each.name.endswith("_weight")]
    in_int8 = [weight for weight in weights if weight.dtype == np.int8]
    assert len(in_int8) == 4
    for weight in in_int8:
        assert 2 * 255 * int(np.abs(weight.astype(int)).max()) < 2**15


def test_a_channel_may_have_nothing_but_a_bias(features: torch.Tensor):
    model = random_model(N_LABELS)
    with torch.no_grad():
        model.convs[2].conv.weight[3] = 0
    scores = streamed(quantised(model, features), features, 2)
    with torch.inference_mode():
        expected = torch.sigmoid(model(features, model.fresh_state(len(features)))[0]).numpy()
    np.testing.assert_allclose(scores, expected, atol=0.02)


def test_classes_can_be_added_to_it(step: Step, features: torch.Tensor):
    """What `FineTuning` does: it looks at the GRU's output, and gives the step another last layer."""
    proto, states = step
    heard = StreamedModel(with_hidden(proto).SerializeToString(), states).hidden(features.numpy())
    weight, bias = head_of(proto)
    more = with_head(proto, np.concatenate([weight, -weight[:1]]), np.concatenate([bias, -bias[:1]]))
    scores = streamed((more, states), features, N_FRAMES)
    logits = heard @ weight.T + bias
    expected = 1 / (1 + np.exp(-np.concatenate([logits, -logits[..., :1]], axis=-1)))
    np.testing.assert_allclose(scores, expected, atol=1e-5)
