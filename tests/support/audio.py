"""Sounds for tests: tones that one class of the tiny bundle hears each, with pauses."""

import numpy as np
from numpy.typing import NDArray

from tests.support.tiny_bundle import TONES_HZ

RATE_HZ = 16_000


def tones(seed: int, duration_s: float) -> NDArray[np.int16]:
    """Random tones of 0.1 to 1.5 s with pauses of 0.1 to 0.8 s over faint noise, int16 ``[n]``."""
    rng = np.random.default_rng(seed)
    n = round(duration_s * RATE_HZ)
    audio = rng.normal(0, 1e-4, n)
    for hz in TONES_HZ.values():
        at = 0
        while at < n:
            at += round(rng.uniform(0.1, 0.8) * RATE_HZ)
            length = round(rng.uniform(0.1, 1.5) * RATE_HZ)
            stretch = np.arange(max(0, min(length, n - at)))
            audio[at : at + len(stretch)] += rng.uniform(0.02, 0.2) * np.sin(2 * np.pi * hz * stretch / RATE_HZ)
            at += length
    return np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)
