"""One run: the parts that were asked for, in one document that programs and the report read."""

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from earmark.benchmark.gpu import measure_gpu
from earmark.benchmark.latency import measure_latency
from earmark.benchmark.memory import measure_memory
from earmark.benchmark.peers import measure_peers
from earmark.benchmark.realtime import measure_real_time
from earmark.benchmark.settings import Settings, hop_s, mflop_per_audio_second
from earmark.benchmark.step import measure_step
from earmark.benchmark.streams import USUAL, measure_streams

Part: TypeAlias = Literal["streams", "latency", "step", "memory", "peers", "gpu"]
Document: TypeAlias = dict[str, Any]

PARTS: tuple[Part, ...] = get_args(Part)
_HALF = 0.5


def run(settings: Settings, parts: Sequence[Part], command: str, tell: Callable[[str], None]) -> Document:
    """Measure.

    Args:
        settings: What, and how thoroughly.
        parts: Which of `PARTS`.
        command: The one that was given.
        tell: Told what is measured now.

    Returns:
        What was found, by part, and over it the keys that every run has: ``streams_per_core`` (by processor time),
        ``hop_ms``, ``mflop_per_audio_second``, ``delay_p50_ms`` and ``delay_p99_ms``, ``gemm_peak_gflops`` and
        ``peers``. What these parts do not measure is None.

    Raises:
        EarmarkError: The bundle or the audio cannot be used.
    """
    bundle = settings.load()
    document: Document = {
        "command": command,
        "bundle": bundle.identity,
        "quick": settings.quick,
        "hop_ms": 1e3 * hop_s(bundle),
        "mflop_per_audio_second": mflop_per_audio_second(bundle),
        "peers": [],
    }
    if {"streams", "latency", "peers"}.intersection(parts):
        tell("streams a core, by processor time")
        document["streams"] = measure_streams(settings, None if "streams" in parts else settings.pick((USUAL,), (4,)))
    for part in parts:
        tell(part)
        _add(part, document, settings)
    document["machine"] = _machine(settings)
    _sum_up(document)
    return document


def _add(part: Part, document: Document, settings: Settings) -> None:
    match part:
        case "streams":
            _real_time(document, settings)
        case "latency":
            document["latency"] = measure_latency(settings, _real_time(document, settings))
        case "step":
            document["step"] = measure_step(settings)
        case "memory":
            document["memory"] = measure_memory(settings)
        case "peers":
            document["peers"] = measure_peers(settings)
        case "gpu":
            document["gpu"] = measure_gpu(settings)


def _real_time(document: Document, settings: Settings) -> int:
    """Streams that a core carries in real time; measured once."""
    streams = document["streams"]
    if "real_time" not in streams:
        streams["real_time"] = measure_real_time(settings, streams["streams_per_core"])
    return streams["real_time"]["streams_per_core"]


def _sum_up(document: Document) -> None:
    """Add the figures that every run has: of what was measured, or None."""
    streams, step = document.get("streams", {}), document.get("step", {})
    peaks = [part["gemm_peak_gflops"] for part in (streams, step) if part]
    document["gemm_peak_gflops"] = max(peaks, default=None)
    document["streams_per_core"] = streams.get("streams_per_core")
    runs: list[dict[str, Any]] = document.get("latency", {}).get("runs", [])
    measured = {"last sample to subscriber, half load": next((run for run in runs if run["load"] == _HALF), None)}
    measured["last sample to durable decision, most streams in real time"] = streams.get("real_time")
    found = next(((of, delays) for of, delays in measured.items() if delays is not None), (None, None))
    document["delay_is"], delays = found
    for key in ("delay_p50_ms", "delay_p99_ms"):
        document[key] = None if delays is None else delays[key]


def _machine(settings: Settings) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "measured_core": settings.cores.measured,
        "load_core": settings.cores.load,
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": version("onnxruntime"),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
