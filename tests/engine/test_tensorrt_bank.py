"""The bank on a device: what holds for every runtime, and that it agrees with ONNX Runtime.

The device lives in host memory and runs the same graph by ONNX Runtime; where there is a GPU, on that too.
"""

from itertools import pairwise

import numpy as np
import pytest

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import ShapeError
from engine.analyser import Analyser
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.runtimes.tensorrt.runtime import TensorRtRuntime
from tests.support.audio import tones
from tests.support.devices import HostDevice, gpu_kinds, made_sidecar, make_device

MAX_BATCH = 32
TOLERANCE = {"host": 1e-5, "cuda": 1e-3}
CASES = [(kind, name) for kind in ("host", *gpu_kinds()) for name in ("tiny", "urban")]


@pytest.fixture(params=CASES, ids="-".join)
def runtime(request, tiny_bundle, tmp_path):
    kind, name = request.param
    bundle = tiny_bundle if name == "tiny" else load_bundle(name)
    made = TensorRtRuntime(bundle, made_sidecar(bundle, MAX_BATCH), make_device(kind, bundle, MAX_BATCH, tmp_path))
    made.reserve(8)
    made.tolerance = TOLERANCE[kind]
    return made


@pytest.fixture
def counted(tiny_bundle):
    device = HostDevice(tiny_bundle)
    made = TensorRtRuntime(tiny_bundle, made_sidecar(tiny_bundle, MAX_BATCH), device)
    made.reserve(64)
    return made, device.calls


def audio(seed, runtime, n_hops, n_rows=1):
    n = n_hops * runtime.bundle.spec.output_hop
    return np.stack([tones(seed + row, n / 16_000)[:n] for row in range(n_rows)]).astype(np.float32) / 32768


def rows(*numbers):
    return np.array(numbers, np.int32)


def test_it_agrees_with_onnx_runtime_whatever_happens(runtime):
    """Rows come and go, batches and steps have all sizes, the bank grows, rows are reset."""
    oracle, chance = OnnxRuntime(runtime.bundle), np.random.default_rng(0)
    oracle.reserve(8)
    for turn, n_hops in enumerate([1, 1, 7, 26, 1, 31, 5, 1, 2]):
        if turn == 4:
            runtime.reserve(21)
            oracle.reserve(21)
        some = chance.permutation(oracle.n_rows)[: chance.integers(1, oracle.n_rows + 1)].astype(np.int32)
        heard = audio(turn, runtime, n_hops, len(some))
        np.testing.assert_allclose(runtime.step(some, heard), oracle.step(some, heard), atol=runtime.tolerance)
        gone = some[: chance.integers(0, 3)]
        runtime.reset(gone)
        oracle.reset(gone)


def test_streamed_equals_offline(runtime):
    heard, hop = audio(1, runtime, 40), runtime.bundle.spec.output_hop
    offline = runtime.step(rows(0), heard)
    edges = [0, 1, 2, 9, 34, 40]
    streamed = [runtime.step(rows(1), heard[:, a * hop : b * hop]) for a, b in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(streamed, axis=1), offline, atol=1e-5)


def test_later_samples_never_change_earlier_scores(runtime):
    heard = audio(1, runtime, 20)
    changed = heard.copy()
    changed[:, 10 * runtime.bundle.spec.output_hop :] = audio(2, runtime, 10)
    before, after = runtime.step(rows(0), heard), runtime.step(rows(1), changed)
    np.testing.assert_allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not np.allclose(before[:, 10:], after[:, 10:])


def test_a_batch_equals_its_singles(runtime):
    heard = audio(3, runtime, 6, 5)
    batch = runtime.step(rows(4, 0, 3, 1, 2), heard)
    runtime.reset(rows(0, 1, 2, 3, 4))
    for index in range(5):
        single = runtime.step(rows(index), heard[index : index + 1])
        np.testing.assert_allclose(single[0], batch[index], atol=1e-5)


def test_reset_equals_fresh_and_disturbs_no_neighbour(runtime):
    heard = audio(4, runtime, 10)
    fresh = runtime.step(rows(0), heard)
    first = runtime.step(rows(3), heard[:, : heard.shape[1] // 2])
    runtime.step(rows(2), audio(5, runtime, 3))
    runtime.reset(rows(2))
    np.testing.assert_allclose(runtime.step(rows(2), heard), fresh, atol=1e-6)
    second = runtime.step(rows(3), heard[:, heard.shape[1] // 2 :])
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), fresh, atol=1e-5)


def test_what_was_told_stays_the_callers(runtime):
    first = runtime.step(rows(0), audio(6, runtime, 1))
    kept = first.copy()
    runtime.step(rows(0), audio(7, runtime, 1))
    np.testing.assert_array_equal(first, kept)


def test_more_rows_than_the_engine_takes_are_cut(counted, tiny_bundle):
    runtime, calls = counted
    oracle = OnnxRuntime(tiny_bundle)
    oracle.reserve(64)
    all_rows = np.arange(64, dtype=np.int32)
    heard = audio(8, runtime, 1, 64)
    np.testing.assert_allclose(runtime.step(all_rows, heard), oracle.step(all_rows, heard), atol=1e-5)
    assert (calls["play"], calls["record"]) == (2, 1)


def test_a_steady_load_copies_once_each_way_and_allocates_nothing(counted):
    runtime, calls = counted
    some = np.arange(20, dtype=np.int32)
    heard = audio(9, runtime, 1, 20)
    runtime.step(some, heard)
    before = calls.copy()
    for _ in range(3):
        runtime.step(some, heard)
    steps = calls - before
    assert steps == {"play": 3, "upload": 3, "download": 3, "infer": 3}


def test_few_steps_are_recorded(counted):
    runtime, calls = counted
    for n in range(1, 33):
        runtime.step(np.arange(n, dtype=np.int32), audio(10, runtime, 1, n))
    assert calls["record"] == 6  # 1, 2, 4, 8, 16 and 32 rows
    runtime.reserve(65)
    runtime.step(rows(0), audio(10, runtime, 1))
    assert calls["record"] == 7


def test_rows_that_are_not_there_are_refused(counted):
    runtime, calls = counted
    for bad in (rows(64), rows(-1)):
        with pytest.raises(ShapeError, match="expected rows of a bank of 64"):
            runtime.step(bad, audio(11, runtime, 1))
        with pytest.raises(ShapeError, match="expected rows of a bank of 64"):
            runtime.reset(bad)
    with pytest.raises(ShapeError, match=r"expected audio of \[1, T \* 640\], got \[1, 641\]"):
        runtime.step(rows(0), np.zeros((1, 641), np.float32))
    assert calls["play"] == 0


def test_an_analyser_runs_on_it(counted):
    runtime, _ = counted
    assert Analyser(runtime).sample_rate_hz == 16_000
