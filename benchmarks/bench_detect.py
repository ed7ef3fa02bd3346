"""`earmark detect` on one core: its real-time factor, and how often the shipped bundle names a dev clip rightly.

Over the 371 dev clips of ESC-50 beside the checkout: the class of a clip is the one with the highest score in it,
leaving out `speech`, which is no class of ESC-50. Speech stands apart: the share of the dev recordings of speech whose
highest score of all is `speech`, and the share of ESC-50 clips in which `speech` passes its onset threshold. Without
the data, only the speed is measured, on made scenes.
"""

import argparse
import csv
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import print_table
from earmark.app.child import earmark_command
from earmark.contracts.bundle import load_bundle
from earmark.synthesis.scene import make_scene, write_wav
from engine.detector import Detector
from streamer.resampler import Resampler
from streamer.sources.decode import Decoder

DATA = Path(__file__).parents[2] / "shared" / "data"
SPEECH = "speech"
_N_SCENES = 20


@dataclass(frozen=True)
class Recording:
    """A recording and what is in it."""

    path: Path
    label: str
    seconds: float


def find_recordings(folder: str) -> list[Recording]:
    """The dev recordings of sounds in one folder of the data."""
    with (DATA / "index.csv").open(encoding="utf-8") as file:
        return [
            Recording(DATA / row["file"], row["label"], float(row["seconds"]))
            for row in csv.DictReader(file)
            if row["split"] == "dev" and row["kind"] == "event" and row["file"].startswith(f"{folder}/")
        ]


def make_recordings(folder: Path) -> list[Recording]:
    """Scenes of made sounds."""
    made = [Recording(folder / f"{seed}.wav", "", 30.0) for seed in range(_N_SCENES)]
    for seed, recording in enumerate(made):
        write_wav(recording.path, make_scene(seed))
    return made


def read(path: Path, sample_rate_hz: int) -> NDArray[np.int16]:
    """A file's first channel."""
    decoder = Decoder(str(path), 0, name=str(path))
    try:
        resampler = Resampler(decoder.sample_rate_hz, sample_rate_hz)
        return np.concatenate([*(resampler.process(audio) for audio in decoder.chunks()), resampler.flush()])
    finally:
        decoder.close()


def highest_scores(recordings: Sequence[Recording]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The labels, and each recording's highest score of each, ``[N, C]``."""
    detector = Detector()
    rate = detector.sample_rate_hz
    return detector.labels, np.stack(
        [detector.scores(read(recording.path, rate), rate).max(axis=0) for recording in recordings]
    )


def time_detect(recordings: Sequence[Recording]) -> float:
    """Wall seconds of `earmark detect` on one core, start included."""
    command = earmark_command("detect", "--format", "tsv", *(str(recording.path) for recording in recordings))
    core = min(os.sched_getaffinity(0))
    began_s = time.monotonic()
    subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    return time.monotonic() - began_s


def measure_accuracy(clips: Sequence[Recording]) -> list[tuple[str, str]]:
    """Rows about the clips and about speech."""
    labels, scores = highest_scores(clips)
    speech = labels.index(SPEECH)
    others = scores.copy()
    others[:, speech] = -1
    rightly = [labels[best] == clip.label for best, clip in zip(others.argmax(axis=1), clips, strict=True)]
    threshold = load_bundle("urban").spec.smoothing_of(SPEECH).onset_threshold
    spoken = [recording for recording in find_recordings(SPEECH) if recording.label == SPEECH]
    _, of_speech = highest_scores(spoken)
    return [
        ("accuracy", f"{np.mean(rightly):.3f}"),
        ("clips", f"{len(clips)}"),
        ("speech named rightly", f"{np.mean(of_speech.argmax(axis=1) == speech):.3f} of {len(spoken)} recordings"),
        ("clips that pass for speech", f"{np.mean(scores[:, speech] >= threshold):.3f}"),
    ]


def main() -> None:
    """Run it and print what was seen."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="earmark-detect-") as folder:
        recordings = find_recordings("esc50") if DATA.is_dir() else make_recordings(Path(folder))
        wall_s = time_detect(recordings)
        if DATA.is_dir():
            rows += measure_accuracy(recordings)
    audio_s = sum(recording.seconds for recording in recordings)
    rows += [("real_time_factor", f"{audio_s / wall_s:.0f}"), ("audio", f"{audio_s:.0f} s in {wall_s:.1f} s")]
    print_table((f"`earmark detect`, {load_bundle('urban').identity}", ""), rows)


if __name__ == "__main__":
    main()
