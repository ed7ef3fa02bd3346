"""Engines: really built, without a GPU; kept, refused and built again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import BundleError, GpuError
from engine.runtimes.tensorrt import store as store_module
from engine.runtimes.tensorrt.build import build_engine
from engine.runtimes.tensorrt.flavours import Flavour, installed_flavour
from engine.runtimes.tensorrt.graph import row_length
from engine.runtimes.tensorrt.rows import compile_rows
from engine.runtimes.tensorrt.store import EngineStore, Refusal, engine_folder
from tests.support.tiny_bundle import write_tiny_bundle

MAX_BATCH = 64


@pytest.fixture(scope="session")
def flavour():
    """The one that builds anywhere; a development installation brings it."""
    found = installed_flavour()
    assert found.builds_anywhere
    return found


@pytest.fixture(scope="session", params=["fp32", "fp16"])
def urban(request, flavour):
    return build_engine(load_bundle("urban"), flavour, precision=request.param, max_batch=MAX_BATCH)


@pytest.fixture(scope="session")
def tiny(tiny_bundle, flavour):
    return build_engine(tiny_bundle, flavour, precision="fp32", max_batch=MAX_BATCH)


@pytest.fixture
def kept(tmp_path, flavour, tiny_bundle, tiny):
    """A store that holds an engine of the tiny bundle."""
    store = EngineStore(tmp_path / "engines", flavour)
    store.write(tiny_bundle, tiny)
    return store


@pytest.fixture
def builds(monkeypatch, tiny):
    """Counts what is built; to build it for real once is enough."""
    counted = []

    def build(bundle, _flavour, **asked):
        counted.append(asked)
        return replace(tiny, sidecar=tiny.sidecar.model_copy(update={"bundle": bundle.identity}))

    monkeypatch.setattr(store_module, "build_engine", build)
    return counted


def test_the_shipped_bundle_is_compiled(urban, flavour):
    """Its plan can only be loaded where a GPU is; what can be looked into without is the network that it came from."""
    bundle, sidecar = load_bundle("urban"), urban.sidecar
    length, n_labels = row_length(bundle.spec), len(bundle.spec.labels)
    assert {each.name: each.shape for each in sidecar.inputs} == {"audio": (-1, -1), "state": (-1, length)}
    assert {each.name: each.shape for each in sidecar.outputs} == {
        "scores": (-1, -1, n_labels),
        "new_state": (-1, length),
    }
    assert (sidecar.bundle, sidecar.flavour, sidecar.version) == (bundle.identity, flavour.name, flavour.version)
    assert sidecar.max_batch == MAX_BATCH
    assert {each.name: (each.batch, each.hops) for each in sidecar.profiles} == {
        "live": ((1, 32, 64), (1, 1, 1)),
        "catch_up": ((1, 2, 2), (2, 25, 25)),
    }
    assert len(urban.plan) == sidecar.engine_bytes > bundle.model_path.stat().st_size / 2
    assert row_length(bundle.spec) * 4 <= 24 * 1024


def test_a_bundle_that_cannot_be_built_is_named(tmp_path, flavour):
    folder = write_tiny_bundle(tmp_path / "broken")
    (folder / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"model\.onnx: expected an ONNX model"):
        build_engine(load_bundle(folder), flavour, precision="fp32", max_batch=1)


def test_tensorrt_itself_wants_the_gpu(tiny_bundle):
    with pytest.raises(GpuError, match="builds only on the GPU that will run the engine"):
        build_engine(tiny_bundle, Flavour("tensorrt", "10.0", None, None), precision="fp32", max_batch=1)


@pytest.mark.parametrize("gpu", ["7.5", "8.0", "8.9", "9.0", "12.0"])
def test_the_kernels_compile_for_a_gpu(gpu):
    code = compile_rows(gpu)
    assert code.startswith(b"\x7fELF")
    assert b"gather_rows" in code
    assert b"scatter_rows" in code


def test_a_gpu_that_nobody_knows_is_named():
    with pytest.raises(GpuError, match=r"compute capability 3\.5, got: NVRTC_ERROR"):
        compile_rows("3.5")


# What is kept.


def test_a_kept_engine_is_read_again(kept, tiny_bundle, tiny, builds):
    with capture_logs() as logs:
        found = kept.get(tiny_bundle, "fp32", MAX_BATCH)
    assert (found.plan, found.sidecar) == (tiny.plan, tiny.sidecar)
    assert kept.get(tiny_bundle, "fp32", MAX_BATCH // 2).plan == tiny.plan
    assert (builds, logs) == ([], [])


def test_a_sidecar_says_what_an_engine_is(kept, tiny_bundle):
    document = json.loads(kept.path(tiny_bundle, "fp32").with_suffix(".json").read_text())
    assert document["bundle"] == tiny_bundle.identity
    assert document["gpu"] == "8.0 and above"
    assert document["timing_cache"] is False
    assert document["created_at"].endswith("Z")


def edit(path: Path, **changes):
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **changes}))


SPOILT = {
    "another bundle": (lambda path: edit(path, bundle="tiny@0+0123456789abcdef"), "stale: expected bundle tiny@1"),
    "an older graph": (lambda path: edit(path, graph=0), "stale: expected graph 1, got 0"),
    "another version": (lambda path: edit(path, version="1.0"), "stale: expected TensorRT tensorrt_rtx"),
    "another flavour": (lambda path: edit(path, flavour="tensorrt"), "got tensorrt 1"),
    "another precision": (lambda path: edit(path, precision="fp16"), "stale: expected precision fp32, got fp16"),
    "another GPU": (lambda path: edit(path, gpu="7.5"), "stale: expected GPU 8.0 and above, got 7.5"),
    "a foreign engine": (lambda path: path.write_bytes(bytes(1000)), "damaged: expected the"),
    "half an engine": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "got 5000 others"),
    "no engine": (lambda path: path.unlink(), "tiny-fp32-tensorrt_rtx.engine is missing"),
    "no sidecar": (lambda path: path.with_suffix(".json").unlink(), "tiny-fp32-tensorrt_rtx.json is missing"),
    "a sidecar of nothing": (lambda path: path.with_suffix(".json").write_text(""), "its sidecar is damaged"),
    "a newer sidecar": (lambda path: edit(path, format=2), "its sidecar is damaged"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "it cannot be read"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_not_the_right_engine_is_refused_in_one_line_and_built_again(kept, tiny_bundle, builds, name):
    spoil, reason = SPOILT[name]
    path = kept.path(tiny_bundle, "fp32")
    spoil(path)
    assert isinstance(kept.read(tiny_bundle, "fp32"), Refusal)
    with capture_logs() as logs:
        kept.get(tiny_bundle, "fp32", MAX_BATCH)
    assert len(builds) == 1
    assert (logs[0]["log_level"], logs[0]["event"]) == ("warning", "the engine is compiled now")
    assert reason in logs[0]["reason"]
    if name != "a folder":
        assert len(logs) == 1
        kept.get(tiny_bundle, "fp32", MAX_BATCH)
        assert len(builds) == 1


def test_an_engine_of_the_bundle_before_its_change_is_refused(kept, tmp_path, builds):
    changed = load_bundle(write_tiny_bundle(tmp_path / "changed", warmup_s=1.5))
    with capture_logs() as logs:
        kept.get(changed, "fp32", MAX_BATCH)
    assert f"expected bundle {changed.identity}, got tiny@1+" in logs[0]["reason"]
    assert len(builds) == 1


def test_an_engine_for_smaller_steps_is_refused(kept, tiny_bundle):
    found = kept.read(tiny_bundle, "fp32", MAX_BATCH + 1)
    assert found == Refusal("it is small: expected steps of 65 rows, got 64")


def test_the_first_one_is_no_warning(tmp_path, flavour, tiny_bundle, builds):
    store = EngineStore(tmp_path / "none", flavour)
    with capture_logs() as logs:
        store.get(tiny_bundle, "fp32", MAX_BATCH)
    assert [entry["log_level"] for entry in logs] == ["info"]
    assert len(builds) == 1


def test_where_nothing_can_be_kept_it_runs_all_the_same(tmp_path, flavour, tiny_bundle, tiny, builds):
    (tmp_path / "file").write_text("")
    store = EngineStore(tmp_path / "file" / "engines", flavour)
    with capture_logs() as logs:
        assert store.get(tiny_bundle, "fp32", MAX_BATCH).plan == tiny.plan
    assert logs[-1]["event"] == "the engine cannot be kept, so every start compiles it; set engine.tensorrt.folder"
    assert len(builds) == 1


def test_engines_lie_where_the_user_says_or_in_the_cache(tmp_path):
    assert engine_folder(tmp_path, {}) == tmp_path
    assert engine_folder(None, {"XDG_CACHE_HOME": "/cache", "HOME": "/home/me"}) == Path("/cache/earmark/engines")
    assert engine_folder(None, {"HOME": "/home/me"}) == Path("/home/me/.cache/earmark/engines")
