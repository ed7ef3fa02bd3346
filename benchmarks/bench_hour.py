"""An hour of audio for 8 streams through the real service, as fast as it goes: memory, gaps, coverage, speed.

Streamer, engine and publishers run as processes of their own, with a subscriber. Memory is what each of the three holds
(VmRSS) once 5 % are analysed, at the most, and at the end.
"""

import argparse
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import print_table, read_values, resident_mb
from earmark.synthesis.scene import make_scene
from earmark.telemetry.logs import LEVEL_VARIABLE
from tests.system.processes import Machine, running, write_wav

N_STREAMS = 8
RATE_HZ = 16_000
PROCESSES = {"streamer": "stream", "engine": "engine", "publishers": "publish"}
_WARM = 0.05
_LOOK_EVERY_S = 0.5


@dataclass
class Course:
    """What was seen of a run.

    Attributes:
        audio_s: Seconds of audio of all streams.
        wall_s: How long they took.
        resident_mb: By process, what it held each time once the run was warm.
        coverage: By stream, in the end.
        gaps: Gaps in the end, of whatever reason.
        refused: Records that the engine refused.
        events: Events in the outbox.
    """

    audio_s: float
    wall_s: float = 0.0
    resident_mb: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PROCESSES})
    coverage: list[float] = field(default_factory=list[float])
    gaps: float = 0.0
    refused: float = 0.0
    events: int = 0


def scenes(duration_s: float) -> NDArray[np.int16]:
    """Made sounds, one scene after the other, int16 ``[n]``."""
    n_samples = round(duration_s * RATE_HZ)
    distinct = [make_scene(seed).audio for seed in range(min(8, 1 + int(duration_s // 30)))]
    audio = np.concatenate(distinct)
    return np.resize(np.round(audio * 32767).astype(np.int16), n_samples)


def run(folder: Path, duration_s: float, bundle: str | Path = "urban") -> Course:
    """Send one recording on 8 streams.

    Args:
        folder: For everything that is written.
        duration_s: Length of the recording.
        bundle: Name or folder of the bundle.

    Returns:
        What was seen.
    """
    recording = write_wav(folder / "recording.wav", scenes(duration_s))
    source = {"source": "file", "path": str(recording), "pace": "fast"}
    course = Course(N_STREAMS * duration_s)
    with running(folder, {f"stream-{index}": source for index in range(N_STREAMS)}, bundle=bundle) as machine:
        machine.start("engine")
        machine.start("publish")
        subscriber = machine.subscribe("--since", "0")
        began_s = time.monotonic()
        machine.start("stream")
        _watch(machine, course)
        course.wall_s = time.monotonic() - began_s
        engine = machine.telemetry["engine"]
        course.coverage = read_values(engine, "earmark_coverage_ratio")
        course.gaps = sum(read_values(engine, "earmark_gaps_total"))
        course.refused = sum(read_values(engine, "earmark_refused_records_total"))
        course.events = machine.newest_seq()
        subscriber.wait_for(lambda events: len(events) == course.events)
    return course


def _watch(machine: Machine, course: Course) -> None:
    """Look at the processes' memory until the streamer has ended."""
    pids = {name: machine.pid(command) for name, command in PROCESSES.items()}
    tick = threading.Event()
    while None not in (held := {name: resident_mb(pid) for name, pid in pids.items()}).values():
        analysed = sum(read_values(machine.telemetry["engine"], "earmark_analysed_samples_total"))
        if analysed >= _WARM * course.audio_s * RATE_HZ:
            for name, mb in held.items():
                course.resident_mb[name].append(mb or 0.0)
        tick.wait(_LOOK_EVERY_S)
    if machine.wait_for_end("stream") != 0:
        raise RuntimeError("the streamer failed; its words are above")


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    os.environ.setdefault(LEVEL_VARIABLE, "warning")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the recording")
    with tempfile.TemporaryDirectory(prefix="earmark-hour-") as folder:
        course = run(Path(folder), 60 * parser.parse_args().minutes)
    rows = [
        (f"resident, {name}", f"{held[0]:.1f} / {max(held):.1f} / {held[-1]:.1f} MiB (at 5 %, most, last)")
        for name, held in course.resident_mb.items()
    ]
    rows += [
        ("gaps", f"{course.gaps:g}"),
        ("refused", f"{course.refused:g}"),
        ("coverage, lowest of the streams", f"{min(course.coverage):g} of {len(course.coverage)}"),
        ("events told", f"{course.events}"),
        ("audio", f"{course.audio_s:g} s in {N_STREAMS} streams"),
        ("wall time", f"{course.wall_s:.1f} s"),
        ("real-time factor", f"{course.audio_s / course.wall_s:.0f}"),
    ]
    print_table(("one hour, fast", ""), rows)


if __name__ == "__main__":
    main()
