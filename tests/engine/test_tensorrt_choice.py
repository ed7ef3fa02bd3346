"""Which runtime an engine gets, and what it says about it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from earmark.contracts.errors import BundleError, GpuError
from engine.config import EngineConfig, TensorRtConfig
from engine.runtimes.choosing import open_runtime
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.runtimes.tensorrt import flavours, opening
from engine.runtimes.tensorrt.runtime import TensorRtRuntime
from tests.support.devices import HostDevice

ON_THE_CPU = "the model runs on the CPU, by ONNX Runtime"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def a_gpu(monkeypatch, tmp_path):
    """A GPU as far as the choice goes: memory on the host. ``unloadable`` counts engines that it will not take."""
    state = SimpleNamespace(loaded=0, unloadable=0, folder=tmp_path / "engines")

    def load(_gpu, _flavour, _engine, spec, _kernels):
        state.loaded += 1
        if state.loaded <= state.unloadable:
            raise GpuError("TensorRT cannot load the engine here: it is for another GPU")
        assert spec is state.bundle.spec
        return HostDevice(state.bundle)

    monkeypatch.setattr(opening, "Gpu", lambda: SimpleNamespace(capability="8.9"))
    monkeypatch.setattr(opening, "CudaDevice", load)
    return state


def config(runtime, folder=None):
    return EngineConfig(runtime=runtime, tensorrt=TensorRtConfig(folder=folder, max_batch=16))


@pytest.mark.usefixtures("no_gpu")
def test_auto_takes_the_cpu_where_there_is_no_gpu_and_says_so_once(tiny_bundle):
    with capture_logs() as logs:
        assert isinstance(open_runtime(tiny_bundle, EngineConfig()), OnnxRuntime)
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [("info", ON_THE_CPU)]
    assert "expected a" in logs[0]["reason"]


@pytest.mark.usefixtures("no_gpu")
def test_who_asks_for_tensorrt_gets_an_error_without_a_gpu(tiny_bundle):
    with pytest.raises(GpuError, match=r"^engine\.runtime: expected tensorrt to work, got: expected a"):
        open_runtime(tiny_bundle, config("tensorrt"))


def test_who_asks_for_onnx_runtime_hears_nothing(tiny_bundle):
    with capture_logs() as logs:
        assert isinstance(open_runtime(tiny_bundle, config("onnxruntime")), OnnxRuntime)
    assert logs == []


def test_without_tensorrt_auto_says_what_to_install(monkeypatch, tiny_bundle):
    monkeypatch.setattr(flavours, "find_spec", lambda _name: None)
    with capture_logs() as logs:
        open_runtime(tiny_bundle, EngineConfig())
    assert "expected the package tensorrt or tensorrt_rtx, found none; install 'earmark[tensorrt]'" in logs[0]["reason"]


def test_who_has_no_tensorrt_waits_for_no_import():
    script = (
        "import sys, importlib.util\n"
        "whole = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name.startswith('tensorrt') else whole(name, *rest)\n"
        "import engine.service, earmark.contracts.bundle as bundles\n"
        "from engine.config import EngineConfig\n"
        "from engine.runtimes.choosing import open_runtime\n"
        "open_runtime(bundles.load_bundle('urban'), EngineConfig())\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('cuda', 'onnx', 'tensorrt', 'tensorrt_rtx')\n"
        "             or m.startswith('engine.runtimes.tensorrt.')))"
    )
    said = subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()
    assert said[-1] == "['engine.runtimes.tensorrt.flavours']"


@pytest.mark.parametrize("runtime", ["auto", "tensorrt"])
def test_a_gpu_is_taken_and_its_engine_kept(a_gpu, tiny_bundle, runtime):
    a_gpu.bundle = tiny_bundle
    for expected in ("the engine is compiled now", None):
        with capture_logs() as logs:
            opened = open_runtime(tiny_bundle, config(runtime, a_gpu.folder))
        assert isinstance(opened, TensorRtRuntime)
        said = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
        assert said == [*([expected] if expected else []), "the model runs on the GPU, by TensorRT"]


def test_a_kept_engine_that_does_not_load_is_built_once_more(a_gpu, tiny_bundle):
    a_gpu.bundle = tiny_bundle
    open_runtime(tiny_bundle, config("tensorrt", a_gpu.folder))
    a_gpu.loaded, a_gpu.unloadable = 0, 1
    with capture_logs() as logs:
        assert isinstance(open_runtime(tiny_bundle, config("tensorrt", a_gpu.folder)), TensorRtRuntime)
    told = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["event"] for entry in told] == ["the engine is compiled again, as it does not load"]


def test_a_gpu_that_takes_no_engine_is_left_alone(a_gpu, tiny_bundle):
    a_gpu.bundle, a_gpu.unloadable = tiny_bundle, 99
    with capture_logs() as logs:
        assert isinstance(open_runtime(tiny_bundle, config("auto", a_gpu.folder)), OnnxRuntime)
    assert logs[-1]["event"] == ON_THE_CPU
    assert a_gpu.loaded == 1
    with pytest.raises(GpuError, match="cannot load the engine here"):
        open_runtime(tiny_bundle, config("tensorrt", a_gpu.folder))


def test_a_bundle_that_is_none_is_refused_by_all(a_gpu, tiny_bundle, tmp_path):
    broken = SimpleNamespace(spec=tiny_bundle.spec, identity="x", model_path=tmp_path / "none.onnx")
    with pytest.raises(BundleError, match="ONNX Runtime cannot load it"):
        open_runtime(broken, config("auto", a_gpu.folder))
