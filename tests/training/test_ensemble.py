"""Several networks in one step: the mean of their logits, and otherwise a step like any other."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch

from earmark.training.ensemble import ensemble
from earmark.training.model import Crnn
from earmark.training.onnx_graph import Step, head_of, onnx_model, with_head, with_hidden
from earmark.training.quantisation import quantised
from earmark.training.streaming import StreamedModel
from tests.training.random_model import N_MELS, random_model

N_LABELS, N_FRAMES = 5, 60
FEATURES = torch.randn(3, N_FRAMES, N_MELS, generator=torch.Generator().manual_seed(1)) * 3 - 5
Export = Callable[[Crnn], Step]


def in_float32(model: Crnn) -> Step:
    return onnx_model(model), model.state_specs()


def in_int8(model: Crnn) -> Step:
    return quantised(model, FEATURES)


@pytest.fixture(scope="module")
def models() -> list[Crnn]:
    models = [random_model(N_LABELS) for _ in range(3)]
    torch.manual_seed(7)
    for model in models:
        for weight in (model.head.weight, model.gru.weight_ih_l0):
            torch.nn.init.normal_(weight, std=0.3)
    return models


def streamed(step: Step, hops: int) -> np.ndarray:
    return StreamedModel(step[0].SerializeToString(), step[1]).scores(FEATURES.numpy(), hops)


def logits_of(scores: np.ndarray) -> np.ndarray:
    return np.log(scores) - np.log1p(-scores)


@pytest.mark.parametrize("export", [in_float32, in_int8])
@pytest.mark.parametrize("count", [2, 3])
def test_its_logits_are_the_mean_of_its_members(models: list[Crnn], export: Export, count: int):
    members = [export(model) for model in models[:count]]
    alone = [logits_of(streamed(member, 2)) for member in members]
    assert np.abs(alone[0] - alone[1]).mean() > 0.1
    np.testing.assert_allclose(logits_of(streamed(ensemble(members), 2)), np.mean(alone, axis=0), atol=1e-3)


@pytest.mark.parametrize("export", [in_float32, in_int8])
def test_streamed_is_offline(models: list[Crnn], export: Export):
    step = ensemble([export(model) for model in models[:2]])
    np.testing.assert_allclose(streamed(step, 4), streamed(step, N_FRAMES), atol=1e-6)


def test_its_states_are_those_of_all_members(models: list[Crnn]):
    proto, states = ensemble([in_float32(model) for model in models[:2]])
    names = [state.name for state in models[0].state_specs()]
    assert [state.name for state in states] == [f"{name}_net{n}" for n in (1, 2) for name in names]
    assert [state.shape for state in states] == 2 * [state.shape for state in models[0].state_specs()]
    assert [value.name for value in proto.graph.input] == ["features", *(state.name for state in states)]
    assert [value.name for value in proto.graph.output] == ["scores", *(f"new_{state.name}" for state in states)]


def test_one_member_stays_as_it_is(models: list[Crnn]):
    step = in_float32(models[0])
    assert ensemble([step]) == step


def test_classes_can_be_added_to_it(models: list[Crnn]):
    proto, states = ensemble([in_float32(model) for model in models[:2]])
    heard = StreamedModel(with_hidden(proto).SerializeToString(), states).hidden(FEATURES.numpy())
    assert heard.shape[-1] == sum(model.config.hidden for model in models[:2])
    weight, bias = head_of(proto)
    more: onnx.ModelProto = with_head(proto, np.concatenate([weight, -weight[:1]]), np.concatenate([bias, -bias[:1]]))
    logits = heard @ weight.T + bias
    expected = np.concatenate([logits, -logits[..., :1]], axis=-1)
    np.testing.assert_allclose(logits_of(streamed((more, states), N_FRAMES)), expected, atol=1e-4)
