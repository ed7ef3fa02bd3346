"""What a model is measured on: the labelled clips of the dev split one by one, and scenes mixed from its sounds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.synthesis.scene import make_scene
from earmark.synthesis.sounds import LABELS
from earmark.training.activity import TICK_S, region_ticks
from earmark.training.cache import AudioCache
from earmark.training.feed import Encoder, Examples
from earmark.training.index import Recording
from earmark.training.scenes import Scene, SceneMixer
from earmark.training.sources import SPEECH
from engine.frontend import Features, LogMel

N_SCENES, N_EMPTY, N_MADE = 200, 200, 16
CLIP_S = 5
_SEED = 20_260
"""Of the dev scenes; apart from every training seed."""


@dataclass(frozen=True)
class Clips:
    """Labelled clips of `CLIP_S`: features float32 ``[N, T, n_mels]`` and classes int64 ``[N]``."""

    features: Features
    labels: NDArray[np.int64]

    @classmethod
    def load(
        cls, recordings: Sequence[Recording], cache: AudioCache, front_end: LogMel, names: tuple[str, ...]
    ) -> "Clips":
        """The index's dev clips, `speech` apart, cut or filled with silence to `CLIP_S`."""
        chosen = [r for r in recordings if r.kind == "event" and r.split == "dev" and r.label != SPEECH]
        audio = (_fit(cache[recording.file], CLIP_S * front_end.spec.sample_rate_hz) for recording in chosen)
        features = [front_end(np.pad(clip, (front_end.tail_length, 0))[None])[0] for clip in audio]
        return cls(np.stack(features), np.array([names.index(recording.label) for recording in chosen]))


@dataclass(frozen=True)
class DevSet:
    """Everything that is measured.

    Attributes:
        clips: Labelled clips as they are.
        tuning: Scenes of all kinds, which calibration may look at.
        scenes: Other scenes, with 1 to 4 events each.
        empty: Scenes with background only.
        made: The demo's kind of scenes, of made sounds.
        meetings: Real meetings, of any length, with annotated speech; there may be none.
    """

    clips: Clips
    tuning: Examples
    scenes: Examples
    empty: Examples
    made: Examples
    meetings: tuple[Examples, ...]

    @classmethod
    def make(
        cls, clips: Clips, meetings: Sequence[Scene], mixer: SceneMixer, encoder: Encoder, names: tuple[str, ...]
    ) -> "DevSet":
        """The same scenes for the same sounds, every time."""
        rng = np.random.default_rng(_SEED)
        return cls(
            clips,
            tuning=encoder([mixer.scene(rng) for _ in range(N_SCENES)]),
            scenes=encoder([mixer.mixed(rng, int(rng.integers(1, 5))) for _ in range(N_SCENES)]),
            empty=encoder([mixer.mixed(rng, 0) for _ in range(N_EMPTY)]),
            made=encoder([_made(_SEED + i, names) for i in range(N_MADE)]),
            meetings=tuple(encoder([scene]) for scene in meetings),
        )


def meeting_scenes(
    recordings: Sequence[Recording], cache: AudioCache, rate_hz: int, names: tuple[str, ...]
) -> list[Scene]:
    """The index's dev meetings with annotated speech, cut to whole seconds."""
    chosen = [r for r in recordings if r.kind == "recording" and r.split == "dev" and r.regions and SPEECH in names]
    return [_meeting(recording, cache[recording.file], rate_hz, names.index(SPEECH)) for recording in chosen]


def _meeting(recording: Recording, pcm: NDArray[np.int16], rate_hz: int, speech: int) -> Scene:
    seconds = len(pcm) // rate_hz
    active = region_ticks(recording.regions, round(seconds / TICK_S))
    return Scene(_fit(pcm, seconds * rate_hz), ((speech, active),))


def _made(seed: int, names: tuple[str, ...]) -> Scene:
    scene = make_scene(seed, labels=[label for label in LABELS if label in names])
    tick = round(TICK_S * scene.sample_rate_hz)
    events = []
    for extent in scene.truth:
        active = np.zeros(len(scene.audio) // tick, bool)
        active[extent.onset_sample // tick : -(-extent.offset_sample // tick)] = True
        events.append((names.index(extent.label), active))
    return Scene(scene.audio, tuple(events))


def _fit(pcm: NDArray[np.int16], n_samples: int) -> NDArray[np.float32]:
    cut = pcm[:n_samples].astype(np.float32) / 32768
    return np.pad(cut, (0, n_samples - len(cut)))
