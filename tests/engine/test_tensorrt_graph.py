"""The graph from audio to scores: its front end is `LogMel`'s, and float16 changes scores little."""

import numpy as np
import onnx
import onnxruntime
import pytest

from earmark.contracts.bundle import FrontEnd, load_bundle
from earmark.contracts.errors import BundleError
from engine.frontend import LogMel
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.runtimes.tensorrt.graph import row_length, step_graph
from tests.support.audio import tones
from tests.support.tiny_bundle import write_tiny_bundle

FRONT_ENDS = {
    "shipped": FrontEnd(),
    "short window": FrontEnd(win_length=400, hop_length=160),
    "no overlap": FrontEnd(win_length=320, hop_length=320),
    "many hops": FrontEnd(sample_rate_hz=32_000, n_fft=1024, win_length=1000, hop_length=160, fmax_hz=14_000),
}


def session_of(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("cuts", [(40,), (2, 2, 4, 32)])
def test_its_front_end_is_log_mels(tmp_path, name, cuts):
    spec = FRONT_ENDS[name]
    bundle = load_bundle(write_tiny_bundle(tmp_path / "bundle", front_end=spec.model_dump()))
    graph = onnx.load_from_string(step_graph(bundle, "fp32"))
    features = "model/features"
    graph.graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, ["B", "F", 64]))
    session = session_of(graph.SerializeToString())
    heard = np.stack([tones(seed, 1)[: 40 * spec.hop_length] for seed in range(2)]).astype(np.float32) / 32768
    heard[1] /= 1000
    state, got, first = np.zeros((2, row_length(bundle.spec)), np.float32), [], 0
    for n_hops in cuts:
        last = first + n_hops * spec.hop_length
        part, state = session.run([features, "new_state"], {"audio": heard[:, first:last], "state": state})
        got.append(part)
        first = last
    log_mel = LogMel(spec)
    padded = np.concatenate([np.zeros((2, log_mel.tail_length), np.float32), heard], axis=1)
    np.testing.assert_allclose(np.concatenate(got, axis=1), log_mel(padded), atol=1e-4)


def test_float16_changes_scores_by_less_than_a_hundredth():
    """How rounding alone acts, by ONNX Runtime on a CPU; the GPU's own figure comes from a GPU."""
    bundle = load_bundle("urban")
    runtime, session = OnnxRuntime(bundle), session_of(step_graph(bundle, "fp16"))
    runtime.reserve(4)
    heard = np.stack([tones(seed, 4)[: 100 * bundle.spec.output_hop] for seed in range(4)]).astype(np.float32) / 32768
    expected = runtime.step(np.arange(4, dtype=np.int32), heard)
    state = np.zeros((4, row_length(bundle.spec)), np.float32)
    (scores,) = session.run(["scores"], {"audio": heard, "state": state})
    assert 0 < np.abs(scores - expected).max() < 1e-2


def test_weights_are_float16_and_what_goes_in_and_out_is_not():
    graph = onnx.load_from_string(step_graph(load_bundle("urban"), "fp16")).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    assert kinds["model/conv3_weight"] == onnx.TensorProto.FLOAT16
    assert kinds["dft"] == kinds["mel"] == kinds["model/mean"] == onnx.TensorProto.FLOAT
    for each in (*graph.input, *graph.output):
        assert each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_several_networks_may_hear_the_same_features_in_float16():
    """Each of them has its own normalisation, and the conversion gives each a cast of the same name."""
    graph = onnx.load_from_string(step_graph(load_bundle("urban-large"), "fp16")).graph
    kinds = {each.name: each.data_type for each in graph.initializer}
    for network in ("net1", "net2", "net3"):
        assert kinds[f"model/conv3_weight_{network}"] == onnx.TensorProto.FLOAT16
        assert kinds[f"model/mean_{network}"] == onnx.TensorProto.FLOAT


def test_a_bundle_in_int8_is_for_cpus():
    with pytest.raises(BundleError, match="expected a bundle in float32, got one in int8"):
        step_graph(load_bundle("urban-int8"), "fp32")


def test_a_model_that_is_no_onnx_is_named(tmp_path):
    folder = write_tiny_bundle(tmp_path / "broken")
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"model\.onnx: expected an ONNX model, got"):
        step_graph(load_bundle(folder), "fp32")


def test_a_model_with_other_states_is_named(tmp_path):
    folder = write_tiny_bundle(tmp_path / "wrong", states=[{"name": "integral", "shape": [4]}])
    with pytest.raises(BundleError, match=r"bundle 'tiny': expected a model with the inputs and outputs"):
        step_graph(load_bundle(folder), "fp32")
