"""What a stream costs the engine, from a message to a committed event, and so how many streams a core carries.

One process, one core, no sockets: each round every stream sends one block of an output hop, in a message of its own;
the round is parsed, placed, analysed, smoothed and committed to a real outbox. Nothing is paced: figures are processor
time. Rows that warm up are included, as many as in a stream's long run.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from earmark.benchmark.gemm import gemm_gflops
from earmark.benchmark.load import Street, read_audio
from earmark.benchmark.measuring import summarise
from earmark.benchmark.pinning import on_core
from earmark.benchmark.settings import SCALE_MFLOP, Settings, hop_s, mflop_per_audio_second
from earmark.benchmark.stages import MODEL, STAGES, StageClock
from earmark.contracts.bundle import Bundle
from earmark.contracts.wire import read_messages
from earmark.outbox import Outbox
from engine.analyser import Analyser
from engine.frontend import LogMel
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.smoothing import Smoother

USUAL = 512
"""Streams whose cost the headline is of."""


@dataclass(frozen=True)
class Costs:
    """Microseconds of processor time a stream and output hop by stage, and the core's peak at that time."""

    n_streams: int
    stages_us: dict[str, float]
    gemm_gflops: float

    @property
    def all_us(self) -> float:
        """All stages."""
        return sum(self.stages_us.values())

    @property
    def outside_model(self) -> float:
        """Share of the time that is not the model step."""
        return 1 - sum(self.stages_us[stage] for stage in MODEL) / self.all_us


def measure_streams(settings: Settings, counts: Sequence[int] | None = None) -> dict[str, Any]:
    """What `earmark bench streams` tells of processor time.

    Args:
        settings: What is measured.
        counts: Numbers of streams; without them, those that show how the cost grows.
    """
    chosen = counts or settings.pick((64, 256, USUAL, 1024), (2, 4))
    heard, costs = on_core(settings.cores.measured, _measure_all, settings, chosen)
    bundle = settings.load()
    runs = [_told(bundle, [each for each in costs if each.n_streams == n]) for n in chosen]
    first, last = runs[0], runs[-1]
    headline = min(runs, key=lambda run: abs(run["streams"] - USUAL))
    return {
        "audio": heard,
        "gemm_peak_gflops": round(max(each.gemm_gflops for each in costs), 1),
        "streams_per_core": headline["streams_per_core"]["median"],
        "at_streams": headline["streams"],
        "scaled_to_42_mflop": headline["scaled_to_42_mflop"],
        "share_of_gemm_peak": headline["share_of_gemm_peak"],
        "outside_model": headline["outside_model"],
        "growth": _growth(first, last) if len(runs) > 1 else None,
        "growth_from_to": [first["streams"], last["streams"]],
        "runs": runs,
    }


def _growth(first: dict[str, Any], last: dict[str, Any]) -> float:
    return round(last["us_per_stream_hop"]["median"] / first["us_per_stream_hop"]["median"] - 1, 3)


def _told(bundle: Bundle, costs: list[Costs]) -> dict[str, Any]:
    """The runs of one number of streams."""
    hop_us, mflop = 1e6 * hop_s(bundle), mflop_per_audio_second(bundle)
    per_core = hop_us / median(each.all_us for each in costs)
    peak_mflop = 1e3 * max(each.gemm_gflops for each in costs)
    return {
        "streams": costs[0].n_streams,
        "us_per_stream_hop": summarise([each.all_us for each in costs]),
        "stages_us": {stage: round(median(each.stages_us[stage] for each in costs), 2) for stage in STAGES},
        "outside_model": round(median(each.outside_model for each in costs), 3),
        "streams_per_core": summarise([hop_us / each.all_us for each in costs], 0),
        "scaled_to_42_mflop": None if mflop is None else round(per_core * mflop / SCALE_MFLOP),
        "share_of_gemm_peak": None if mflop is None else round(per_core * mflop / peak_mflop, 3),
    }


def _measure_all(settings: Settings, counts: Sequence[int]) -> tuple[str, list[Costs]]:
    """All numbers of streams in turn, again and again, so that a slow minute hurts all of them alike."""
    bundle, clock = settings.load(), StageClock()
    clock.wrap(OnnxRuntime, "step", "step")
    clock.wrap(LogMel, "__call__", "features")
    clock.wrap(Smoother, "update", "smooth")
    heard, audio = read_audio(settings.data, bundle.spec.sample_rate_hz)
    n_rounds = settings.pick(250, 4)
    n_warm_up = settings.pick(round((bundle.spec.warmup_s + 2) / hop_s(bundle)), 2)
    costs: list[Costs] = []
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        for repeat in range(settings.pick(3, 1)):
            for n_streams in counts:
                street = Street(audio, n_streams, bundle.spec.sample_rate_hz, bundle.spec.output_hop)
                with closing(Outbox(Path(folder) / f"{repeat}-{n_streams}.db")) as outbox:
                    analyser = Analyser(OnnxRuntime(bundle))
                    for name, epoch in zip(street.names, street.epochs, strict=True):
                        analyser.open(name, epoch, outbox.load(name))
                    for round_ in range(n_warm_up + n_rounds):
                        if round_ == n_warm_up:
                            clock.seconds.clear()
                        _hear(analyser, outbox, street.round(round_), clock)
                per_hop_us = 1e6 / (n_rounds * n_streams)
                stages_us = {stage: per_hop_us * seconds for stage, seconds in clock.split().items()}
                costs.append(Costs(n_streams, stages_us, gemm_gflops()))
    return heard, costs


def _hear(analyser: Analyser, outbox: Outbox, messages: list[bytes], clock: StageClock) -> None:
    """What the engine does with what has come, but for its sockets and metrics.

    Raises:
        RuntimeError: The analyser did not take a block.
    """
    with clock("all"):
        with clock("parse"):
            table, _ = read_messages(messages)
        with clock("place"):
            is_taken = analyser.accept_many(table, time.monotonic())
        if not is_taken.all():
            raise RuntimeError("expected every block to be taken at once; this is a bug, please report it")
        if commits := analyser.collect():
            with clock("commit"):
                outbox.commit(commits)
                for commit in commits:
                    analyser.committed(commit)
