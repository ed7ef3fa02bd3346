"""One step of the shipped bundle on a GPU, by TensorRT: does it score as ONNX Runtime does, and how long does it take?

It needs a GPU and one of the extras ``tensorrt`` and ``tensorrt-rtx``. Times are of the whole step: audio goes to the
GPU, scores come back. State moved counts each row's state four times: gathered, read, written, scattered.
"""

import argparse
import time
from statistics import median, quantiles

import numpy as np

from benchmarks.measuring import print_table
from earmark.contracts.bundle import Bundle, load_bundle
from engine.config import EngineConfig, Precision, TensorRtConfig
from engine.runtimes import Runtime
from engine.runtimes.choosing import open_runtime
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.runtimes.tensorrt.graph import row_length

_N_COMPARED, _HOPS = 64, (*(1,) * 20, 5, 25)
_N_TIMED, _N_WARM_UP = 50, 5
_HEADER = (
    "precision", "rows", "largest difference of a score", "step p50 ms", "p95 ms", "real-time rows", "state moved GB/s",
)  # fmt: skip


def largest_difference(bundle: Bundle, runtime: Runtime) -> float:
    """Between the runtime's scores of noise at many levels and ONNX Runtime's."""
    rng, hop, other = np.random.default_rng(0), bundle.spec.output_hop, OnnxRuntime(bundle)
    other.reserve(_N_COMPARED)
    rows, worst = np.arange(_N_COMPARED, dtype=np.int32), 0.0
    for n_hops in _HOPS:
        level = 10 ** rng.uniform(-3, -0.5, (_N_COMPARED, 1))
        audio = (rng.standard_normal((_N_COMPARED, n_hops * hop)) * level).astype(np.float32)
        worst = max(worst, float(np.abs(runtime.step(rows, audio) - other.step(rows, audio)).max()))
    return worst


def step_times(bundle: Bundle, runtime: Runtime, n_rows: int) -> list[float]:
    """Seconds of steps of one output hop."""
    audio = np.random.default_rng(1).standard_normal((n_rows, bundle.spec.output_hop)).astype(np.float32) * 0.1
    rows, times = np.arange(n_rows, dtype=np.int32), []
    for _ in range(_N_WARM_UP + _N_TIMED):
        began_s = time.perf_counter()
        runtime.step(rows, audio)
        times.append(time.perf_counter() - began_s)
    return times[_N_WARM_UP:]


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 1024, 8192, 65_536, 131_072])
    options = parser.parse_args()
    bundle = load_bundle("urban")
    hop_s = bundle.spec.output_hop / bundle.spec.sample_rate_hz
    found: list[tuple[object, ...]] = []
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    for precision in precisions:
        on_gpu = TensorRtConfig(precision=precision, max_batch=max(options.rows))
        runtime = open_runtime(bundle, EngineConfig(runtime="tensorrt", tensorrt=on_gpu))
        runtime.reserve(max(options.rows))
        difference = largest_difference(bundle, runtime)
        for n_rows in options.rows:
            times = step_times(bundle, runtime, n_rows)
            moved = 4 * 4 * n_rows * row_length(bundle.spec) / median(times) / 1e9
            found.append(
                (
                    precision, n_rows, f"{difference:.1e}", f"{1e3 * median(times):.3f}",
                    f"{1e3 * quantiles(times, n=20)[-1]:.3f}", f"{n_rows * hop_s / median(times):,.0f}", f"{moved:.1f}",
                )
            )  # fmt: skip
    print_table(_HEADER, found)


if __name__ == "__main__":
    main()
