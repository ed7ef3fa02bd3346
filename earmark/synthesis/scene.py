"""Scenes of made sounds whose every onset and offset is known to the sample: the demo's input and a test fixture."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earmark.contracts.errors import ConfigError
from earmark.contracts.streams import Pcm
from earmark.synthesis.shaping import Audio, Curve, Take
from earmark.synthesis.sounds import LABELS, synthesize

_BACKGROUND_DBFS = -60.0
_LEVEL_DBFS = (-25.0, -12.0)
_LEVEL_WINDOW_S = 0.125  # the "fast" time weighting of sound level meters
_PEAK = 0.9
_PAUSE_S = 0.6
_SHORTEST_S = 0.5
_USUAL_S = {"door_wood_knock": (1.2, 2.2), "church_bells": (3.0, 4.5)}
_USUAL_OTHERS_S = (2.4, 4.0)
_DEMO_SEED = 0


@dataclass(frozen=True)
class LabelledExtent:
    """One sound in a scene: a label over the half-open interval [onset_sample, offset_sample)."""

    label: str
    onset_sample: int
    offset_sample: int


@dataclass(frozen=True, eq=False)
class Scene:
    """Audio and what is true of it.

    Attributes:
        audio: float32 ``[n]`` in [-1, 1].
        sample_rate_hz: Samples a second.
        truth: Every sound in it, by onset.
    """

    audio: Audio
    sample_rate_hz: int
    truth: tuple[LabelledExtent, ...]


def make_scene(
    seed: int, duration_s: float = 30.0, labels: Sequence[str] = LABELS, sample_rate_hz: int = 16_000
) -> Scene:
    """Put each label once, in random order, over a soft background.

    A sound's level (the RMS of its loudest 125 ms) is -25 to -12 dBFS, less where its peak would pass 0.9; the
    background is pink noise at -60 dBFS. Sounds never overlap: at least 0.6 s lie before, between and after them.

    Args:
        seed: The same seed makes the same scene.
        duration_s: Length in seconds; sounds shrink below their usual 2 to 4 s where it is short.
        labels: What to place; a label that stands here twice comes twice.
        sample_rate_hz: Samples a second.

    Returns:
        The scene, ``round(duration_s * sample_rate_hz)`` samples long.

    Raises:
        ConfigError: A label is unknown, or the duration leaves a sound less than 0.5 s.
    """
    rng = np.random.default_rng(seed)
    ordered = [labels[int(place)] for place in rng.permutation(len(labels))]
    background = Take(rng, round(duration_s * sample_rate_hz), sample_rate_hz)
    audio = background.band_noise(30, 6000, -3) * _gain(_BACKGROUND_DBFS)
    truth: list[LabelledExtent] = []
    for label, (onset_s, length_s) in zip(ordered, _places(rng, ordered, duration_s), strict=True):
        sound = _levelled(synthesize(label, rng, length_s, sample_rate_hz), rng.uniform(*_LEVEL_DBFS), sample_rate_hz)
        onset = round(onset_s * sample_rate_hz)
        audio[onset : onset + len(sound)] += sound
        truth.append(LabelledExtent(label, onset, onset + len(sound)))
    return Scene(audio, sample_rate_hz, tuple(truth))


def demo_scene() -> Scene:
    """The scene of `earmark demo`: always the same 30 s with all eight sounds, 16 kHz."""
    return make_scene(_DEMO_SEED)


def write_wav(path: Path, scene: Scene) -> None:
    """Write the scene's audio as 16-bit PCM, one channel; what passes full scale is clipped. Replaces the file."""
    write_pcm(path, np.clip(np.rint(scene.audio * 32768), -32768, 32767).astype(np.int16), scene.sample_rate_hz)


def write_pcm(path: Path, pcm: Pcm, sample_rate_hz: int) -> None:
    """Write int16 ``[n]`` as a WAV file of one channel. Replaces the file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())


def _places(rng: np.random.Generator, labels: Sequence[str], duration_s: float) -> list[tuple[float, float]]:
    """Onset and length in seconds for each label, in order; what the sounds leave over is shared by the pauses."""
    lengths_s: Curve = np.array([rng.uniform(*_USUAL_S.get(label, _USUAL_OTHERS_S)) for label in labels])
    room_s = duration_s - _PAUSE_S * (len(labels) + 1)
    if room_s < _SHORTEST_S * len(labels):
        need_s = _PAUSE_S * (len(labels) + 1) + _SHORTEST_S * len(labels)
        raise ConfigError(f"a scene of {len(labels)} sounds takes {need_s:.1f} s or more, not {duration_s} s")
    if room_s < lengths_s.sum():
        lengths_s = _SHORTEST_S + (lengths_s - _SHORTEST_S) * (
            (room_s - _SHORTEST_S * len(labels)) / (lengths_s.sum() - _SHORTEST_S * len(labels))
        )
    left_s = max(0.0, room_s - float(lengths_s.sum()))
    pauses_s = _PAUSE_S + left_s * rng.dirichlet(np.ones(len(labels) + 1))
    onsets_s = np.cumsum(pauses_s[:-1]) + np.cumsum(lengths_s) - lengths_s
    return [(float(onset), float(length)) for onset, length in zip(onsets_s, lengths_s, strict=True)]


def _levelled(sound: Audio, level_dbfs: float, sample_rate_hz: int) -> Audio:
    """The same with its loudest 125 ms at a level, or as loud as its peak allows."""
    window = min(len(sound), int(_LEVEL_WINDOW_S * sample_rate_hz))
    energy = np.cumsum(np.concatenate([[0.0], np.square(sound, dtype=np.float64)]))
    loudest = np.sqrt(np.max(energy[window:] - energy[:-window]) / window)
    return sound * min(_gain(level_dbfs) / np.float32(loudest), np.float32(_PEAK / np.abs(sound).max()))


def _gain(level_db: float) -> np.float32:
    return np.float32(10 ** (level_db / 20))
