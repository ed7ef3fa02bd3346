"""The operations under the sounds, against laws and plain formulas."""

import numpy as np
import pytest

from earmark.synthesis.shaping import Take, convolve, equalise, harmonics

RATE_HZ = 16_000


@pytest.fixture
def take() -> Take:
    return Take(np.random.default_rng(1), RATE_HZ, RATE_HZ)


def test_convolution_agrees_with_the_direct_sum(take: Take):
    audio, kernel = take.noise()[:500], take.noise()[:90]
    np.testing.assert_allclose(convolve(audio, kernel), np.convolve(audio, kernel)[:500], atol=1e-4)


def test_a_flat_gain_changes_nothing_but_the_level(take: Take):
    audio = take.noise()
    np.testing.assert_allclose(equalise(audio, lambda hz: np.full_like(hz, 0.5), RATE_HZ), audio / 2, atol=1e-5)


def test_band_noise_has_unit_level_and_lies_in_its_band(take: Take):
    audio = take.band_noise(500, 2000)
    assert np.sqrt(np.mean(audio**2)) == pytest.approx(1.0, rel=1e-3)
    power = np.abs(np.fft.rfft(audio)) ** 2  # one bin a Hz
    assert power[500:2000].mean() > 20 * power[5000:8000].mean()
    assert power[500:2000].mean() > 20 * power[0:150].mean()


def test_a_mode_falls_by_60_db_in_its_decay_time(take: Take):
    body = take.modes(np.array([1000.0]), np.array([0.5]), np.array([1.0]))
    assert len(body) == RATE_HZ // 2
    first, last = np.abs(body[:160]).max(), np.abs(body[-160:]).max()
    assert 20 * np.log10(first / last) == pytest.approx(60 * 0.98, abs=0.5)


def test_modes_beyond_half_the_rate_are_left_out(take: Take):
    assert not take.modes(np.array([9000.0]), np.array([0.1]), np.array([1.0])).any()


def test_harmonics_never_fold_back():
    hz = np.full(RATE_HZ, 3000.0)
    tone = harmonics(np.cumsum(hz) / RATE_HZ, np.ones(6), hz, RATE_HZ)
    power = np.abs(np.fft.rfft(tone)) ** 2
    assert set(np.flatnonzero(power > 1e-3 * power.max())) == {3000, 6000}


def test_pulses_beyond_the_ends_are_left_out(take: Take):
    train = take.pulses(np.array([-0.1, 0.25, 0.25, 2.0]), np.array([9.0, 1.0, 2.0, 9.0]))
    assert train.nonzero()[0].tolist() == [4000]
    assert train[4000] == 3.0
