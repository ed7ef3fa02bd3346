"""One step of the bundle on a GPU, by TensorRT: does it score as ONNX Runtime does, and how long does it take?

Times are of the whole step: audio goes to the GPU, scores come back. State moved counts each row's state four times:
gathered, read, written, scattered.
"""

import time
from statistics import median, quantiles
from typing import Any, get_args

import numpy as np

from earmark.benchmark.settings import Settings, hop_s
from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import GpuError
from engine.config import EngineConfig, Precision, TensorRtConfig
from engine.runtimes import Runtime
from engine.runtimes.choosing import open_runtime
from engine.runtimes.onnxruntime import OnnxRuntime

_N_COMPARED, _HOPS = 64, (*(1,) * 20, 5, 25)
_N_WARM_UP = 5
_STATE_MOVES, _FLOAT_BYTES = 4, 4


def measure_gpu(settings: Settings) -> dict[str, Any]:
    """What `earmark bench gpu` tells; without a GPU or TensorRT, why it was not measured."""
    sizes = settings.pick((64, 1024, 8192, 65_536, 131_072), (4, 16))
    precisions: tuple[Precision, ...] = get_args(Precision)
    try:
        runs = [run for precision in precisions for run in _measure(settings, precision, sizes)]
    except GpuError as error:
        return {"measured": False, "reason": f"no GPU that can be used: {error}"}
    return {"measured": True, "runs": runs}


def _measure(settings: Settings, precision: Precision, sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    bundle = settings.load()
    on_gpu = TensorRtConfig(precision=precision, max_batch=max(sizes))
    runtime = open_runtime(bundle, EngineConfig(runtime="tensorrt", tensorrt=on_gpu))
    runtime.reserve(max(*sizes, _N_COMPARED))
    difference = _largest_difference(bundle, runtime)
    runs: list[dict[str, Any]] = []
    for n_rows in sizes:
        times_s = _step_times(bundle, runtime, n_rows, settings.pick(50, 5))
        runs.append(
            {
                "precision": precision,
                "rows": n_rows,
                "largest_difference": difference,
                "step_p50_ms": round(1e3 * median(times_s), 3),
                "step_p95_ms": round(1e3 * quantiles(times_s, n=20)[-1], 3),
                "real_time_rows": round(n_rows * hop_s(bundle) / median(times_s)),
                "state_moved_gb_per_s": round(_state_bytes(bundle) * n_rows / median(times_s) / 1e9, 1),
            }
        )
    return runs


def _state_bytes(bundle: Bundle) -> int:
    from engine.runtimes.tensorrt.graph import row_length  # noqa: PLC0415 -- only who has TensorRT has what it imports

    return _STATE_MOVES * _FLOAT_BYTES * row_length(bundle.spec)


def _largest_difference(bundle: Bundle, runtime: Runtime) -> float:
    """Between the runtime's scores of noise at many levels and ONNX Runtime's."""
    rng, hop, other = np.random.default_rng(0), bundle.spec.output_hop, OnnxRuntime(bundle)
    other.reserve(_N_COMPARED)
    rows, worst = np.arange(_N_COMPARED, dtype=np.int32), 0.0
    for n_hops in _HOPS:
        level = 10 ** rng.uniform(-3, -0.5, (_N_COMPARED, 1))
        audio = (rng.standard_normal((_N_COMPARED, n_hops * hop)) * level).astype(np.float32)
        worst = max(worst, float(np.abs(runtime.step(rows, audio) - other.step(rows, audio)).max()))
    return worst


def _step_times(bundle: Bundle, runtime: Runtime, n_rows: int, n_timed: int) -> list[float]:
    """Seconds of steps of one output hop."""
    audio = np.random.default_rng(1).standard_normal((n_rows, bundle.spec.output_hop)).astype(np.float32) * 0.1
    rows = np.arange(n_rows, dtype=np.int32)
    times_s: list[float] = []
    for _ in range(_N_WARM_UP + n_timed):
        began_s = time.perf_counter()
        runtime.step(rows, audio)
        times_s.append(time.perf_counter() - began_s)
    return times_s[_N_WARM_UP:]
