"""The front end: librosa is the oracle."""

from itertools import pairwise

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.bundle import FrontEnd
from earmark.contracts.errors import ShapeError
from engine.frontend import LogMel, mel_filters
from tests.support.audio import tones

SPECS = [
    FrontEnd(),
    FrontEnd(win_length=400, hop_length=160, n_mels=40, fmin_hz=0),
    FrontEnd(sample_rate_hz=32_000, n_fft=1024, win_length=1024, hop_length=320, fmin_hz=50, fmax_hz=14_000),
]


@pytest.mark.parametrize("spec", SPECS)
def test_mel_filters_are_librosas(spec):
    expected = librosa.filters.mel(
        sr=spec.sample_rate_hz, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin_hz, fmax=spec.fmax_hz
    )
    np.testing.assert_allclose(mel_filters(spec), expected, atol=1e-7)


@pytest.mark.parametrize("spec", SPECS)
def test_log_mel_is_librosas(spec):
    log_mel = LogMel(spec)
    n_hops = 100
    audio = tones(0, 5)[: n_hops * spec.hop_length].astype(np.float32) / 32768
    padded = np.concatenate([np.zeros(log_mel.tail_length, np.float32), audio])
    # librosa centres a short window in its n_fft samples, and therefore needs half of what is missing on both sides
    margin = (spec.n_fft - spec.win_length) // 2
    expected = librosa.feature.melspectrogram(
        y=np.pad(padded.astype(np.float64), margin),
        sr=spec.sample_rate_hz,
        n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        win_length=spec.win_length,
        center=False,
        power=2,
        n_mels=spec.n_mels,
        fmin=spec.fmin_hz,
        fmax=spec.fmax_hz,
        dtype=np.float64,
    )
    np.testing.assert_allclose(log_mel(padded[None])[0], np.log(expected.T + spec.log_offset), atol=1e-4)


@given(cuts=st.lists(st.integers(1, 49), max_size=6))
@settings(max_examples=30, deadline=None)
def test_chunking_never_changes_features(cuts):
    log_mel = LogMel(FrontEnd())
    hop, tail = log_mel.spec.hop_length, log_mel.tail_length
    audio = np.concatenate([np.zeros(tail, np.float32), tones(1, 1).astype(np.float32) / 32768])[None]
    whole = log_mel(audio)
    edges = [0, *sorted(set(cuts)), 50]
    parts = [log_mel(audio[:, a * hop : tail + b * hop]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@given(n_rows=st.integers(1, 70), n_hops=st.integers(1, 140), seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_a_batch_gives_each_row_the_bits_that_it_gets_alone(n_rows, n_hops, seed):
    log_mel = LogMel(FrontEnd())
    n_samples = log_mel.tail_length + n_hops * log_mel.spec.hop_length
    audio = np.random.default_rng(seed).standard_normal((n_rows, n_samples), np.float32)
    batch = log_mel(audio)
    for row in range(0, n_rows, 9):
        np.testing.assert_array_equal(log_mel(audio[row : row + 1])[0], batch[row])


def test_later_samples_never_change_earlier_features():
    log_mel = LogMel(FrontEnd())
    audio = np.concatenate([np.zeros(log_mel.tail_length, np.float32), tones(2, 1).astype(np.float32) / 32768])[None]
    changed = audio.copy()
    changed[:, log_mel.tail_length + 20 * log_mel.spec.hop_length :] = 0.5
    np.testing.assert_array_equal(log_mel(audio)[:, :20], log_mel(changed)[:, :20])
    assert not np.allclose(log_mel(audio)[:, 20], log_mel(changed)[:, 20])


def test_a_part_of_a_hop_is_refused():
    log_mel = LogMel(FrontEnd())
    with pytest.raises(ShapeError, match=r"expected \[B, 192 \+ T \* 320\], got \[1, 600\]"):
        log_mel(np.zeros((1, 600), np.float32))
