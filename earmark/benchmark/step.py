"""The runtime alone: audio of B rows in, scores out, with as many output hops a step as it takes to catch up."""

from typing import Any

import numpy as np

from earmark.benchmark.gemm import gemm_gflops
from earmark.benchmark.measuring import cpu_seconds_a_call, summarise
from earmark.benchmark.pinning import on_core
from earmark.benchmark.settings import Settings, hop_s, mflop_per_audio_second
from engine.runtimes.onnxruntime import OnnxRuntime

_HOPS = (1, 2, 5)


def measure_step(settings: Settings) -> dict[str, Any]:
    """What `earmark bench step` tells: features and network, FLOP of the network only."""
    return on_core(settings.cores.measured, _measure, settings)


def _measure(settings: Settings) -> dict[str, Any]:
    bundle = settings.load()
    runtime, noise = OnnxRuntime(bundle), np.random.default_rng(0)
    sizes = settings.pick((1, 4, 16, 64, 256, 1024), (1, 4))
    least_s, repeats = settings.pick((0.3, 3), (0.002, 1))
    runtime.reserve(max(sizes))
    hop_us, mflop = 1e6 * hop_s(bundle), mflop_per_audio_second(bundle)
    peaks: list[float] = []
    runs: list[dict[str, Any]] = []
    for n_rows in sizes:
        rows = np.arange(n_rows, dtype=np.int32)
        for n_hops in _HOPS:
            audio = noise.uniform(-0.1, 0.1, (n_rows, n_hops * bundle.spec.output_hop)).astype(np.float32)
            runtime.reset(rows)
            calls_s = [cpu_seconds_a_call(lambda: runtime.step(rows, audio), least_s) for _ in range(repeats)]  # noqa: B023 -- called at once
            costs_us = [1e6 * each / (n_rows * n_hops) for each in calls_s]
            peaks.append(gemm_gflops())
            runs.append({"batch": n_rows, "hops": n_hops, "us_per_stream_hop": summarise(costs_us)})
    for run in runs:
        gflops = None if mflop is None else 1e-3 * mflop * hop_us / run["us_per_stream_hop"]["median"]
        run["gflops"] = None if gflops is None else round(gflops, 2)
        run["share_of_gemm_peak"] = None if gflops is None else round(gflops / max(peaks), 3)
    return {"gemm_peak_gflops": round(max(peaks), 1), "runs": runs}
