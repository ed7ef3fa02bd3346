"""How well the bundle hears a sound of the dev scenes, by how far it stands out of all else that sounds meanwhile.

The same 300 scenes that the F1 scores are of, mixed anew so that each sound's share is known. A sound is "named" if of
all classes that are not in the scene meanwhile its own has the largest mean logit, and "told of" if an event of its
class at the shipped thresholds overlaps it.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.measuring import print_table
from earmark.contracts.bundle import BundleSpec, load_bundle
from earmark.evaluation.decisions import decide
from earmark.evaluation.scoring import score_files
from earmark.synthesis.scene import write_pcm
from earmark.training.activity import TICK_S
from earmark.training.config import SceneConfig, TrainConfig
from earmark.training.release import N_MEASURED, SCENE_S
from earmark.training.scene_files import RunAudio
from earmark.training.scenes import Scene, SceneMixer
from earmark.training.sources import SoundBank
from engine.runtimes import Scores

_EDGES_DB = (-np.inf, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, np.inf)


@dataclass(frozen=True)
class Heard:
    """What became of one sound."""

    snr_db: float
    is_named: bool
    is_told: bool


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/train/urban.yaml"))
    parser.add_argument("--bundle", default="urban")
    arguments = parser.parse_args()
    config = TrainConfig.load(arguments.config)
    with tempfile.TemporaryDirectory() as folder:
        scenes = dict(_mix(RunAudio(config), Path(folder)))
        bundle = load_bundle(arguments.bundle)
        scored = score_files(bundle, Path(folder), list(scenes))
    detected = decide(scored, bundle.spec)
    told = {name: {(e.label, e.onset_s, e.offset_s) for e in found} for name, found in detected.items()}
    heard = [
        one for name, scene in scenes.items() for one in _judge(scene, scored.scores[name], bundle.spec, told[name])
    ]
    rows: list[list[object]] = []
    for low, high in pairwise(_EDGES_DB):
        chosen = [one for one in heard if low <= one.snr_db < high]
        named, is_told = (np.mean([getattr(one, what) for one in chosen]) for what in ("is_named", "is_told"))
        rows.append([f"{low:g} to {high:g}", f"{len(chosen) / len(heard):.0%}", f"{named:.1%}", f"{is_told:.1%}"])
    print_table(["dB against all else", "of the sounds", "named", "told of"], rows)


def _mix(audio: RunAudio, folder: Path) -> Iterator[tuple[str, Scene]]:
    rate_hz = audio.cache.sample_rate_hz
    bank = SoundBank(audio.recordings, "dev", audio.cache, audio.config.naming, rate_hz)
    mixer = SceneMixer(bank, SceneConfig(duration_s=SCENE_S), bank.labels, rate_hz)
    for i in range(N_MEASURED):
        scene = mixer.test(np.random.default_rng([0, i]))
        name = f"{i:05d}.wav"
        write_pcm(folder / name, np.rint(scene.audio * 32767).astype(np.int16), rate_hz)
        yield name, scene


def _judge(scene: Scene, scores: Scores, spec: BundleSpec, told: set[tuple[str, float, float]]) -> Iterator[Heard]:
    """What became of each sound of a scene; scores tell of what was `delay_frames` before."""
    scores = np.clip(scores, 1e-6, 1 - 1e-6)
    logits = np.log(scores / (1 - scores))
    for event in scene.events:
        ticks = np.flatnonzero(event.active)
        frame_s = spec.output_hop / spec.sample_rate_hz
        frames = np.unique(np.minimum((ticks * TICK_S / frame_s).astype(int) + spec.delay_frames, len(logits) - 1))
        mean = logits[frames].mean(axis=0)
        for other in scene.events:
            if other.label != event.label and (other.active & event.active).any():
                mean[other.label] = -np.inf
        label, onset_s, offset_s = spec.labels[event.label], ticks[0] * TICK_S, (ticks[-1] + 1) * TICK_S
        is_told = any(name == label and begin < offset_s and end > onset_s for name, begin, end in told)
        yield Heard(event.snr_db, int(mean.argmax()) == event.label, is_told)


if __name__ == "__main__":
    main()
