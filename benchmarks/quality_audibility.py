"""How well a bundle finds a sound of the dev scenes, by its level against everything else while it is active.

The same 300 scenes that the F1 scores are of, mixed again so that each sound's share is known. A sound is "audible" if
any part of it is, by `earmark.training.audibility`; its "audible time" is that part's share of its activity. It is
"named" if its own class has the largest mean logit of all classes that are not active meanwhile. It is "found" if an
event of its class at the shipped thresholds overlaps its activity, or, for the audible sounds, its audible part.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.measuring import print_table
from earmark.contracts.bundle import BundleSpec, load_bundle
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.decisions import decide
from earmark.evaluation.scoring import score_files
from earmark.synthesis.scene import write_pcm
from earmark.training.activity import TICK_S, Active
from earmark.training.config import SceneConfig, TrainConfig
from earmark.training.release import N_MEASURED, SCENE_S
from earmark.training.scene_files import RunAudio
from earmark.training.scenes import Scene, SceneEvent, SceneMixer
from earmark.training.sources import SoundBank
from engine.runtimes import Scores

_EDGES_DB = (-np.inf, -15.0, -10.0, -5.0, 0.0, 5.0, 10.0, np.inf)
_HEADER = ("dB against all else", "of the sounds", "audible", "audible time", "named", "found", "audible ones found")


@dataclass(frozen=True)
class Judged:
    """What became of one sound.

    Attributes:
        snr_db: Its level against everything else.
        audible_share: Of its active time.
        is_named: Whether its class is the likeliest.
        is_found: Whether an event overlaps its activity.
        is_found_audible: Whether an event overlaps its audible part.
    """

    snr_db: float
    audible_share: float
    is_named: bool
    is_found: bool
    is_found_audible: bool


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/train/urban.yaml"))
    parser.add_argument("--bundle", default="urban")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder:
        scenes = dict(_mix(RunAudio(TrainConfig.load(arguments.config)), Path(folder)))
        scored = score_files(bundle, Path(folder), list(scenes))
    detected = decide(scored, bundle.spec)
    judged = [
        one for name, scene in scenes.items() for one in _judge(scene, scored.scores[name], bundle.spec, detected[name])
    ]
    rows = [
        _row(f"{low:g} to {high:g}", [one for one in judged if low <= one.snr_db < high], len(judged))
        for low, high in pairwise(_EDGES_DB)
    ]
    print_table(_HEADER, [*rows, _row("all", judged, len(judged))])


def _mix(audio: RunAudio, folder: Path) -> Iterator[tuple[str, Scene]]:
    rate_hz = audio.cache.sample_rate_hz
    bank = SoundBank(audio.recordings, "dev", audio.cache, audio.config.naming, rate_hz)
    mixer = SceneMixer(bank, SceneConfig(duration_s=SCENE_S), bank.labels, rate_hz)
    for i in range(N_MEASURED):
        scene = mixer.test(np.random.default_rng([0, i]))
        name = f"{i:05d}.wav"
        write_pcm(folder / name, np.rint(scene.audio * 32767).astype(np.int16), rate_hz)
        yield name, scene


def _judge(scene: Scene, scores: Scores, spec: BundleSpec, detected: Sequence[LabelledEvent]) -> Iterator[Judged]:
    """What became of each sound of a scene."""
    scores = np.clip(scores, 1e-6, 1 - 1e-6)
    logits = np.log(scores / (1 - scores))
    for event, audible in zip(scene.events, scene.audible, strict=True):
        found = _ticks([one for one in detected if one.label == spec.labels[event.label]], len(event.active))
        yield Judged(
            snr_db=event.snr_db,
            audible_share=audible.sum() / event.active.sum(),
            is_named=_named(event, scene, logits, spec) == event.label,
            is_found=bool((found & event.active).any()),
            is_found_audible=bool((found & audible).any()),
        )


def _named(event: SceneEvent, scene: Scene, logits: Scores, spec: BundleSpec) -> int:
    """The class with the largest mean logit while a sound is active; scores come `delay_frames` late."""
    ticks = np.flatnonzero(event.active)
    frame_s = spec.output_hop / spec.sample_rate_hz
    frames = np.unique(np.minimum((ticks * TICK_S / frame_s).astype(int) + spec.delay_frames, len(logits) - 1))
    mean = logits[frames].mean(axis=0)
    for other in scene.events:
        if other.label != event.label and (other.active & event.active).any():
            mean[other.label] = -np.inf
    return int(mean.argmax())


def _ticks(events: Sequence[LabelledEvent], n_ticks: int) -> Active:
    """The ticks that events overlap, bool ``[n_ticks]``."""
    ticks = np.zeros(n_ticks, bool)
    for event in events:
        ticks[int(event.onset_s / TICK_S) : -int(-event.offset_s // TICK_S)] = True
    return ticks


def _row(name: str, chosen: Sequence[Judged], n_all: int) -> list[str]:
    audible = [one for one in chosen if one.audible_share > 0]
    shares = (
        len(chosen) / n_all,
        len(audible) / len(chosen),
        np.mean([one.audible_share for one in chosen]),
        np.mean([one.is_named for one in chosen]),
        np.mean([one.is_found for one in chosen]),
        np.mean([one.is_found_audible for one in audible]),
    )
    return [name, *(f"{share:.1%}" for share in shares)]


if __name__ == "__main__":
    main()
