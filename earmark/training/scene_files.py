"""Fixed scenes to tune and measure on: WAV files and their truth, the same for the same audio, seed and number."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import IGNORED_FILE, TRUTH_FILE, Annotations, LabelledEvent, write_tsv
from earmark.evaluation.audioset import AUDIOSET
from earmark.synthesis.scene import make_scene, write_pcm, write_wav
from earmark.synthesis.sounds import LABELS as MADE_LABELS
from earmark.training.activity import TICK_S, Active
from earmark.training.audibility import fill_drop_outs
from earmark.training.cache import AudioCache
from earmark.training.config import SceneConfig, TrainConfig
from earmark.training.hearing import Doubts, doubts
from earmark.training.index import Recording, read_lists
from earmark.training.scenes import Scene, SceneMixer
from earmark.training.sources import SoundBank
from earmark.training.teacher import Teacher

ENERGY_FILE = "truth_by_energy.tsv"
"""The table of when the sounds of fixed scenes are active, drowned or not: what was the truth up to bundles 0.5.1."""
_FIRST_MADE = 20_260
"""Seed of the first made scene, far from the demo's."""


@dataclass(frozen=True)
class RunAudio:
    """The labelled audio of a run, listed and decoded once, when it is first asked for."""

    config: TrainConfig

    @cached_property
    def recordings(self) -> list[Recording]:
        """All that can be used."""
        return self.cache.usable(self._listed)

    @cached_property
    def cache(self) -> AudioCache:
        """Their audio."""
        config = self.config
        return AudioCache.build(config.data[0], self._listed, config.cache, config.front_end.sample_rate_hz)

    @cached_property
    def doubts(self) -> Doubts:
        """Classes that may be in a file though it is not listed with them; none without a teacher."""
        if self.config.teacher is None:
            return {}
        labels = tuple(AUDIOSET)
        return doubts(self.recordings, self.cache, Teacher(self.config.teacher, labels), labels, self.config.cache)

    def sounds(self, split: str, *, certain: bool = False) -> SoundBank:
        """The sounds of a split; ``certain`` leaves out recordings that may hold classes that nobody listed."""
        return SoundBank(
            self.recordings,
            split,
            self.cache,
            self.config.naming,
            self.config.front_end.sample_rate_hz,
            doubts=self.doubts,
            certain=certain,
        )

    @cached_property
    def _listed(self) -> list[Recording]:
        return read_lists(self.config.data)


def write_scenes(
    audio: RunAudio, folder: Path, *, split: str, count: int, seed: int, duration_s: float, empty: bool
) -> None:
    """Mix scenes of one split's sounds: 1 to 6 events at -5 to 25 dB over a background; see `SceneMixer.test`.

    `TRUTH_FILE` says when each class is audible, `ENERGY_FILE` when it is active, and `IGNORED_FILE` when it is active
    and not audible; see `earmark.training.audibility`.

    Args:
        audio: What they are mixed of; its config says what each recording is good for.
        folder: For the files; made if it is not there.
        split: ``dev`` or ``train``.
        count: Scenes.
        seed: Of all chance; scene i of one seed is the same whatever ``count`` is.
        duration_s: Of each scene.
        empty: Background alone, without events.

    Raises:
        ConfigError: The folder has something in it already.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"expected a new or empty folder, got {folder}; remove it, or name another one")
    rate_hz = audio.cache.sample_rate_hz
    bank = audio.sounds(split, certain=True)
    mixer = SceneMixer(bank, SceneConfig(duration_s=duration_s), bank.labels, rate_hz)
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, Annotations] = {TRUTH_FILE: {}, ENERGY_FILE: {}, IGNORED_FILE: {}}
    for i in tqdm(range(count), desc="mix", disable=None):
        scene = mixer.test(np.random.default_rng([seed, i]), empty=empty)
        name = f"{i:05d}.wav"
        write_pcm(folder / name, np.rint(scene.audio * 32767).astype(np.int16), rate_hz)
        active, audible = _ticks_by_class(scene)
        ignored = {label: ticks & ~audible[label] for label, ticks in active.items()}
        for table, ticks in zip(tables, (audible, active, ignored), strict=True):
            tables[table][name] = _events(ticks, bank.labels)
    for table, events in tables.items():
        write_tsv(folder / table, events)


def write_recordings(audio: RunAudio, folder: Path, *, split: str) -> None:
    """Real recordings of one split whose events people annotated, as WAV files with their truth; there may be none."""
    folder.mkdir(parents=True, exist_ok=True)
    of_file: dict[str, list[Recording]] = {}
    for recording in audio.recordings:
        if recording.kind == "recording" and recording.split == split and recording.regions:
            of_file.setdefault(recording.file, []).append(recording)
    truth: dict[str, list[LabelledEvent]] = {}
    for number, (file, recordings) in enumerate(of_file.items()):
        name = f"{number:05d}.wav"
        write_pcm(folder / name, audio.cache[file], audio.cache.sample_rate_hz)
        truth[name] = [LabelledEvent(*region, one.label) for one in recordings for region in one.regions]
    write_tsv(folder / TRUTH_FILE, truth)


def write_made_scenes(folder: Path, *, count: int, labels: tuple[str, ...]) -> None:
    """Scenes of 30 s of the sounds that the project makes itself and ``labels`` knows; none where it knows none."""
    known = [label for label in MADE_LABELS if label in labels]
    folder.mkdir(parents=True, exist_ok=True)
    truth: dict[str, list[LabelledEvent]] = {}
    for i in range(count if known else 0):
        scene = make_scene(_FIRST_MADE + i, labels=known)
        name = f"{i:05d}.wav"
        write_wav(folder / name, scene)
        rate_hz = scene.sample_rate_hz
        truth[name] = [
            LabelledEvent(each.onset_sample / rate_hz, each.offset_sample / rate_hz, each.label) for each in scene.truth
        ]
    write_tsv(folder / TRUTH_FILE, truth)


def _ticks_by_class(scene: Scene) -> tuple[dict[int, Active], dict[int, Active]]:
    """When each class is active, and when it is audible; sounds of one class are united."""
    active: dict[int, Active] = {}
    audible: dict[int, Active] = {}
    for (label, ticks, _), heard in zip(scene.events, scene.audible, strict=True):
        active[label] = active.get(label, np.zeros_like(ticks)) | ticks
        audible[label] = audible.get(label, np.zeros_like(ticks)) | heard
    return active, {label: fill_drop_outs(ticks, active[label]) for label, ticks in audible.items()}


def _events(ticks_by_class: dict[int, Active], labels: tuple[str, ...]) -> list[LabelledEvent]:
    """An event for each stretch of a class."""
    found: list[LabelledEvent] = []
    for label, ticks in ticks_by_class.items():
        edges = np.flatnonzero(np.diff(np.pad(ticks, 1).astype(np.int8)))
        found += [
            LabelledEvent(round(onset * TICK_S, 2), round(offset * TICK_S, 2), labels[label])
            for onset, offset in edges.reshape(-1, 2).tolist()
        ]
    return sorted(found)
