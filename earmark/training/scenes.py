"""Soundscapes mixed on the fly, with exact labels: events over a background, whole clips, or nothing to detect."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from earmark.synthesis.shaping import equalise
from earmark.training.activity import TICK_S, active_ticks, fill_pauses, level
from earmark.training.audibility import PlacedSound, audible_ticks, powers_in_mix
from earmark.training.config import SceneConfig
from earmark.training.microphone import worsen
from earmark.training.sources import SPEECH, Audio, Sound, SoundBank

N_COLOURS, LOWEST_COLOUR_HZ = 6, 100.0
_AROUND_TICKS, _PAUSE_TICKS = 10, 50


class SceneEvent(NamedTuple):
    """A sound: its class's index, when it is active, bool ``[n_ticks]`` of 10 ms, its level then against all else."""

    label: int
    active: NDArray[np.bool_]
    snr_db: float


@dataclass(frozen=True)
class Scene:
    """A mix and its truth.

    Attributes:
        audio: float32 ``[n]`` in [-1, 1], as the microphone captured it.
        sound: The same before the microphone.
        events: One a sound.
        doubts: Classes that may sound in it besides.
        audible: Of a scene to measure on, where each event is audible; see `earmark.training.audibility`.
    """

    audio: Audio
    sound: Audio
    events: tuple[SceneEvent, ...]
    doubts: frozenset[str] = frozenset()
    audible: tuple[NDArray[np.bool_], ...] = ()


class SceneMixer:
    """Mixes scenes out of one bank's sounds.

    Args:
        bank: Where the sounds come from.
        config: How they are mixed.
        labels: The classes, in the model's order.
        sample_rate_hz: Rate of the bank's audio.
    """

    def __init__(self, bank: SoundBank, config: SceneConfig, labels: tuple[str, ...], sample_rate_hz: int) -> None:
        self._bank, self._config, self._labels, self._rate = bank, config, labels, sample_rate_hz
        self._index = {label: i for i, label in enumerate(labels)}
        self._n_ticks = round(config.duration_s / TICK_S)
        self._n_samples = self._n_ticks * bank.tick

    def scene(self, rng: np.random.Generator) -> Scene:
        """One scene; every random choice comes from ``rng``."""
        kind = rng.random()
        if kind < self._config.plain_share:
            return self.plain(rng)
        empty = kind < self._config.plain_share + self._config.empty_share
        return self.mixed(rng, 0 if empty else self._n_events(rng))

    def _n_events(self, rng: np.random.Generator) -> int:
        most = self._config.max_events
        if not self._config.few_events:
            return int(rng.integers(1, most + 1))
        shares = 1 / np.arange(1, most + 1)
        return 1 + int(rng.choice(most, p=shares / shares.sum()))

    def plain(self, rng: np.random.Generator) -> Scene:
        """Whole clips or made sounds one after the other, at one's own level each, half of them over faint noise."""
        canvas = _Canvas(self._n_samples, self._bank.tick)
        at = -int(rng.integers(200)) if rng.random() < 0.5 else 0
        while at < self._n_ticks - 100:
            clip = self._varied(self._plain_clip(rng), rng)
            canvas.add(clip, at, 10 ** (rng.uniform(-20, 10) / 20))
            at += len(clip.active) + int(rng.integers(50))
        if rng.random() < 0.5:
            noise, _ = self._bank.ambiences.draw(rng, self._n_samples)
            canvas.audio += noise * np.float32(10 ** (rng.uniform(-80, -45) / 20) / _rms(noise))
        return self._captured(canvas, rng)

    def _plain_clip(self, rng: np.random.Generator) -> Sound:
        is_other = rng.random() < self._config.plain_distractor_share
        other = self._bank.distractor(rng) if is_other else None
        return other or self._bank.clip(rng, made_share=self._config.synthetic_share)

    def mixed(self, rng: np.random.Generator, n_events: int) -> Scene:
        """``n_events`` events, and perhaps distractors, over a background."""
        config = self._config
        canvas = _Canvas(self._n_samples, self._bank.tick)
        self._lay_background(canvas, rng)
        for _ in range(n_events):
            sound = self._bank.event(rng, speech_share=config.speech_share, made_share=config.synthetic_share)
            self._place(canvas, sound, rng)
        if rng.random() < config.distractor_share and (sound := self._bank.distractor(rng)):
            self._place(canvas, sound, rng)
        peak = 10 ** (rng.uniform(*config.peak_db) / 20)
        canvas.scale(peak / np.abs(canvas.audio).max())
        return self._captured(canvas, rng)

    def _lay_background(self, canvas: "_Canvas", rng: np.random.Generator) -> None:
        """A bed of a class, or an ambience, at a level of 1; or an ambience that can hardly be heard."""
        config, n_samples = self._config, self._n_samples
        is_quiet = rng.random() < config.quiet_background_share
        is_bed = not is_quiet and rng.random() < config.bed_share
        bed = self._bank.bed(rng, int(n_samples * config.speed[1]) + 1) if is_bed else None
        if bed is not None and (loudness := level(bed.audio, bed.active, self._bank.tick)):
            canvas.add(self._varied(bed, rng), 0, 1 / loudness)
            return
        background, doubts = self._bank.ambiences.draw(rng, n_samples)
        canvas.audio += background * np.float32((1e-3 if is_quiet else 1) / _rms(background))
        canvas.doubts |= frozenset() if is_quiet else doubts

    def test(self, rng: np.random.Generator, *, empty: bool = False) -> Scene:
        """A scene to measure on: 1 to `max_events` events, or none, over a background; nothing else is done.

        An event begins inside the scene; what does not fit behind its onset is cut off.
        """
        config = self._config
        canvas = _Canvas(self._n_samples, self._bank.tick)
        background, _ = self._bank.ambiences.draw(rng, self._n_samples)
        canvas.audio += background / np.float32(_rms(background))
        for _ in range(0 if empty else int(rng.integers(1, config.max_events + 1))):
            sound = self._bank.event(rng, speech_share=1 / len(self._labels), made_share=0)
            if loudness := level(sound.audio, sound.active, self._bank.tick):
                at = int(rng.integers(max(1, self._n_ticks - len(sound.active))))
                canvas.add(sound, at, 10 ** (rng.uniform(*config.snr_db) / 20) / loudness)
        peak = 10 ** (rng.uniform(*config.peak_db) / 20)
        canvas.scale(peak / np.abs(canvas.audio).max())
        events = canvas.events(self._index)
        return Scene(np.clip(canvas.audio, -1, 1), canvas.audio, events, audible=canvas.audible())

    def _place(self, canvas: "_Canvas", sound: Sound, rng: np.random.Generator) -> None:
        config, tick = self._config, self._bank.tick
        sound = self._varied(sound, rng)
        room = self._bank.room(rng) if rng.random() < config.reverb_share else None
        if room is not None:
            sound = reverberate(sound, room, tick)
        loudness = level(sound.audio, sound.active, tick)
        if not loudness:
            return
        length = len(sound.active)
        at = int(rng.integers(-length // 3, self._n_ticks - min(length // 3, 100)))
        canvas.add(sound, at, 10 ** (rng.uniform(*config.snr_db) / 20) / loudness)

    def _varied(self, sound: Sound, rng: np.random.Generator) -> Sound:
        """Another sound of its kind: at another speed, of another colour, or both."""
        config = self._config
        if rng.random() < config.speed_share:
            sound = respeed(sound, rng.uniform(*config.speed), self._bank.tick)
        if rng.random() < config.colour_share:
            sound = recolour(sound, rng.uniform(-config.colour_db, config.colour_db, N_COLOURS), self._bank.tick)
        return sound

    def _captured(self, canvas: "_Canvas", rng: np.random.Generator) -> Scene:
        np.clip(canvas.audio, -1, 1, out=canvas.audio)
        is_cheap = rng.random() < self._config.microphone_share
        captured = worsen(canvas.audio, rng, self._rate) if is_cheap else canvas.audio
        events = canvas.events(self._index, self._config.audible_db)
        return Scene(np.clip(captured, -1, 1), canvas.audio, events, canvas.doubts)


class _Canvas:
    def __init__(self, n_samples: int, tick: int) -> None:
        self.audio = np.zeros(n_samples, np.float32)
        self._tick = tick
        self._gain = 1.0
        self.doubts: frozenset[str] = frozenset()
        self._added: list[tuple[str, NDArray[np.bool_], NDArray[np.float32]]] = []
        self._placed: list[PlacedSound] = []
        self._source: list[int] = []
        """Which of `_placed`, not yet scaled, each of `_added` belongs to."""

    def add(self, sound: Sound, at_tick: int, gain: float) -> None:
        """Add a sound whose first tick is ``at_tick``; what lies outside of the scene is cut off."""
        skip = max(0, -at_tick)
        audio, active = sound.audio[skip * self._tick :], sound.active[skip:]
        begin = max(0, at_tick)
        target = self.audio[begin * self._tick :][: len(audio)]
        added = audio[: len(target)] * np.float32(gain)
        target += added
        self.doubts |= sound.doubts
        if sound.label is not None:
            power = self._powers(added)
            powers = np.zeros(len(self.audio) // self._tick, np.float32)
            where = slice(begin, min(len(powers), begin + min(len(active), len(power))))
            self._placed.append(PlacedSound(begin * self._tick, added))
            powers[where] = power[: where.stop - begin]
            for label, ticks in ((sound.label, sound.active), *sound.others):
                truth = np.zeros(len(powers), bool)
                truth[where] = ticks[skip:][: where.stop - begin]
                self._added.append((label, truth, powers))
                self._source.append(len(self._placed) - 1)

    def scale(self, gain: float) -> None:
        """Make everything so far ``gain`` times as loud."""
        self.audio *= np.float32(gain)
        self._gain *= gain

    def events(self, index: dict[str, int], audible_db: float | None = None) -> tuple[SceneEvent, ...]:
        """The sounds that have active ticks; ``index`` numbers their labels.

        With ``audible_db`` those ticks count around which a sound is at least so loud against all else; pauses up to
        0.5 s are filled.
        """
        powers = self._powers(self.audio)
        found: list[SceneEvent] = []
        for label, all_active, own in self._added:
            active = all_active
            if audible_db is not None:
                own_power, power = (_moving_mean(each) for each in (own * np.float32(self._gain**2), powers))
                stands_out = own_power >= 10 ** (audible_db / 10) * (power - own_power)
                active = all_active & fill_pauses(all_active & stands_out, _PAUSE_TICKS)
            if active.any():
                heard = float(own[active].sum()) * self._gain**2
                rest = float(powers[active].sum()) - heard
                found.append(SceneEvent(index[label], active, 10 * np.log10((heard + 1e-12) / max(rest, 1e-12))))
        return tuple(found)

    def audible(self) -> tuple[NDArray[np.bool_], ...]:
        """Where each of `events` is audible, bool ``[n_ticks]``."""
        gain = np.float32(self._gain)
        sounds = [PlacedSound(each.first_sample, each.audio * gain) for each in self._placed]
        powers = powers_in_mix(self.audio, sounds, self._tick)
        labelled = zip(self._source, self._added, strict=True)
        return tuple(audible_ticks(*powers[source], active) for source, (_, active, _) in labelled if active.any())

    def _powers(self, audio: Audio) -> NDArray[np.float32]:
        """Of each tick, its last samples added up with silence."""
        return np.square(np.pad(audio, (0, -len(audio) % self._tick))).reshape(-1, self._tick).sum(axis=1)


def respeed(sound: Sound, factor: float, tick: int) -> Sound:
    """Play a sound ``factor`` times as fast, pitch and all, by linear interpolation."""
    times = np.arange(0, len(sound.audio) - 1, factor)
    audio = np.interp(times, np.arange(len(sound.audio)), sound.audio).astype(np.float32)
    return _relabelled(sound, audio, tick, factor)


def recolour(sound: Sound, gains_db: NDArray[np.float64], tick: int) -> Sound:
    """A sound through an equaliser with these gains, evenly apart in octaves from `LOWEST_COLOUR_HZ` to the highest."""
    sample_rate_hz = round(tick / TICK_S)
    octaves = np.linspace(np.log2(LOWEST_COLOUR_HZ), np.log2(sample_rate_hz / 2), len(gains_db))

    def gain(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 10 ** (np.interp(np.log2(np.maximum(hz, LOWEST_COLOUR_HZ)), octaves, gains_db) / 20)

    return _relabelled(sound, equalise(sound.audio, gain, sample_rate_hz), tick, 1.0)


def reverberate(sound: Sound, room: Audio, tick: int) -> Sound:
    """A sound as it is heard in a room: convolved with the room's response."""
    n = len(sound.audio) + len(room) - 1
    size = 1 << (n - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(sound.audio, size) * np.fft.rfft(room, size), size)[:n].astype(np.float32)
    return _relabelled(sound, wet, tick, 1.0)


def _relabelled(sound: Sound, audio: Audio, tick: int, factor: float) -> Sound:
    if sound.label != SPEECH and not sound.is_annotated:
        active = active_ticks(audio, tick)
        return replace(sound, audio=audio, active=active, others=tuple((label, active) for label, _ in sound.others))
    # What people labelled, as meetings: their labels move along with the sound.
    n_ticks = -(-len(audio) // tick)
    where = (np.arange(n_ticks) * factor).astype(int)
    known, where = where < len(sound.active), np.minimum(where, len(sound.active) - 1)
    others = tuple((label, known & active[where]) for label, active in sound.others)
    return replace(sound, audio=audio, active=known & sound.active[where], others=others)


def _moving_mean(powers: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.convolve(powers, np.full(_AROUND_TICKS, 1 / _AROUND_TICKS), "same")


def _rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio)))) + 1e-9
