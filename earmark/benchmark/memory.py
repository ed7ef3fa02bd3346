"""What a stream costs in memory: its row of the state bank, and what the engine's process grows by."""

from typing import Any

import numpy as np

from earmark.benchmark.generator import generate
from earmark.benchmark.measuring import resident_mb
from earmark.benchmark.pinning import on_core
from earmark.benchmark.processes import running
from earmark.benchmark.realtime import make_load
from earmark.benchmark.settings import Settings
from engine.frontend import LogMel

_FLOAT_BYTES = 4


def measure_memory(settings: Settings) -> dict[str, Any]:
    """What `earmark bench memory` tells.

    A fresh engine for each number of streams hears some of their audio, unpaced, until rows warm up beside others; then
    it is looked at. The slope is that of the straight line through all of them, 0 streams included.
    """
    counts = settings.pick((0, 256, 512, 1024), (0, 4, 8))
    held = [{"streams": n, "resident_mb": round(_resident_mb(settings, n), 1)} for n in counts]
    slope_mb = np.polyfit(counts, [each["resident_mb"] for each in held], 1)[0]
    spec = settings.load().spec
    return {
        "state_bytes_a_row": spec.state_bytes,
        "tail_bytes_a_row": _FLOAT_BYTES * LogMel(spec.front_end).tail_length,
        "resident_kib_a_stream": round(1024 * float(slope_mb), 1),
        "runs": held,
    }


def _resident_mb(settings: Settings, n_streams: int) -> float:
    """Of an engine that hears so many streams."""
    bundle = settings.load()
    with running(bundle) as service:
        service.start("engine", settings.cores.measured)
        if not n_streams:
            return resident_mb(service.engine_pid) or 0.0
        load = make_load(settings, bundle, service, n_streams)
        return on_core(settings.cores.load, generate, load.unpaced()).engine_mb or 0.0
