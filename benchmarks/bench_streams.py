"""What a stream costs the engine, from a message to a committed event, and so how many streams a core carries.

One process, one core, no sockets: each round every stream sends one block of an output hop, in a message of its own;
the round is parsed, placed, analysed, smoothed and committed to a real outbox. Nothing is paced: figures are processor
time. ``model`` is features and network, rows that warm up included. The peak is that of numpy's fp32 matrix product in
the same run.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.measuring import print_table
from earmark.contracts.bundle import Bundle, load_bundle
from earmark.contracts.streams import AudioBlock, new_epoch
from earmark.contracts.wire import encode_records, read_messages
from earmark.outbox import Outbox
from earmark.synthesis.scene import make_scene
from engine.analyser import Analyser
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.smoothing import Smoother

_STAGES = ("parse", "place", "model", "smooth", "commit")
_SCALE_MFLOP = 42.0
"""Streams are also told as they would be with a network of so many MFLOP a second of audio."""
_N_SCENES, _SCENE_S = 16, 30.0
_WARM_UP_S = 12.0
"""Until streams began to warm up their second rows: their places on the grid of windows differ."""
_MATRIX, _PRODUCTS = 768, 30


class Clock:
    """Processor time by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        """Count what is done inside."""
        began = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - began

    def wrap(self, owner: type, name: str, stage: str) -> None:
        """Count the time of a class's method."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            with self(stage):
                return method(*arguments, **options)

        setattr(owner, name, timed)


class Street:
    """Streams of made scenes, each at another place of one of them.

    Args:
        n_streams: How many.
        block: Samples of a block.
    """

    def __init__(self, n_streams: int, block: int) -> None:
        scenes = [make_scene(seed, _SCENE_S) for seed in range(_N_SCENES)]
        self._rate_hz = scenes[0].sample_rate_hz
        self._audio = [np.rint(scene.audio * 32767).astype(np.int16) for scene in scenes]
        self._block = block
        self.names = [f"gate-{i}" for i in range(n_streams)]
        self.epochs = {name: new_epoch() for name in self.names}

    def messages(self, round_: int) -> list[bytes]:
        """The next block of every stream."""
        first = round_ * self._block
        return [encode_records([self._one(i, name, first)]) for i, name in enumerate(self.names)]

    def _one(self, i: int, name: str, first: int) -> AudioBlock:
        audio = self._audio[i % _N_SCENES]
        at = (first + i * 7919) % (len(audio) - self._block)
        pcm = audio[at : at + self._block]
        return AudioBlock(name, self.epochs[name], first, 0, self._rate_hz, first + self._block, pcm, can_wait=True)


def measure(bundle: Bundle, clock: Clock, n_streams: int, rounds: int, folder: Path) -> dict[str, float]:
    """Microseconds a stream and output hop by stage, the whole as ``all``."""
    spec = bundle.spec
    street, analyser = Street(n_streams, spec.output_hop), Analyser(OnnxRuntime(bundle))
    outbox = Outbox(folder / f"{n_streams}.db")
    for name, epoch in street.epochs.items():
        analyser.open(name, epoch, outbox.load(name))
    n_warm_up = round(_WARM_UP_S * spec.sample_rate_hz / spec.output_hop)
    for round_ in range(n_warm_up + rounds):
        messages = street.messages(round_)
        if round_ == n_warm_up:
            clock.seconds.clear()
        with clock("all"):
            with clock("parse"):
                table, _ = read_messages(messages)
            with clock("place"):
                is_taken = analyser.accept_many(table, time.monotonic())
            commits = analyser.collect()
            if commits:
                with clock("commit"):
                    outbox.commit(commits)
                    for commit in commits:
                        analyser.committed(commit)
        if not is_taken.all():
            raise SystemExit("expected every block to be taken at once; this is a bug, please report it")
    outbox.close()
    return {stage: 1e6 * clock.seconds[stage] / (rounds * n_streams) for stage in ("all", *_STAGES)}


def gemm_peak_gflops() -> float:
    """The best of several fp32 matrix products of this core."""
    left, right = np.random.default_rng(0).random((2, _MATRIX, _MATRIX), np.float32)
    times: list[float] = []
    for _ in range(_PRODUCTS):
        began = time.process_time()
        _ = left @ right
        times.append(time.process_time() - began)
    return 2 * _MATRIX**3 / min(times) / 1e9


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[64, 256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=250, help="output hops of each run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each number of streams; the median counts")
    parser.add_argument("--mflop", type=float, default=55.6, help="of the network a second of audio: its card says it")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock, bundle = Clock(), load_bundle("urban")
    clock.wrap(OnnxRuntime, "step", "model")
    clock.wrap(Smoother, "update", "smooth")
    hop_us = 1e6 * bundle.spec.output_hop / bundle.spec.sample_rate_hz
    peak = gemm_peak_gflops()
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="earmark-streams-") as folder:
        for n_streams in options.streams:
            runs: list[dict[str, float]] = []
            for repeat in range(options.repeats):
                own = Path(folder) / str(repeat)
                own.mkdir(exist_ok=True)
                runs.append(measure(bundle, clock, n_streams, options.rounds, own))
            costs = {stage: median(run[stage] for run in runs) for stage in runs[0]}
            per_core = hop_us / costs["all"]
            found.append(
                {
                    "streams": n_streams,
                    **{f"{stage}_us": round(cost, 2) for stage, cost in costs.items()},
                    "outside_model": round(1 - costs["model"] / costs["all"], 3),
                    "streams_per_core": round(per_core),
                    "scaled_to_42_mflop": round(per_core * options.mflop / _SCALE_MFLOP),
                    "share_of_gemm_peak": round(per_core * options.mflop / 1e3 / peak, 3),
                }
            )
    if options.json:
        about = {"hop_ms": hop_us / 1e3, "mflop_per_audio_second": options.mflop, "gemm_peak_gflops": round(peak, 1)}
        print(json.dumps({**about, "streams_per_core": max(each["streams_per_core"] for each in found), "runs": found}))
        return
    print_table(tuple(found[0]), [tuple(each.values()) for each in found])
    print(f"hop {hop_us / 1e3:g} ms, fp32 GEMM peak {peak:.0f} GFLOP/s, {bundle.identity}")


if __name__ == "__main__":
    main()
