"""Eight sounds made from nothing but chance and arithmetic, named as in ESC-50.

They stand in for recordings where exact truth matters more than realism (the demo, end-to-end tests), and join the
recordings in training, so that the model that ships knows them. Each call varies pitch, tempo and timbre widely.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError
from earmark.synthesis import alarms, strikes, textures
from earmark.synthesis.shaping import Audio, Curve, Take, convolve, equalise

_RECIPES: dict[str, Callable[[Take], Audio]] = {
    "siren": alarms.siren,
    "clock_alarm": alarms.clock_alarm,
    "church_bells": strikes.church_bells,
    "door_wood_knock": strikes.door_wood_knock,
    "rain": textures.rain,
    "engine": textures.engine,
    "helicopter": textures.helicopter,
    "clock_tick": strikes.clock_tick,
}
LABELS: tuple[str, ...] = tuple(_RECIPES)

_FADE_IN_S = 0.002
_FADE_OUT_S = 0.02


def synthesize(
    label: str, rng: np.random.Generator, duration_s: float, sample_rate_hz: int = 16_000
) -> NDArray[np.float32]:
    """Make one sound that starts at its first sample and lasts to its last.

    Args:
        label: One of `LABELS`.
        rng: Every random choice comes from here; advanced in place.
        duration_s: Length in seconds, at least 0.05. Below about 0.5 s a pattern (beeps, knocks) is one stroke.
        sample_rate_hz: Samples a second, at least 8000.

    Returns:
        float32 ``[round(duration_s * sample_rate_hz)]`` with a peak of 1, heard within its first 20 ms; only fades of
        2 ms at the start and 20 ms at the end lie between it and silence.

    Raises:
        ConfigError: There is no such label, or the duration or the rate is too small.
    """
    if label not in _RECIPES:
        raise ConfigError(f"there is no made sound {label!r}; choose one of {', '.join(LABELS)}")
    if duration_s < 0.05 or sample_rate_hz < 8000:
        raise ConfigError(
            f"a made sound lasts 0.05 s or more at 8000 Hz or more, not {duration_s} s at {sample_rate_hz} Hz"
        )
    take = Take(rng, round(duration_s * sample_rate_hz), sample_rate_hz)
    sound = _place(take, _RECIPES[label](take))
    sound = _fade(take, sound)
    return sound / np.float32(np.abs(sound).max() + 1e-12)


def _place(take: Take, sound: Audio) -> Audio:
    """Colour the sound as a microphone would, and let half of the sounds happen in a room."""
    knots_octaves = np.linspace(5.0, 13.5, 9)  # 32 Hz to 11.6 kHz
    knots_db = take.rng.normal(0.0, 3.0, 9) + take.rng.uniform(-1.5, 1.0) * (knots_octaves - 10)

    def colour(hz: Curve) -> Curve:
        return 10 ** (np.interp(np.log2(np.maximum(hz, 20.0)), knots_octaves, knots_db) / 20)

    sound = equalise(sound, colour, take.sample_rate_hz)
    return sound + _room(take, sound) if take.chance(0.5) else sound


def _room(take: Take, sound: Audio) -> Audio:
    """What a room adds: noise that decays, after 5 to 20 ms."""
    reverberation_s, gap = take.between(0.1, 0.7), int(take.between(0.005, 0.02) * take.sample_rate_hz)
    length = max(gap + 1, int(reverberation_s * take.sample_rate_hz))
    decay = np.exp(np.arange(length) * np.float32(-6.91 / length))
    tail = take.rng.standard_normal(length, dtype=np.float32) * decay
    tail[:gap] = 0
    tail *= np.float32(take.between(0.05, 0.6) / np.sqrt(np.sum(tail**2) + 1e-12))
    return convolve(sound, tail)


def _fade(take: Take, sound: Audio) -> Audio:
    rise = min(take.length, int(_FADE_IN_S * take.sample_rate_hz))
    fall = min(take.length, int(_FADE_OUT_S * take.sample_rate_hz))
    sound[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    sound[-fall:] *= np.linspace(1, 0, fall, dtype=np.float32)
    return sound.astype(np.float32)
