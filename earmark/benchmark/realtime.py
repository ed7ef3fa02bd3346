"""How many real-time streams one core carries, socket to outbox: by bisection on coverage and delay.

The engine is the real process, on one core; the load comes over TCP from another. A number of streams is carried if
everything that was sent was analysed and the delay stays within `BOUND_MS`: last sample due to decision committed.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from earmark.benchmark.generator import Load, Sent, generate
from earmark.benchmark.measuring import read_values
from earmark.benchmark.pinning import on_core
from earmark.benchmark.processes import Service, running
from earmark.benchmark.settings import Settings
from earmark.contracts.bundle import Bundle

BOUND_MS = 200.0
"""A core that is a hundredth too slow is this late after 20 s; below, a busy neighbour would decide."""
_TRIES = 2
"""A number is too many once it failed so often: a busy neighbour may be at fault."""
_HIGHEST = 1.2
"""Most streams that are tried, of those that a core should carry by processor time."""


def measure_real_time(settings: Settings, by_processor_time: float) -> dict[str, Any]:
    """What `earmark bench streams` tells of real time.

    Args:
        settings: What is measured.
        by_processor_time: Streams that a core should carry; the search begins there.
    """
    carried, too_many = 0, math.ceil(_HIGHEST * by_processor_time) + 1
    trials: list[dict[str, Any]] = []
    for _ in range(settings.pick(5, 1)):
        if too_many - carried < 2:
            break
        n_streams = settings.pick((carried + too_many) // 2, 4)
        for _ in range(_TRIES):
            trials.append(try_streams(settings, n_streams))
            if trials[-1]["carried"]:
                carried = n_streams
                break
        else:
            too_many = n_streams
    best = next((trial for trial in trials if trial["streams"] == carried and trial["carried"]), None)
    return {
        "streams_per_core": carried,
        "bound_ms": BOUND_MS,
        "too_many": too_many if any(trial["streams"] == too_many for trial in trials) else None,
        "delay_p50_ms": best and best["delay_p50_ms"],
        "delay_p99_ms": best and best["delay_p99_ms"],
        "trials": trials,
    }


def try_streams(settings: Settings, n_streams: int) -> dict[str, Any]:
    """Send so many, and tell what became of them."""
    bundle = settings.load()
    with running(bundle) as service:
        service.start("engine", settings.cores.measured)
        load = make_load(settings, bundle, service, n_streams)
        sent = on_core(settings.cores.load, generate, load)
        analysed = round(sum(read_values(service.metrics_at, "earmark_analysed_samples_total")))
        lost = round(sum(read_values(service.metrics_at, "earmark_gap_samples_total")))
    return _told(n_streams, sent, analysed, lost)


def make_load(settings: Settings, bundle: Bundle, service: Service, n_streams: int) -> Load:
    """Streams of the bundle's audio for the service's engine."""
    spec = bundle.spec
    warm_up_s, audio_s = settings.pick((spec.warmup_s + 2, 20.0), (0.3, 1.5))
    engine = f"tcp://{service.engine_at}"
    return Load(
        engine,
        service.engine_pid,
        n_streams,
        spec.output_hop,
        spec.sample_rate_hz,
        warm_up_s,
        audio_s,
        settings.data,
        give_up_s=settings.pick(1.0, 60.0),
    )


def _told(n_streams: int, sent: Sent, analysed: int, lost: int) -> dict[str, Any]:
    p50_ms, p99_ms = percentiles(sent.delays_ms)
    coverage = analysed / sent.samples
    in_time = p99_ms is not None and p99_ms <= BOUND_MS and not sent.gave_up and not sent.unanswered
    return {
        "streams": n_streams,
        "carried": in_time and coverage == 1.0,
        "audio": sent.audio,
        "coverage": round(coverage, 6),
        "samples_sent": sent.samples,
        "samples_analysed": analysed,
        "samples_shed": lost,
        "epochs": sent.epochs,
        "unanswered": sent.unanswered,
        "gave_up": sent.gave_up,
        "delays": len(sent.delays_ms),
        "delay_p50_ms": p50_ms,
        "delay_p99_ms": p99_ms,
        "engine_busy": sent.engine_busy,
        "generator_busy": sent.generator_busy,
        "sent_late_p99_ms": percentiles(sent.late_ms)[1],
    }


def percentiles(values_ms: ArrayLike) -> tuple[float | None, float | None]:
    """Median and 99th percentile; None of nothing."""
    values = np.asarray(values_ms, np.float64)
    if not len(values):
        return None, None
    p50, p99 = np.percentile(values, (50, 99)).tolist()
    return round(p50, 2), round(p99, 2)
