"""What a stream loses where a fresh row takes over: several lengths of the window and of its warm-up.

Dev scenes are joined to recordings of ten minutes, each of which is scored and smoothed as a live stream would be. The
last line has one row for the whole recording. A row that warms up costs a step like any other.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measuring import print_table
from benchmarks.quality_drift import read_scenes
from earmark.contracts.bundle import Bundle, load_bundle
from earmark.contracts.streams import Pcm
from earmark.evaluation.annotations import TRUTH_FILE, Annotations, LabelledEvent, read_ignored, read_tsv
from earmark.evaluation.decisions import decide
from earmark.evaluation.events import count_events, within_collar
from earmark.evaluation.ignoring import drop_ignored
from earmark.evaluation.scoring import score_files
from earmark.evaluation.segments import count_segments
from earmark.synthesis.scene import write_pcm

_JOINED = 60
_WINDOWS_S = ((30.0, 10.0), (30.0, 7.5), (30.0, 5.0), (30.0, 2.5), (30.0, 1.0), (60.0, 10.0), (60.0, 5.0))
_HEADER = ("window, warm-up", "rows a stream", "events told", "event F1", "onset F1", "segment F1")


def write_joined(scenes: Sequence[Pcm], rate: int, folder: Path) -> None:
    """Write scenes one behind the other, `_JOINED` to a file."""
    for first in range(0, len(scenes), _JOINED):
        write_pcm(folder / _name(first), np.concatenate(scenes[first : first + _JOINED]), rate)


def join(events: Sequence[Sequence[LabelledEvent]], scenes: Sequence[Pcm], rate: int) -> Annotations:
    """The scenes' events, at their times in the files that `write_joined` writes."""
    joined: Annotations = {}
    for first in range(0, len(scenes), _JOINED):
        begins_s = np.cumsum([0, *map(len, scenes[first : first + _JOINED])]) / rate
        joined[_name(first)] = sorted(
            replace(event, onset_s=event.onset_s + begin_s, offset_s=event.offset_s + begin_s)
            for of_scene, begin_s in zip(events[first : first + _JOINED], begins_s.tolist(), strict=False)
            for event in of_scene
        )
    return joined


def _name(first: int) -> str:
    return f"{first:05d}.wav"


def measure(bundle: Bundle, folder: Path, truth: Annotations, ignored: Annotations) -> tuple[str, ...]:
    """Events told, and the three F1 scores."""
    scored = score_files(bundle, folder, list(truth))
    detected = decide(scored, bundle.spec)
    counted = drop_ignored(detected, truth, ignored)
    tallies = (
        count_events(truth, counted, scored.labels, within_collar()),
        count_events(truth, counted, scored.labels, within_collar(offset_share=None)),
        count_segments(truth, counted, scored.durations_s, scored.labels, ignored=ignored),
    )
    return str(sum(map(len, detected.values()))), *(f"{100 * tally.micro.f1:.2f} %" for tally in tallies)


def main() -> None:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder of scenes, as `earmark data scenes` writes it")
    parser.add_argument("--bundle", default="urban")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        events = read_tsv(options.scenes / TRUTH_FILE)
        scenes = read_scenes(options.scenes, bundle.spec.sample_rate_hz)
        extents = read_ignored(options.scenes, events)
        write_joined(scenes, bundle.spec.sample_rate_hz, Path(folder))
        truth, ignored = (
            join([of_file.get(name, []) for name in sorted(events)], scenes, bundle.spec.sample_rate_hz)
            for of_file in (events, extents)
        )
        for window_s, warmup_s in _WINDOWS_S:
            spec = bundle.spec.model_copy(update={"window_s": window_s, "warmup_s": warmup_s})
            found = measure(replace(bundle, spec=spec), Path(folder), truth, ignored)
            rows.append((f"{window_s:g} s, {warmup_s:g} s", f"{1 + warmup_s / window_s:.2f}", *found))
        spec = bundle.spec.model_copy(update={"window_s": 86_400.0})
        rows.append(("one row for all", "1", *measure(replace(bundle, spec=spec), Path(folder), truth, ignored)))
    print_table(_HEADER, rows)


if __name__ == "__main__":
    main()
