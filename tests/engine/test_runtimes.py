"""What must hold for every bundle and every runtime."""

import json
import shutil
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from earmark.contracts.bundle import load_bundle, shipped_bundles
from earmark.contracts.errors import BundleError, ShapeError
from engine.runtimes.checking import unusable_rows
from engine.runtimes.onnxruntime import OnnxRuntime
from tests.support.audio import tones
from tests.support.tiny_bundle import write_tiny_bundle

N_HOPS = 40
HOP = 640
STRIDES = {"start": 1, "end": 2**31, "axis": 1, "stride": 2}
SHIPPED = [bundle.spec.name for bundle in shipped_bundles()]


@pytest.fixture(params=["tiny", *SHIPPED])
def runtime(request, tiny_bundle):
    made = OnnxRuntime(tiny_bundle if request.param == "tiny" else load_bundle(request.param))
    made.reserve(8)
    return made


def audio(seed, runtime, n_hops=N_HOPS):
    n = n_hops * runtime.bundle.spec.output_hop
    return tones(seed, n / 16_000).astype(np.float32)[None, :n] / 32768


def rows(*numbers):
    return np.array(numbers, np.int32)


def test_scores_are_probabilities_of_every_class(runtime):
    scores = runtime.step(rows(0), audio(0, runtime))
    assert scores.shape == (1, N_HOPS, len(runtime.bundle.spec.labels))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores.std() > 0


@given(cuts=st.lists(st.integers(1, N_HOPS - 1), max_size=8), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_streamed_equals_offline(tiny_bundle, cuts, seed):
    for bundle in [tiny_bundle, *shipped_bundles()]:
        runtime = OnnxRuntime(bundle)
        runtime.reserve(2)
        heard, hop = audio(seed, runtime), bundle.spec.output_hop
        offline = runtime.step(rows(0), heard)
        edges = [0, *sorted(set(cuts)), N_HOPS]
        streamed = [runtime.step(rows(1), heard[:, a * hop : b * hop]) for a, b in pairwise(edges)]
        np.testing.assert_allclose(np.concatenate(streamed, axis=1), offline, atol=1e-5)


def test_later_samples_never_change_earlier_scores(runtime):
    heard = audio(1, runtime)
    changed = heard.copy()
    changed[:, 20 * runtime.bundle.spec.output_hop :] = audio(2, runtime, 20)
    before, after = runtime.step(rows(0), heard), runtime.step(rows(1), changed)
    np.testing.assert_array_equal(before[:, :20], after[:, :20])
    assert not np.allclose(before[:, 20:], after[:, 20:])


def test_a_batch_equals_its_singles(runtime):
    heard = np.concatenate([audio(seed, runtime) for seed in range(5)])
    batch = runtime.step(rows(4, 0, 3, 1, 2), heard)
    runtime.reset(rows(0, 1, 2, 3, 4))
    for index in range(5):
        single = runtime.step(rows(index), heard[index : index + 1])
        np.testing.assert_allclose(single[0], batch[index], atol=1e-5)


def test_reset_equals_fresh(runtime):
    fresh = runtime.step(rows(0), audio(3, runtime))
    runtime.step(rows(1), audio(4, runtime))
    runtime.reset(rows(1))
    np.testing.assert_array_equal(runtime.step(rows(1), audio(3, runtime)), fresh)


def test_rows_are_strangers_and_growing_keeps_them(runtime):
    heard, hop = audio(5, runtime), runtime.bundle.spec.output_hop
    whole = runtime.step(rows(0), heard)
    first = runtime.step(rows(1), heard[:, : 7 * hop])
    runtime.step(rows(2), audio(6, runtime))
    runtime.reset(rows(3))
    runtime.reserve(runtime.n_rows + 3)
    rest = runtime.step(rows(1), heard[:, 7 * hop :])
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), whole, atol=1e-5)


@given(seed=st.integers(0, 10_000), max_batch=st.sampled_from([1, 3, 8]))
@settings(max_examples=30, deadline=None)
def test_whichever_rows_step_together_each_hears_its_own_audio(tiny_bundle, seed, max_batch):
    """Ranges that are full, have holes or are far apart, in any order, with rows that begin anew in between."""
    rng = np.random.default_rng(seed)
    n_rows = 20
    many, single = OnnxRuntime(tiny_bundle, max_batch=max_batch), OnnxRuntime(tiny_bundle)
    many.reserve(n_rows)
    single.reserve(n_rows)
    for _ in range(12):
        rows = np.flatnonzero(rng.random(n_rows) < rng.choice([0.1, 0.5, 0.9, 1.0])).astype(np.int32)
        rng.shuffle(rows)
        if not len(rows):
            continue
        audio = rng.uniform(-1, 1, (len(rows), HOP * int(rng.integers(1, 4)))).astype(np.float32)
        scores = many.step(rows, audio)
        for row, heard, scored in zip(rows, audio, scores, strict=True):
            np.testing.assert_allclose(single.step(np.array([row]), heard[None])[0], scored, atol=1e-6)
        if rng.random() < 0.5:
            fresh = rng.choice(n_rows, 3, replace=False).astype(np.int32)
            many.reset(fresh)
            single.reset(fresh)


def test_no_step_has_more_rows_than_it_may(tiny_bundle, monkeypatch):
    """Rows 0 and 127 with holes between them, then many in a row: the range of the first 128 is longer than 128."""
    runtime, widths, run = OnnxRuntime(tiny_bundle, max_batch=128), [], OnnxRuntime._run
    monkeypatch.setattr(
        OnnxRuntime, "_run", lambda self, where, *rest: widths.append(where[2]) or run(self, where, *rest)
    )
    runtime.reserve(160)
    rows = np.array([0, *np.random.default_rng(0).permutation(np.arange(1, 127))[:98], *range(127, 156)], np.int32)
    runtime.step(rows, np.zeros((len(rows), HOP), np.float32))
    assert sum(widths) == len(rows)
    assert max(widths) <= 128


def test_a_network_without_states(tmp_path):
    folder = write_tiny_bundle(tmp_path / "stateless", states=[])
    steps = [helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in STRIDES.items()]
    bands = helper.make_tensor("bands", TensorProto.FLOAT, [64, 4], np.full(256, 0.01))
    nodes = [
        helper.make_node("Slice", ["features", "start", "end", "axis", "stride"], ["hops"]),
        helper.make_node("MatMul", ["hops", "bands"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    heard = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", 64])
    scored = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", "N", 4])
    graph = helper.make_graph(nodes, "stateless", [heard], [scored], [*steps, bands])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "model.onnx")
    runtime = OnnxRuntime(load_bundle(folder))
    runtime.reserve(20)
    for chosen in (rows(0, 1, 2), rows(3, 19)):  # a range, and gathered
        audio = np.random.default_rng(0).uniform(-1, 1, (len(chosen), 2 * HOP)).astype(np.float32)
        assert runtime.step(chosen, audio).shape == (len(chosen), 2, 4)


@pytest.mark.parametrize("name", ["urban", "urban-int8"])
def test_state_fits_the_budget(name):
    """Of the bundles for many microphones; `urban-large` is for few."""
    assert load_bundle(name).spec.state_bytes <= 24 * 1024


def test_audio_that_is_not_whole_hops_is_refused(runtime):
    with pytest.raises(ShapeError, match=r"expected audio of \[1, T \* 640\], got \[1, 641\]"):
        runtime.step(rows(0), np.zeros((1, 641), np.float32))


def test_a_wrong_state_shape_is_named(tmp_path):
    states = [{"name": "previous", "shape": [1, 64]}, {"name": "integral", "shape": [7]}]
    bundle = load_bundle(write_tiny_bundle(tmp_path / "wrong", states=states))
    with pytest.raises(
        BundleError, match=r"'integral' should be float32 and end in the shape \[7\].*got float32 \['B', 4\]"
    ):
        OnnxRuntime(bundle)


def test_a_wrong_kind_of_state_is_named(tmp_path):
    states = [{"name": "previous", "shape": [1, 64]}, {"name": "integral", "shape": [4], "dtype": "uint8"}]
    bundle = load_bundle(write_tiny_bundle(tmp_path / "wrong", states=states))
    with pytest.raises(BundleError, match=r"'integral' should be uint8 and .* got float32 \['B', 4\]"):
        OnnxRuntime(bundle)


def test_a_missing_state_is_named(tmp_path):
    bundle = load_bundle(write_tiny_bundle(tmp_path / "wrong", states=[{"name": "integral", "shape": [4]}]))
    with pytest.raises(BundleError, match=r"expected the inputs \['features', 'integral'\], got"):
        OnnxRuntime(bundle)


def test_a_model_that_is_no_onnx_is_named(tmp_path, tiny_bundle):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_bundle.folder, folder)
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        OnnxRuntime(load_bundle(folder))


def test_a_spec_with_an_unknown_field_is_named(tmp_path):
    folder = write_tiny_bundle(tmp_path / "typo", hops_per_scor=2)
    with pytest.raises(BundleError, match=r"bundle\.json: hops_per_scor: Extra inputs"):
        load_bundle(folder)


def test_an_unknown_bundle_says_which_there_are():
    with pytest.raises(BundleError, match=r"expected the name of a bundle that ships .* got 'nowhere'"):
        load_bundle("nowhere")


def test_the_fingerprint_follows_what_decides(tmp_path, tiny_bundle):
    changed = load_bundle(write_tiny_bundle(tmp_path / "changed", warmup_s=1.5))
    renamed = load_bundle(write_tiny_bundle(tmp_path / "renamed", description="other words"))
    assert changed.fingerprint != tiny_bundle.fingerprint
    assert renamed.fingerprint == tiny_bundle.fingerprint
    assert json.loads((tiny_bundle.folder / "bundle.json").read_text())["name"] == "tiny"


def test_the_callers_arithmetic_is_left_alone(runtime):
    """A runtime that flushes denormal numbers to zero does so to the whole thread of the program around it."""
    runtime.step(rows(0), audio(7, runtime))
    assert np.float32(1e-40) * np.float32(1) > 0


def with_output(folder, name, *nodes):
    """The tiny bundle whose output ``name`` is made by ``nodes`` of what it was, which they call ``right``."""
    path = write_tiny_bundle(folder) / "model.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["right" if output == name else output for output in node.output]
    zero = helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0])
    model.graph.initializer.append(zero)
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    return load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "nodes", "message"),
    [
        ("scores", [("Sub", ["nothing", "right"])], r"expected scores from 0 to 1, got -0\.\d+ to -0\.\d+;"),
        ("scores", [("Add", ["right", "right"])], "expected scores from 0 to 1, got"),
        ("scores", [("Div", ["right", "nothing"])], "expected finite values in output 'scores'"),
        ("scores", [("Div", ["nothing", "nothing"], "nan"), ("Add", ["right", "nan"])], "finite values .* 'scores'"),
        ("scores", [("Concat", ["right", "right"])], r"'scores' of float32 \[2, 1, 4\] .* got float32 \[2, 2, 4\]"),
        ("new_integral", [("Div", ["right", "nothing"])], "expected finite values in output 'new_integral'"),
    ],
)
def test_a_dry_run_refuses_what_is_no_score(tmp_path, name, nodes, message):
    made = [
        helper.make_node(kind, inputs, rest or [name], **({"axis": 1} if kind == "Concat" else {}))
        for kind, inputs, *rest in nodes
    ]
    with pytest.raises(BundleError, match=message):
        OnnxRuntime(with_output(tmp_path / "wrong", name, *made))


@given(
    scores=st.lists(
        st.lists(st.floats(-0.5, 1.5, width=32) | st.just(float("nan")), min_size=2, max_size=2), max_size=5
    )
)
def test_unusable_rows_are_those_without_probabilities(scores):
    array = np.array(scores, np.float32).reshape(-1, 1, 2)
    expected = [not all(-1e-5 <= score <= 1 + 1e-5 for score in row) for row in scores]
    found = unusable_rows(array)
    assert (found.tolist() if found is not None else [False] * len(scores)) == expected
    usable = array[~np.array(expected, bool)]
    assert ((usable >= 0) & (usable <= 1)).all()
