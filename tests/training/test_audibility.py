"""What is audible in made mixes whose levels are known in each band."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earmark.training.audibility import (
    CENTRES_HZ,
    FLOOR_DB,
    HOP_TICKS,
    PlacedSound,
    audible_ticks,
    band_powers,
    powers_in_mix,
)

RATE, TICK = 16_000, 160
BAND_WIDTHS_HZ = [*(centre / np.sqrt(2) for centre in CENTRES_HZ[:-1]), RATE / 2 - CENTRES_HZ[-1] / np.sqrt(2)]


def tone(frequency_hz: float, level_db: float, duration_s: float) -> np.ndarray:
    """A sine of this mean square, 0 dB for 1."""
    phase = 2 * np.pi * frequency_hz * np.arange(round(duration_s * RATE)) / RATE
    return (np.sqrt(2) * 10 ** (level_db / 20) * np.sin(phase)).astype(np.float32)


def noise(level_db: float, duration_s: float, seed: int = 0) -> np.ndarray:
    """White noise of this mean square."""
    samples = np.random.default_rng(seed).standard_normal(round(duration_s * RATE))
    return (10 ** (level_db / 20) * samples).astype(np.float32)


def audible(own: np.ndarray, rest: np.ndarray, at_s: float = 0.0) -> np.ndarray:
    """Where a sound that is active from its first to its last sample is audible in the rest."""
    sound = PlacedSound(round(at_s * RATE), own)
    mix = rest.copy()
    mix[sound.first_sample :][: len(own)] += own
    active = np.zeros(len(mix) // TICK, bool)
    active[round(at_s * 100) :][: -(-len(own) // TICK)] = True
    (powers,) = powers_in_mix(mix, [sound], TICK)
    return audible_ticks(*powers, active)


def in_band_db(frequency_hz: float, noise_db: float) -> float:
    """Level of white noise in the band that holds a frequency."""
    band = int(np.argmin(np.abs(np.log2(np.array(CENTRES_HZ) / frequency_hz))))
    return noise_db + 10 * np.log10(BAND_WIDTHS_HZ[band] / (RATE / 2))


@pytest.mark.parametrize("place", range(7))
def test_a_tone_has_its_mean_square_in_its_band_and_no_other(place: int):
    frequency_hz = 0.9 * CENTRES_HZ[place]
    powers = band_powers(PlacedSound(0, tone(frequency_hz, -20, 1.0)), 20, TICK)[1:-1]
    np.testing.assert_allclose(powers[:, place], 0.01, rtol=0.02)
    assert np.delete(powers, place, axis=1).max() < 0.01 * 10**-3


def test_white_noise_has_power_as_bands_are_wide():
    powers = band_powers(PlacedSound(0, noise(0, 100.0)), 2000, TICK).mean(axis=0)
    np.testing.assert_allclose(powers, np.array(BAND_WIDTHS_HZ) / (RATE / 2), rtol=0.06)


def test_windows_share_out_the_energy():
    """Whatever window a click falls into, all of them together have it once."""
    for at in (400, 799, 800, 12_345):
        powers = band_powers(PlacedSound(at, np.ones(1, np.float32)), 20, TICK)
        np.testing.assert_allclose(powers.sum() * 800, (RATE / 2 - CENTRES_HZ[0] / np.sqrt(2)) / (RATE / 2), rtol=0.01)


def test_bands_end_at_half_the_rate():
    for rate_hz, n_bands in ((8_000, 6), (16_000, 7), (44_100, 7)):
        assert band_powers(PlacedSound(0, np.ones(rate_hz, np.float32)), 20, rate_hz // 100).shape == (20, n_bands)


@pytest.mark.parametrize("frequency_hz", [125.0, 1000.0, 4000.0])
@pytest.mark.parametrize(("snr_db", "is_audible"), [(-8.0, True), (-15.0, False)])
def test_a_tone_over_noise_is_audible_by_its_level_in_its_band(frequency_hz: float, snr_db: float, is_audible: bool):
    own = tone(frequency_hz, in_band_db(frequency_hz, -30.0) + snr_db, 2.0)
    heard = audible(own, noise(-30.0, 4.0), at_s=1.0)
    assert heard[100:300].all() if is_audible else not heard.any()
    assert not heard[:100].any()
    assert not heard[300:].any()


def test_a_sound_that_fades_into_noise_ends_where_it_drowns():
    fade = 10 ** (-10 * np.arange(6 * RATE) / RATE / 20)
    own = (noise(0.0, 6.0, seed=1) * fade).astype(np.float32)  # 10 dB a second; at 4 s it is 10 dB below the rest
    ticks = np.flatnonzero(audible(own, noise(-30.0, 6.0)))
    assert ticks[0] == 0
    assert ticks[-1] / 100 == pytest.approx(4.0, abs=0.3)
    assert len(ticks) == ticks[-1] + 1


def test_a_sound_never_above_minus_10_db_is_never_audible():
    assert not audible(noise(-50.0, 4.0, seed=1), noise(-30.0, 4.0)).any()


def test_a_broadband_sound_is_audible_beside_a_much_louder_narrow_one():
    assert audible(noise(-40.0, 3.0), tone(1000.0, -10.0, 3.0)).all()
    assert not audible(tone(900.0, -40.0, 3.0), tone(1000.0, -10.0, 3.0))[10:-10].any()


def test_identical_sounds_do_not_drown_each_other():
    own = noise(-30.0, 2.0)
    sounds = [PlacedSound(0, own), PlacedSound(0, own)]
    for powers in powers_in_mix(2 * own, sounds, TICK):
        assert audible_ticks(*powers, np.ones(200, bool)).all()


def test_a_short_drop_out_is_filled_and_a_long_one_is_not():
    own = tone(1000.0, -30.0, 3.0)
    for masked_s, is_filled in ((0.4, True), (0.9, False)):
        rest = np.zeros_like(own)
        rest[RATE : RATE + round(masked_s * RATE)] = noise(0.0, masked_s)
        assert audible(own, rest)[110 : 100 + round(100 * masked_s) - 10].all() == is_filled


def test_a_drop_out_is_not_filled_where_the_sound_is_not_active():
    powers = np.ones((20, 7), np.float32)
    active = np.ones(100, bool)
    active[40:60] = False
    np.testing.assert_array_equal(audible_ticks(powers, powers, active), active)


@pytest.mark.parametrize(("above_floor_db", "is_audible"), [(2.0, True), (-2.0, False)])
def test_nothing_is_audible_below_the_floor(above_floor_db: float, is_audible: bool):
    heard = audible(tone(1000.0, FLOOR_DB + above_floor_db, 1.0), np.zeros(RATE, np.float32))
    assert heard[5:-5].all() == heard.any() == is_audible


@given(at=st.integers(0, 150), n_ticks=st.integers(1, 50))
def test_over_silence_a_sound_is_audible_wherever_it_is_active(at: int, n_ticks: int):
    heard = audible(tone(1000.0, -20.0, n_ticks / 100), np.zeros(2 * RATE, np.float32), at_s=at / 100)
    np.testing.assert_array_equal(np.flatnonzero(heard), np.arange(at, at + n_ticks))


def test_a_sound_at_the_end_is_cut_off_with_the_mix():
    powers = band_powers(PlacedSound(2 * RATE - TICK, noise(0.0, 1.0)), 40, TICK)
    assert powers.shape == (40, 7)
    assert powers[-1].all()
    assert not powers[:-2].any()


def test_each_sounds_rest_is_the_background_and_the_others():
    background, *sounds = (noise(level_db, 2.0, seed) for seed, level_db in enumerate((-40.0, -30.0, -20.0)))
    placed = [PlacedSound(0, sounds[0]), PlacedSound(0, sounds[1])]
    (first, rest_of_first), (second, rest_of_second) = powers_in_mix(background + sounds[0] + sounds[1], placed, TICK)
    of_background = band_powers(PlacedSound(0, background), 40, TICK)
    np.testing.assert_allclose(rest_of_first, second + of_background, rtol=1e-3)
    np.testing.assert_allclose(rest_of_second, first + of_background, rtol=1e-3)


N_WINDOWS = 30
POWERS = arrays(np.float32, (N_WINDOWS, 7), elements=st.sampled_from(np.float32([0, 1e-10, 1e-8, 1e-6, 1e-5, 1e-3, 1])))
ACTIVE = arrays(bool, N_WINDOWS * HOP_TICKS - 3)


@given(own=POWERS, rest=POWERS, active=ACTIVE, gain_db=st.floats(0, 60), extra=POWERS)
def test_louder_never_shortens_and_more_of_the_rest_never_lengthens(
    own: np.ndarray, rest: np.ndarray, active: np.ndarray, gain_db: float, extra: np.ndarray
):
    before = audible_ticks(own, rest, active)
    assert not (before & ~active).any()
    louder = audible_ticks(own * np.float32(10 ** (gain_db / 10)), rest, active)
    assert not (before & ~louder).any()
    among_more = audible_ticks(own, rest + extra, active)
    assert not (among_more & ~before).any()
