"""Laws of the change of rate. Tolerances are in steps of int16 (LSB)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.resampler import Resampler

RATES = st.sampled_from([(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (22_050, 16_000), (16_000, 16_000)])


def resample(audio, input_rate_hz, output_rate_hz, cuts=()):
    resampler = Resampler(input_rate_hz, output_rate_hz)
    pieces = [resampler.process(piece) for piece in np.split(audio, sorted(cuts))]
    return np.concatenate([*pieces, resampler.flush()])


def sine(hz, rate_hz, n, amplitude=16_000):
    return np.round(amplitude * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)).astype(np.int16)


def middle(pcm, margin=2_000):
    return pcm[margin:-margin].astype(float)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_constant_stays_constant(rate_hz):
    out = resample(np.full(rate_hz, 12_345, np.int16), rate_hz, 16_000)
    assert np.abs(middle(out) - 12_345).max() <= 1


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_passes_and_keeps_its_place_in_time(rate_hz):
    """Sample i out belongs to time i / rate: the tone's phase does not move."""
    out = resample(sine(1_000, rate_hz, rate_hz), rate_hz, 16_000)
    assert np.abs(middle(out) - middle(sine(1_000, 16_000, 16_000))).max() <= 8


def test_a_tone_above_the_new_band_vanishes():
    out = resample(sine(10_000, 48_000, 48_000), 48_000, 16_000)
    assert np.abs(middle(out)).max() <= 1


@settings(max_examples=60, deadline=None)
@given(RATES, st.integers(0, 9_000), st.lists(st.integers(0, 9_000), max_size=8), st.booleans())
def test_cutting_changes_nothing_and_lengths_are_exact(rates, n, cuts, as_float):
    audio = np.random.default_rng(n).integers(-20_000, 20_000, n).astype(np.int16)
    audio = (audio / 32_768).astype(np.float32) if as_float else audio
    whole = resample(audio, *rates)
    cut = resample(audio, *rates, [at for at in cuts if at <= n])
    assert len(whole) == (2 * n * rates[1] + rates[0]) // (2 * rates[0])
    assert whole.dtype == cut.dtype == np.int16
    assert (whole == cut).all()


@settings(max_examples=60, deadline=None)
@given(RATES, st.lists(st.tuples(st.integers(1, 3_000), st.integers(1, 3_000)), min_size=1, max_size=8))
def test_lost_stretches_never_accumulate_an_error(rates, stretches):
    resampler, n_in, n_out = Resampler(*rates), 0, 0
    for n_heard, n_lost in stretches:
        n_out += len(resampler.process(np.zeros(n_heard, np.int16))) + len(resampler.flush())
        n_out += resampler.skip(n_lost)
        n_in += n_heard + n_lost
        assert n_out == resampler.position == round((n_in * rates[1]) / rates[0] + 1e-9)


def test_equal_rates_pass_through_at_once():
    pcm = np.arange(-50, 50, dtype=np.int16)
    assert (Resampler(16_000, 16_000).process(pcm) == pcm).all()


def test_floats_beyond_full_scale_are_clipped_and_nan_is_silence():
    out = Resampler(16_000, 16_000).process(np.array([2.0, -2.0, np.nan, 0.5], np.float32))
    assert out.tolist() == [32_767, -32_768, 0, 16_384]
