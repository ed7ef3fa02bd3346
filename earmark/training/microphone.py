"""What a cheap microphone and a thin link do to sound: a narrow, uneven band, clipping, a lossy codec."""

import numpy as np
from fast_mp3_augment import compress_roundtrip
from numpy.typing import NDArray

Audio = NDArray[np.float32]

BAND_SHARE, CLIPPING_SHARE, CODEC_SHARE = 0.6, 0.2, 0.2
LOWEST_HZ, HIGHEST_HZ = (30.0, 400.0), (2_000.0, 8_000.0)
SLOPE_DB = 12.0
"""An octave, beyond the band."""
N_BUMPS, BUMP_DB = 6, 8.0
OVERDRIVE_DB = (1.0, 12.0)
BITRATES_KBPS = (16, 24, 32, 48, 64)


def worsen(audio: Audio, rng: np.random.Generator, sample_rate_hz: int) -> Audio:
    """``audio [n]`` as some cheap device would have captured it, float32 ``[n]``; nothing moves in time."""
    if rng.random() < BAND_SHARE:
        audio = _in_band(audio, rng, sample_rate_hz)
    if rng.random() < CLIPPING_SHARE:
        limit = np.abs(audio).max() * np.float32(10 ** (-rng.uniform(*OVERDRIVE_DB) / 20))
        audio = np.clip(audio, -limit, limit)
    if rng.random() < CODEC_SHARE:
        audio = compress_roundtrip(audio, sample_rate_hz, bitrate_kbps=int(rng.choice(BITRATES_KBPS)))
    return audio


def _in_band(audio: Audio, rng: np.random.Generator, sample_rate_hz: int) -> Audio:
    """Between two random corners, with random bumps on the way, all in zero phase."""
    octaves = np.log2(np.fft.rfftfreq(len(audio), 1 / sample_rate_hz).clip(min=1))
    lowest, highest = (rng.uniform(*np.log2(limits_hz)) for limits_hz in (LOWEST_HZ, HIGHEST_HZ))
    bumps_db = np.interp(octaves, np.linspace(lowest, highest, N_BUMPS), rng.uniform(-BUMP_DB, BUMP_DB, N_BUMPS))
    outside = np.maximum(0, lowest - octaves) + np.maximum(0, octaves - highest)
    gain = (10 ** ((bumps_db - SLOPE_DB * outside) / 20)).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(audio) * gain, len(audio)).astype(np.float32)
