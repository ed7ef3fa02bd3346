"""Where the sounds of a scene come from: trimmed recordings, made sounds, distractors, rooms."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError
from earmark.synthesis.sounds import LABELS as MADE_LABELS
from earmark.synthesis.sounds import synthesize
from earmark.training.activity import TICK_S, Active, active_ticks, region_ticks
from earmark.training.ambience import Ambiences
from earmark.training.cache import AudioCache
from earmark.training.config import Naming
from earmark.training.hearing import Doubts
from earmark.training.index import Recording
from earmark.training.recording import TOLERANCE_S

Audio = NDArray[np.float32]

SPEECH = "speech"
MIN_PIECE_S, MAX_PIECE_S = 2.0, 8.0
"""A longer recording gives a random piece."""
_SMEARED = round(TOLERANCE_S / TICK_S)
"""Ticks beside a region in which energy may be the region's."""


@dataclass(frozen=True)
class Sound:
    """A piece of audio, and when its classes are heard in it.

    Attributes:
        label: The class that it was drawn for; None for a distractor.
        audio: float32 ``[n]`` in [-1, 1].
        active: Its active ticks, bool ``[ceil(n / tick)]``.
        others: Other classes that the list hears in the same file, and their active ticks.
        is_annotated: The list says when they are active, and not the sound's energy.
        doubts: Classes that may be in it though the list does not say so.
    """

    label: str | None
    audio: Audio
    active: Active
    others: tuple[tuple[str, Active], ...] = ()
    is_annotated: bool = False
    doubts: frozenset[str] = frozenset()


class SoundBank:
    """Draws sounds of one split.

    Args:
        recordings: The index.
        split: ``train`` or ``dev``; nothing else of the index is ever read.
        cache: The index's audio.
        naming: What recordings beyond the labelled clips are good for.
        sample_rate_hz: The cache's rate.
        doubts: Classes that may be in a file though it is not listed with them, by file. Where they are known for a
            file, it is a sound of no class if its name says nothing else.
        certain: Leave out files that have any.

    Raises:
        ConfigError: The split has no labelled events.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        split: str,
        cache: AudioCache,
        naming: Naming,
        sample_rate_hz: int,
        *,
        doubts: Doubts | None = None,
        certain: bool = False,
    ) -> None:
        self._cache, self._rate, self._doubts = cache, sample_rate_hz, doubts or {}
        self.tick = round(TICK_S * sample_rate_hz)
        self._by_label: dict[str, list[Recording]] = defaultdict(list)
        self._clips: dict[str, list[Recording]] = defaultdict(list)
        self._speech: dict[str, list[Recording]] = defaultdict(list)
        self._beds: dict[str, list[Recording]] = defaultdict(list)
        self._distractors: list[Recording] = []
        self._backgrounds: list[Recording] = []
        self._rirs: list[Recording] = []
        self._of_file: dict[str, list[Recording]] = defaultdict(list)
        for recording in recordings:
            if recording.split == split and not (certain and self._doubts.get(recording.file)):
                self._file(recording, naming)
                self._of_file[recording.file].append(recording)
        self.recordings = self._known()
        """All that can ever be drawn."""
        self.ambiences = Ambiences(self._backgrounds, cache, self._doubts)
        self.labels = tuple(sorted(self._by_label))
        self._classes = tuple(label for label in self.labels if label != SPEECH)
        if not self._clips:
            raise ConfigError(f"expected labelled events with split {split!r} in the index, found none")
        self.made_labels = tuple(label for label in MADE_LABELS if label in self._by_label)

    def _file(self, recording: Recording, naming: Naming) -> None:
        """Remember what a recording is good for."""
        match recording.kind:
            case "rir":
                self._rirs.append(recording)
            case "recording":
                self._file_recording(recording)
            case kind if label := _class_of(recording, naming):
                self._add(label, recording)
                if kind in naming.kinds:
                    self._beds[label].append(recording)
            case _:
                self._file_other(recording, naming)

    def _file_other(self, recording: Recording, naming: Naming) -> None:
        """Remember a recording of no class."""
        label, is_known = recording.label, recording.file in self._doubts
        match recording.kind:
            case "background" if is_known or label in naming.neutral:
                self._backgrounds.append(recording)
            case "ambience":
                self._backgrounds.append(recording)
                self._distractors.append(recording)
            case "extra" if is_known or label.startswith(naming.distractors):
                self._distractors.append(recording)
            case "unlabelled" | "music" | "speech_more":
                self._distractors.append(recording)
            case _:
                pass

    def _add(self, label: str, recording: Recording) -> None:
        """A sound of a class."""
        self._by_label[label].append(recording)
        if label == SPEECH:
            self._speech[recording.kind].append(recording)
        else:
            self._clips[label].append(recording)

    def _file_recording(self, recording: Recording) -> None:
        if not recording.regions:
            self._backgrounds.append(recording)  # nobody speaks in a meeting without regions: it is an ambience
        else:
            self._by_label[recording.label].append(recording)
            if recording.label == SPEECH:
                self._speech[recording.kind].append(recording)

    def _known(self) -> tuple[Recording, ...]:
        lists = (*self._by_label.values(), self._distractors, self._backgrounds, self._rirs)
        known = {(row.file, row.label): row for rows in lists for row in rows}
        return tuple(known[key] for key in sorted(known))

    def event(self, rng: np.random.Generator, *, speech_share: float, made_share: float) -> Sound:
        """A sound of some class: all classes are as likely, but for speech and the made sounds."""
        kind = rng.random()
        if kind < made_share and self.made_labels:
            return self.made(rng, str(rng.choice(self.made_labels)))
        spoken = kind < made_share + speech_share and SPEECH in self.labels
        label = SPEECH if spoken else str(rng.choice(self._classes))
        recording = _pick(rng, self._spoken(rng) if label == SPEECH else self._by_label[label])
        return self._stretch(recording, rng) if recording.kind == "recording" else self._sound(label, recording, rng)

    def _spoken(self, rng: np.random.Generator) -> list[Recording]:
        """Speech of one kind: single words, meetings or continuous speech, each as likely."""
        kinds = tuple(self._speech)
        return self._speech[kinds[int(rng.integers(len(kinds)))]]

    def clip(self, rng: np.random.Generator, *, made_share: float) -> Sound:
        """A labelled clip as it is, its silence included, or a made sound; of a long one a piece."""
        if self.made_labels and rng.random() < made_share:
            return self.made(rng, str(rng.choice(self.made_labels)))
        label = str(rng.choice(tuple(self._clips)))
        recording = _pick(rng, self._clips[label])
        return self._labelled(label, recording, *self._piece(rng, self._cache[recording.file]))

    def made(self, rng: np.random.Generator, label: str) -> Sound:
        """A sound that the project makes itself."""
        audio = synthesize(label, rng, float(rng.uniform(0.5, 5.0)), self._rate)
        return Sound(label, audio, active_ticks(audio, self.tick))

    def distractor(self, rng: np.random.Generator) -> Sound | None:
        """A sound of no class, or None where the split has none."""
        if not self._distractors:
            return None
        return self._sound(None, _pick(rng, self._distractors), rng)

    def bed(self, rng: np.random.Generator, n_samples: int) -> Sound | None:
        """``n_samples`` of a class that its kind names, such as music; a short recording is repeated.

        Returns:
            None where no kind names a class.
        """
        if not self._beds:
            return None
        label = str(rng.choice(tuple(self._beds)))
        recording = _pick(rng, self._beds[label])
        pcm = self._cache[recording.file]
        start = int(rng.integers(max(1, len(pcm) - n_samples)))
        return self._labelled(label, recording, start, np.resize(pcm[start:], n_samples))

    def room(self, rng: np.random.Generator) -> Audio | None:
        """A room's impulse response from its direct sound on, of unit energy, at most 1 s; None where there is none."""
        if not self._rirs:
            return None
        response = _floats(self._cache[_pick(rng, self._rirs).file])
        response = response[int(np.abs(response).argmax()) :][: self._rate]
        return response / np.sqrt(np.square(response).sum())

    def _sound(self, label: str | None, recording: Recording, rng: np.random.Generator) -> Sound:
        pcm, first = self._cache[recording.file], 0
        if recording.regions:
            first = round(recording.regions[0][0] * self._rate)
            pcm = pcm[first : round(recording.regions[-1][1] * self._rate)]
        start, pcm = self._piece(rng, pcm)
        return self._labelled(label, recording, first + start, pcm)

    def _labelled(self, label: str | None, recording: Recording, first: int, pcm: NDArray[np.int16]) -> Sound:
        """A piece of a recording that begins at its sample ``first``, with all classes that the list hears in it.

        A class is active where there is energy. That may be another's, where the list says more: its regions count
        instead if there is energy outside of them, too, or if the file has several classes.
        """
        audio = _floats(pcm)
        active = active_ticks(audio, self.tick)
        sound = Sound(label, audio, active, doubts=self._doubts.get(recording.file, frozenset()) - {label})
        if label is None or not (recording.regions or recording.also):
            return sound
        listed = self._listed(recording, first, len(active))
        if not recording.also and not (active_ticks(audio, self.tick, max_pause_s=0) & ~_wider(listed)).any():
            return sound
        others = self._others(recording)
        if not recording.regions:
            return replace(sound, others=tuple((one.label, active) for one in others))
        ticks = tuple((one.label, self._listed(one, first, len(active))) for one in others)
        return replace(sound, active=listed, others=ticks, is_annotated=True)

    def _others(self, recording: Recording) -> list[Recording]:
        """The same file, listed with other classes."""
        of_file = [one for one in self._of_file[recording.file] if one.kind in {"event", "recording"}]
        return [one for one in of_file if one.label != recording.label and one.label in self._by_label]

    def _listed(self, recording: Recording, first: int, n_ticks: int) -> Active:
        """Where the list says that a recording's class is heard, from its sample ``first`` on, bool ``[n_ticks]``."""
        if not recording.regions:
            return np.ones(n_ticks, bool)
        begin_s = first / self._rate
        inside = [(max(0.0, onset_s - begin_s), offset_s - begin_s) for onset_s, offset_s in recording.regions]
        return region_ticks(tuple(region for region in inside if region[1] > 0), n_ticks)

    def _stretch(self, recording: Recording, rng: np.random.Generator) -> Sound:
        """A stretch of a long recording, labelled by its regions; but for a meeting, with some of them in it."""
        pcm = self._cache[recording.file]
        length, n_ticks = int(rng.uniform(MIN_PIECE_S, MAX_PIECE_S) / TICK_S), len(pcm) // self.tick
        if recording.label == SPEECH:
            first = int(rng.integers(max(1, n_ticks - length)))
        else:
            onset_s, _ = recording.regions[int(rng.integers(len(recording.regions)))]
            first = max(0, min(round(onset_s / TICK_S) - int(rng.integers(length)), n_ticks - length))
        of_file = self._others(recording)
        length = min(length, n_ticks - first)
        active, *others = (self._listed(one, 0, n_ticks)[first : first + length] for one in (recording, *of_file))
        audio = _floats(pcm[first * self.tick : (first + length) * self.tick])
        labelled = tuple((one.label, ticks) for one, ticks in zip(of_file, others, strict=True))
        unsure = self._doubts.get(recording.file, frozenset())
        return Sound(recording.label, audio, active, labelled, is_annotated=True, doubts=unsure)

    def _piece(self, rng: np.random.Generator, pcm: NDArray[np.int16]) -> tuple[int, NDArray[np.int16]]:
        """A piece that is not too long, and the sample that it begins at."""
        if len(pcm) <= MAX_PIECE_S * self._rate:
            return 0, pcm
        length = int(rng.uniform(MIN_PIECE_S, MAX_PIECE_S) * self._rate)
        start = int(rng.integers(len(pcm) - length))
        return start, pcm[start : start + length]


def _class_of(recording: Recording, naming: Naming) -> str | None:
    """The class that a recording's kind or name gives it, if any."""
    match recording.kind:
        case "event":
            return recording.label
        case "background":
            return naming.backgrounds.get(recording.label)
        case "extra" | "unlabelled":
            return longest_beginning(recording.label, naming.extra)
        case kind:
            return naming.kinds.get(kind)


def longest_beginning(name: str, known: dict[str, str]) -> str | None:
    """The value of the longest key that ``name`` begins with, if any."""
    fitting = [key for key in known if name.startswith(key)]
    return known[max(fitting, key=len)] if fitting else None


def _wider(active: Active) -> Active:
    """Active ticks and those around them, for regions are rounded, and a codec smears what is short."""
    return np.convolve(np.pad(active, _SMEARED), np.ones(2 * _SMEARED + 1, int), "valid") > 0


def _pick(rng: np.random.Generator, recordings: Sequence[Recording]) -> Recording:
    return recordings[int(rng.integers(len(recordings)))]


def _floats(pcm: NDArray[np.int16]) -> Audio:
    return pcm.astype(np.float32) / 32768
