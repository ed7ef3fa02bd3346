"""From the last sample that an event needs to the subscriber that is told of it: one stream, real time.

Audio is piped into a streamer 20 ms at a time, each block at the moment at which its last sample would have been heard.
The clock starts when the block that holds an event's last needed sample is written, and stops when another process has
the event from `earmark.subscribe`. What the algorithm waits for (the output hop, the median, minimum duration and gap)
is not counted: which block decides an event is found beforehand with a `Detector`, which is fed one output hop at a
time. The bundle's thresholds are lowered until its scores cross them about once a second.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
import time
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import print_table
from earmark.app.child import earmark_command
from earmark.client import subscribe
from earmark.contracts.bundle import load_bundle
from earmark.contracts.events import SoundEvent
from earmark.synthesis.scene import make_scene
from earmark.telemetry.logs import LEVEL_VARIABLE
from engine.detector import Detector
from tests.system.processes import Machine, running

STREAM = "gate"
RATE_HZ = 16_000
BLOCK = 320
_START = 5 * RATE_HZ
"""Silence while the processes start: the first blocks wait for the streamer, so events in it do not count."""
_EAGER = {"onset_threshold": 0.05, "offset_threshold": 0.05, "median_frames": 3, "min_gap_s": 0.1}

Key: TypeAlias = tuple[str, str, int]
"""An event's label, phase and first sample: what it has in common with the same event of another run."""


def key_of(event: SoundEvent) -> Key:
    """An event's `Key`."""
    return event.label, event.phase, event.onset_sample


def make_eager_bundle(folder: Path) -> Path:
    """A copy of `urban` that tells of every faint hint."""
    shutil.copytree(load_bundle("urban").folder, folder)
    spec = json.loads((folder / "bundle.json").read_text())
    changed = {**spec, "smoothing": _EAGER, "smoothing_by_label": {}}
    (folder / "bundle.json").write_text(json.dumps(changed))
    return folder


def find_needed(bundle: Path, pcm: NDArray[np.int16]) -> dict[Key, int]:
    """For each event of ``pcm``, the end of the samples that it was decided on."""
    detector = Detector(bundle)
    hop = round(detector.frame_s * RATE_HZ)
    needed: dict[Key, int] = {}
    for end in range(hop, len(pcm) + 1, hop):
        needed |= {key_of(event): end for event in detector.feed(pcm[end - hop : end], stream=STREAM)}
    return needed


def listen(address: str, history: str, n_events: int, told: "Queue[tuple[Key, float, float | None]]") -> None:
    """A subscriber's process: puts each event with the time at which it came, and its own ``delay_ms``."""
    with subscribe(address, history, since=0, timeout_s=60) as events:
        for _, event in zip(range(n_events), events, strict=False):
            told.put((key_of(event), time.monotonic(), event.delay_ms))


def speak(streamer: "subprocess.Popen[bytes]", pcm: NDArray[np.int16]) -> NDArray[np.float64]:
    """Pipe ``pcm`` in real time; when each block was written, monotonic seconds."""
    if streamer.stdin is None:
        raise RuntimeError("the streamer was started without a pipe")
    blocks = pcm[: len(pcm) // BLOCK * BLOCK].reshape(-1, BLOCK)
    written_s = np.zeros(len(blocks))
    pause = threading.Event()
    began_s = time.monotonic()
    for index, block in enumerate(blocks):
        pause.wait(max(0.0, began_s + (index + 1) * BLOCK / RATE_HZ - time.monotonic()))
        written_s[index] = time.monotonic()
        streamer.stdin.write(block.astype("<i2").tobytes())
        streamer.stdin.flush()
    return written_s


def measure(
    machine: Machine, needed: dict[Key, int], pcm: NDArray[np.int16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds from last needed sample to subscriber, and the engine's own ``delay_ms``, of each event."""
    fresh = multiprocessing.get_context("spawn")
    told: Queue[tuple[Key, float, float | None]] = fresh.Queue()
    subscriber = fresh.Process(target=listen, args=(machine.events_at, machine.history_at, len(needed), told))
    machine.start("engine")
    machine.start("publish")
    subscriber.start()
    streamer = subprocess.Popen(earmark_command("stream", str(machine.config)), stdin=subprocess.PIPE)  # noqa: S603
    try:
        written_s = speak(streamer, pcm)
        came = [told.get(timeout=60) for _ in needed]
    finally:
        streamer.kill()
        streamer.wait()
        subscriber.kill()
        subscriber.join()
    live = [(key, came_s, delay_ms) for key, came_s, delay_ms in came if needed[key] > _START]
    ways = [1000 * (came_s - written_s[needed[key] // BLOCK - 1]) for key, came_s, _ in live]
    return np.array(ways), np.array([delay_ms for _, _, delay_ms in live if delay_ms is not None])


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=9, help="scenes of 30 s")
    os.environ.setdefault(LEVEL_VARIABLE, "warning")
    audio = np.concatenate([make_scene(seed).audio for seed in range(parser.parse_args().scenes)])
    pcm = np.concatenate([np.zeros(_START, np.int16), np.round(audio * 32767).astype(np.int16)])
    with tempfile.TemporaryDirectory(prefix="earmark-latency-") as name:
        folder = Path(name)
        bundle = make_eager_bundle(folder / "eager")
        needed = find_needed(bundle, pcm)
        with running(folder, {STREAM: {"source": "stdin"}}, bundle=bundle) as machine:
            way_ms, delay_ms = measure(machine, needed, pcm)
    rows = [
        (what, len(ms), *(f"{np.percentile(ms, q):.1f}" for q in (50, 90, 99)), f"{ms.max():.1f}")
        for what, ms in (("last sample to subscriber", way_ms), ("of it, engine: arrival to decision", delay_ms))
    ]
    print_table(("ms", "events", "p50", "p90", "p99", "most"), rows)


if __name__ == "__main__":
    main()
