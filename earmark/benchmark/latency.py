"""From the last sample that an event needs to the subscriber that is told of it, while other streams load the engine.

Audio is piped into a real streamer 20 ms at a time, each block at the moment at which its last sample would have been
heard. The clock starts when the block that holds an event's last needed sample is written, and stops when another
process has the event from `earmark.subscribe`. What the algorithm waits for (the output hop, the median, minimum
duration and gap) is not counted: which block decides an event is found beforehand with a `Detector`, which is fed one
output hop at a time. Some of the stream's thresholds are set where its scores cross them often; those of the other
streams, which make the load, are the bundle's.
"""

import contextlib
import json
import multiprocessing
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.app.child import earmark_command
from earmark.benchmark.generator import generate
from earmark.benchmark.load import read_audio
from earmark.benchmark.pinning import Cores, pinned, pool_on
from earmark.benchmark.processes import Service, running
from earmark.benchmark.realtime import make_load, percentiles
from earmark.benchmark.settings import Settings
from earmark.client import subscribe
from earmark.contracts.bundle import SPEC_FILE, Bundle
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import Pcm
from engine.detector import Detector

SHARES = (0.1, 0.5, 0.8)
"""Of the streams that a core carries in real time."""
_STREAM = "probe"
_BLOCK_S = 0.02
_N_LABELS = 8
_SILENT = 1.0
_TIMEOUT_S = 60.0
_QUIET_S = 2.0
_LONGEST_S = 600.0
_NICENESS = 19
"""Of what sends the load, which in a real street comes from other machines."""

Key: TypeAlias = tuple[str, str, int]
"""An event's label, phase and first sample: what it has in common with the same event of another run."""
Told: TypeAlias = tuple[Key, float, float | None]
"""An event, when it came, and its own ``delay_ms``."""
Overrides: TypeAlias = dict[str, dict[str, float]]


@dataclass(frozen=True, eq=False)
class Probe:
    """The stream that is listened for.

    Attributes:
        pcm: What it hears.
        warm_up: Samples of it whose events do not count.
        overrides: Its thresholds.
        needed: See `find_needed`.
    """

    pcm: Pcm
    warm_up: int
    overrides: Overrides
    needed: dict[Key, int]


def measure_latency(settings: Settings, carried: int) -> dict[str, Any]:
    """What `earmark bench latency` tells.

    Args:
        settings: What is measured.
        carried: Streams that a core carries in real time.
    """
    bundle = settings.load()
    rate_hz = bundle.spec.sample_rate_hz
    warm_up_s, audio_s = settings.pick((bundle.spec.warmup_s + 2, 40.0), (2.0, 3.0))
    _, audio = read_audio(settings.data, rate_hz)
    pcm = np.resize(audio, round((warm_up_s + audio_s) * rate_hz))
    overrides = make_eager(bundle, pcm)
    probe = Probe(pcm, round(warm_up_s * rate_hz), overrides, find_needed(bundle, pcm, overrides))
    runs: list[dict[str, Any]] = []
    for share in settings.pick(SHARES, SHARES[1:2]):
        n_load = max(1, settings.pick(round(share * carried), 2))
        way_ms, engine_ms = _measure(settings, n_load, probe)
        p50_ms, p99_ms = percentiles(way_ms)
        engine_p50_ms, engine_p99_ms = percentiles(engine_ms)
        runs.append(
            {
                "load": share,
                "streams": n_load + 1,
                "events": len(way_ms),
                "events_expected": sum(end > probe.warm_up for end in probe.needed.values()),
                "delay_p50_ms": p50_ms,
                "delay_p99_ms": p99_ms,
                "engine_p50_ms": engine_p50_ms,
                "engine_p99_ms": engine_p99_ms,
            }
        )
    return {"runs": runs}


def make_eager(bundle: Bundle, pcm: Pcm) -> Overrides:
    """Thresholds that the scores of ``pcm`` cross often, for the labels that move most; the others say nothing."""
    scores = Detector(bundle.folder).scores(pcm, bundle.spec.sample_rate_hz)
    moving = np.argsort(-scores.std(axis=0))[:_N_LABELS].tolist()
    middle = np.clip(np.median(scores, axis=0), 1e-6, 1.0)
    overrides = {label: {"onset_threshold": _SILENT, "offset_threshold": _SILENT} for label in bundle.spec.labels}
    for place in moving:
        at = float(middle[place])
        overrides[bundle.spec.labels[place]] = {"onset_threshold": at, "offset_threshold": at, "min_gap_s": 0.0}
    return overrides


def find_needed(bundle: Bundle, pcm: Pcm, overrides: Overrides) -> dict[Key, int]:
    """For each event of ``pcm``, the end of the samples that it was decided on."""
    hop = bundle.spec.output_hop
    smoothing = {
        label: SmoothingOverride.model_validate(override).apply(bundle.spec.smoothing_of(label)).model_dump()
        for label, override in overrides.items()
    }
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as name:
        folder = Path(name) / "eager"
        shutil.copytree(bundle.folder, folder)
        spec = json.loads((folder / SPEC_FILE).read_text("utf-8"))
        (folder / SPEC_FILE).write_text(json.dumps({**spec, "smoothing_by_label": smoothing}), "utf-8")
        detector = Detector(folder)
        needed: dict[Key, int] = {}
        for end in range(hop, len(pcm) + 1, hop):
            needed |= {_key(event): end for event in detector.feed(pcm[end - hop : end], stream=_STREAM)}
    return needed


def _key(event: SoundEvent) -> Key:
    return event.label, event.phase, event.onset_sample


def _measure(settings: Settings, n_load: int, probe: Probe) -> tuple[list[float], list[float]]:
    """Milliseconds from last needed sample to subscriber, and the engine's own ``delay_ms``, of each event."""
    bundle, cores = settings.load(), settings.cores
    with running(bundle, {_STREAM: {"source": "stdin", "labels": probe.overrides}}) as service:
        service.start("engine", cores.measured)
        service.start("publish", cores.load)
        load = make_load(settings, bundle, service, n_load)
        with pool_on(cores.load, _NICENESS) as pool, _subscriber(cores, service) as told:
            loading = pool.submit(generate, load.lasting(len(probe.pcm) / load.sample_rate_hz))
            written_s = _speak(cores, service, probe.pcm, round(_BLOCK_S * load.sample_rate_hz))
            came = list(_until_quiet(told))
            loading.result(_LONGEST_S)
    if probe.needed and not came:
        raise RuntimeError("expected events at the subscriber, got none; what its process said is above")
    block = round(_BLOCK_S * bundle.spec.sample_rate_hz)
    live = [
        (probe.needed[key], came_s, delay_ms)
        for key, came_s, delay_ms in came
        if probe.needed.get(key, 0) > probe.warm_up
    ]
    ways_ms = [1e3 * (came_s - float(written_s[-(-end // block) - 1])) for end, came_s, _ in live]
    return ways_ms, [delay_ms for _, _, delay_ms in live if delay_ms is not None]


@contextmanager
def _subscriber(cores: Cores, service: Service) -> Generator["Queue[Told]"]:
    """A process that listens."""
    fresh = multiprocessing.get_context("spawn")
    told: Queue[Told] = fresh.Queue()
    listener = fresh.Process(target=_listen, args=(service.events_at, service.history_at, told))
    with pinned(cores.load):
        listener.start()
    try:
        yield told
    finally:
        listener.kill()
        listener.join()
        told.close()


def _listen(address: str, history: str, told: "Queue[Told]") -> None:
    with subscribe(f"tcp://{address}", f"tcp://{history}", streams=(_STREAM,), since=0) as events:
        for event in events:
            told.put((_key(event), time.monotonic(), event.delay_ms))


def _until_quiet(told: "Queue[Told]") -> Generator[Told]:
    with contextlib.suppress(Empty):
        while True:
            yield told.get(timeout=_QUIET_S)


def _speak(cores: Cores, service: Service, pcm: Pcm, block: int) -> NDArray[np.float64]:
    """Pipe ``pcm`` into a streamer in real time; when each block was written, monotonic seconds."""
    blocks = pcm[: len(pcm) // block * block].reshape(-1, block)
    written_s = np.zeros(len(blocks))
    pause = threading.Event()
    command = earmark_command("stream", str(service.config))
    with pinned(cores.load), subprocess.Popen(command, stdin=subprocess.PIPE) as streamer:  # noqa: S603 -- our own
        try:
            pipe = streamer.stdin
            if pipe is None:
                raise RuntimeError("the streamer was started without a pipe")
            began_s = time.monotonic()
            for index, each in enumerate(blocks):
                pause.wait(max(0.0, began_s + (index + 1) * _BLOCK_S - time.monotonic()))
                written_s[index] = time.monotonic()
                pipe.write(each.astype("<i2").tobytes())
                pipe.flush()
            pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                streamer.wait(_TIMEOUT_S)
        finally:
            streamer.kill()
    return written_s
