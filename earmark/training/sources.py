"""Where the sounds of a scene come from: trimmed recordings, made sounds, distractors, rooms."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError
from earmark.synthesis.sounds import LABELS as MADE_LABELS
from earmark.synthesis.sounds import synthesize
from earmark.training.activity import TICK_S, active_ticks, region_ticks
from earmark.training.ambience import Ambiences
from earmark.training.cache import AudioCache
from earmark.training.config import Naming
from earmark.training.index import Recording

Audio = NDArray[np.float32]

SPEECH = "speech"
MEETING_SHARE = 0.4
"""Of the speech in scenes: pieces of real meetings; the rest are single words."""
MIN_PIECE_S, MAX_PIECE_S = 2.0, 8.0
"""A longer recording gives a random piece."""


@dataclass(frozen=True)
class Sound:
    """A piece of audio, float32 ``[n]`` in [-1, 1], and its active ticks, bool ``[ceil(n / tick)]``."""

    label: str | None
    audio: Audio
    active: NDArray[np.bool_]


class SoundBank:
    """Draws sounds of one split.

    Args:
        recordings: The index.
        split: ``train`` or ``dev``; nothing else of the index is ever read.
        cache: The index's audio.
        naming: What recordings beyond the labelled clips are good for.
        sample_rate_hz: The cache's rate.

    Raises:
        ConfigError: The split has no labelled events.
    """

    def __init__(
        self, recordings: Sequence[Recording], split: str, cache: AudioCache, naming: Naming, sample_rate_hz: int
    ) -> None:
        self._cache, self._rate = cache, sample_rate_hz
        self.tick = round(TICK_S * sample_rate_hz)
        self._by_label: dict[str, list[Recording]] = defaultdict(list)
        self._clips: dict[str, list[Recording]] = defaultdict(list)
        self._meetings: list[Recording] = []
        self._distractors: list[Recording] = []
        self._backgrounds: list[Recording] = []
        self._rirs: list[Recording] = []
        for recording in recordings:
            if recording.split == split:
                self._file(recording, naming)
        self.recordings = self._known()
        """All that can ever be drawn."""
        self.ambiences = Ambiences(self._backgrounds, cache)
        self.labels = tuple(sorted(self._by_label))
        self._classes = tuple(label for label in self.labels if label != SPEECH)
        if not self._clips:
            raise ConfigError(f"expected labelled events with split {split!r} in the index, found none")
        self.made_labels = tuple(label for label in MADE_LABELS if label in self._by_label)

    def _file(self, recording: Recording, naming: Naming) -> None:
        match recording.kind:
            case "event":
                self._by_label[recording.label].append(recording)
                if recording.label != SPEECH:
                    self._clips[recording.label].append(recording)
            case "recording":
                # Nobody speaks in a meeting without regions: it is an ambience.
                (self._meetings if recording.regions else self._backgrounds).append(recording)
            case "rir":
                self._rirs.append(recording)
            case "background" if recording.label in naming.backgrounds:
                self._by_label[naming.backgrounds[recording.label]].append(recording)
            case "background" if recording.label in naming.neutral:
                self._backgrounds.append(recording)
            case "extra" if label := longest_beginning(recording.label, naming.extra):
                self._by_label[label].append(recording)
            case "extra" if longest_beginning(recording.label, dict.fromkeys(naming.distractors, "-")):
                self._distractors.append(recording)
            case _:
                pass

    def _known(self) -> tuple[Recording, ...]:
        lists = (*self._by_label.values(), self._meetings, self._distractors, self._backgrounds, self._rirs)
        return tuple(sorted((row for rows in lists for row in rows), key=lambda row: row.file))

    def event(self, rng: np.random.Generator, *, speech_share: float, made_share: float) -> Sound:
        """A sound of some class: all classes are as likely, but for speech and the made sounds."""
        kind = rng.random()
        if kind < made_share and self.made_labels:
            return self.made(rng, str(rng.choice(self.made_labels)))
        spoken = kind < made_share + speech_share and SPEECH in self.labels
        label = SPEECH if spoken else str(rng.choice(self._classes))
        if label == SPEECH and self._meetings and rng.random() < MEETING_SHARE:
            return self._meeting(rng)
        return self._sound(label, _pick(rng, self._by_label[label]), rng)

    def clip(self, rng: np.random.Generator, *, made_share: float) -> Sound:
        """A whole labelled clip as it is, its silence included, or a made sound."""
        if self.made_labels and rng.random() < made_share:
            return self.made(rng, str(rng.choice(self.made_labels)))
        recording = _pick(rng, self._clips[str(rng.choice(tuple(self._clips)))])
        audio = _floats(self._cache[recording.file])
        return Sound(recording.label, audio, active_ticks(audio, self.tick))

    def made(self, rng: np.random.Generator, label: str) -> Sound:
        """A sound that the project makes itself."""
        audio = synthesize(label, rng, float(rng.uniform(0.5, 5.0)), self._rate)
        return Sound(label, audio, active_ticks(audio, self.tick))

    def distractor(self, rng: np.random.Generator) -> Sound | None:
        """A sound of no class, or None where the split has none."""
        if not self._distractors:
            return None
        return self._sound(None, _pick(rng, self._distractors), rng)

    def room(self, rng: np.random.Generator) -> Audio | None:
        """A room's impulse response from its direct sound on, of unit energy, at most 1 s; None where there is none."""
        if not self._rirs:
            return None
        response = _floats(self._cache[_pick(rng, self._rirs).file])
        response = response[int(np.abs(response).argmax()) :][: self._rate]
        return response / np.sqrt(np.square(response).sum())

    def _sound(self, label: str | None, recording: Recording, rng: np.random.Generator) -> Sound:
        pcm = self._cache[recording.file]
        if recording.regions:
            pcm = pcm[round(recording.regions[0][0] * self._rate) : round(recording.regions[-1][1] * self._rate)]
        audio = _floats(self._piece(rng, pcm))
        return Sound(label, audio, active_ticks(audio, self.tick))

    def _meeting(self, rng: np.random.Generator) -> Sound:
        recording = _pick(rng, self._meetings)
        pcm = self._cache[recording.file]
        length = int(rng.uniform(MIN_PIECE_S, MAX_PIECE_S) / TICK_S)
        first = int(rng.integers(len(pcm) // self.tick - length))
        active = region_ticks(recording.regions, len(pcm) // self.tick)[first : first + length]
        return Sound(SPEECH, _floats(pcm[first * self.tick : (first + length) * self.tick]), active)

    def _piece(self, rng: np.random.Generator, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        if len(pcm) <= MAX_PIECE_S * self._rate:
            return pcm
        length = int(rng.uniform(MIN_PIECE_S, MAX_PIECE_S) * self._rate)
        start = int(rng.integers(len(pcm) - length))
        return pcm[start : start + length]


def longest_beginning(name: str, known: dict[str, str]) -> str | None:
    """The value of the longest key that ``name`` begins with, if any."""
    fitting = [key for key in known if name.startswith(key)]
    return known[max(fitting, key=len)] if fitting else None


def _pick(rng: np.random.Generator, recordings: Sequence[Recording]) -> Recording:
    return recordings[int(rng.integers(len(recordings)))]


def _floats(pcm: NDArray[np.int16]) -> Audio:
    return pcm.astype(np.float32) / 32768
