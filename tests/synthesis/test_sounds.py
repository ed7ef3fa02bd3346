"""Made sounds: repeatable, varied, full scale, and really there from their first to their last moment."""

import numpy as np
import pytest

from earmark.contracts.errors import ConfigError
from earmark.synthesis.shaping import Audio
from earmark.synthesis.sounds import LABELS, synthesize

RATE_HZ = 16_000
SEEDS = range(8)


def made(label: str, seed: int, duration_s: float = 3.0, rate_hz: int = RATE_HZ) -> Audio:
    return synthesize(label, np.random.default_rng(seed), duration_s, rate_hz)


def rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def test_labels_are_the_eight_of_esc50():
    assert LABELS == (
        "siren",
        "clock_alarm",
        "church_bells",
        "door_wood_knock",
        "rain",
        "engine",
        "helicopter",
        "clock_tick",
    )


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("duration_s", [0.05, 0.3, 1.0, 7.77777])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_has_the_promised_length_and_peak(label: str, duration_s: float, rate_hz: int):
    audio = made(label, 1, duration_s, rate_hz)
    assert audio.dtype == np.float32
    assert audio.shape == (round(duration_s * rate_hz),)
    assert np.abs(audio).max() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("label", LABELS)
def test_a_seed_makes_one_sound_and_another_seed_another(label: str):
    np.testing.assert_array_equal(made(label, 3), made(label, 3))
    similarity = np.corrcoef(made(label, 3), made(label, 4))[0, 1]
    assert abs(similarity) < 0.5


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("seed", SEEDS)
def test_is_heard_from_its_start_to_its_end(label: str, seed: int):
    audio = made(label, seed)
    heard = np.flatnonzero(np.abs(audio) > 0.003)
    assert heard[0] < 0.02 * RATE_HZ
    assert len(audio) - heard[-1] < 0.2 * RATE_HZ


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("seed", SEEDS)
def test_holds_no_pause_that_would_end_the_event(label: str, seed: int):
    audio = made(label, seed, 5.0)
    heard = np.flatnonzero(np.abs(audio) > 0.01)
    assert np.diff(heard).max() < 1.3 * RATE_HZ


@pytest.mark.parametrize("label", LABELS)
def test_starts_and_ends_without_a_click_of_its_own(label: str):
    audio = made(label, 5)
    assert abs(audio[0]) < 0.02
    assert abs(audio[-1]) < 0.02
    assert rms(audio) > 0.01


def test_an_unknown_label_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'dog'.*siren.*clock_tick"):
        made("dog", 0)


@pytest.mark.parametrize(("duration_s", "rate_hz"), [(0.01, 16_000), (1.0, 4_000)])
def test_what_is_too_short_or_too_slow_is_refused(duration_s: float, rate_hz: int):
    with pytest.raises(ConfigError, match=f"{duration_s} s at {rate_hz} Hz"):
        made("rain", 0, duration_s, rate_hz)
