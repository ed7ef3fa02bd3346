"""Whatever a microphone does, a sound stays where it was."""

import numpy as np
import pytest

from earmark.training import microphone
from earmark.training.microphone import worsen

RATE = 16_000
SHARES = ("BAND_SHARE", "CLIPPING_SHARE", "CODEC_SHARE")


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in SHARES:
        monkeypatch.setattr(microphone, name, float(name in names))


def lag(audio: np.ndarray, original: np.ndarray) -> int:
    """By how many samples ``audio`` is later."""
    size = 2 * len(original)
    correlation = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(original, size).conj(), size)
    peak = int(correlation.argmax())
    return peak if peak < len(original) else peak - size


@pytest.mark.parametrize("names", [*((name,) for name in SHARES), SHARES])
@pytest.mark.parametrize("n_samples", [4 * RATE, 15_601])
def test_it_changes_sound_but_not_its_time_length_or_type(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], n_samples: int
):
    only(monkeypatch, *names)
    original = noise(n_samples)
    for seed in range(6):
        audio = original.copy()
        first, again = (worsen(audio, np.random.default_rng(seed), RATE) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(audio, original)
        assert (first.shape, first.dtype) == (original.shape, np.float32)
        assert not np.array_equal(first, original)
        assert lag(first, original) == 0


def test_a_lucky_sound_stays_as_it_is(monkeypatch: pytest.MonkeyPatch):
    only(monkeypatch)
    original = noise(RATE)
    np.testing.assert_array_equal(worsen(original, np.random.default_rng(0), RATE), original)


@pytest.mark.parametrize("names", [*((name,) for name in SHARES), SHARES])
def test_silence_stays_silent(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]):
    only(monkeypatch, *names)
    assert not worsen(np.zeros(RATE, np.float32), np.random.default_rng(0), RATE).any()


def test_clipping_cuts_peaks_and_leaves_the_rest(monkeypatch: pytest.MonkeyPatch):
    only(monkeypatch, "CLIPPING_SHARE")
    original = noise(RATE)
    for seed in range(6):
        clipped = worsen(original, np.random.default_rng(seed), RATE)
        limit = np.abs(clipped).max()
        least_db, most_db = microphone.OVERDRIVE_DB
        assert least_db <= 20 * np.log10(np.abs(original).max() / limit) <= most_db
        np.testing.assert_array_equal(clipped, np.clip(original, -limit, limit))


def test_a_band_has_its_corners_and_slopes(monkeypatch: pytest.MonkeyPatch):
    """An impulse shows the gain, which is real: zero phase."""
    only(monkeypatch, "BAND_SHARE")
    impulse = np.zeros(4 * RATE, np.float32)
    impulse[0] = 1
    highest_losses_db = []
    for seed in range(20):
        spectrum = np.fft.rfft(worsen(impulse, np.random.default_rng(seed), RATE))
        np.testing.assert_allclose(spectrum.imag, 0, atol=1e-5)
        gains_db = 20 * np.log10(spectrum.real.clip(1e-9)).repeat(2)[::2]
        at_hz = dict(zip(np.fft.rfftfreq(len(impulse), 1 / RATE).tolist(), gains_db, strict=True))
        between = [at_hz[hz] for hz in np.arange(400.0, 2000.0)]
        assert np.abs(between).max() <= microphone.BUMP_DB + 0.01
        # Even the lowest corner is an octave above 15 Hz, and below it nothing bumps.
        assert at_hz[15.0] - at_hz[7.5] == pytest.approx(microphone.SLOPE_DB, abs=0.1)
        assert at_hz[15.0] <= microphone.BUMP_DB - microphone.SLOPE_DB + 0.01
        highest_losses_db.append(-at_hz[8000.0])
    assert max(highest_losses_db) > microphone.SLOPE_DB
    assert min(highest_losses_db) < microphone.BUMP_DB
