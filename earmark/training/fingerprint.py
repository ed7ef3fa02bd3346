"""What audio sounds like, coarsely: finds copies that differ in level, coding or padding.

The log-mel picture of the sounding part, in 32 steps of time and 16 bands, no quieter than 40 dB below its loudest
cell; the changes from step to step, as a unit vector. Two vectors' product is near 1 for copies. Among our labelled
audio (812,063 pairs of like length) two pairs exceed `ALIKE`, one of them equal, and the next has 0.90. Of 193 of these
files, a padded copy was found for all, one 12 dB quieter for 92 %, one through Opus at 24 kb/s for 75 %.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import FrontEnd
from engine.frontend import LogMel

Fingerprint = NDArray[np.float32]

ALIKE = 0.95
SAME_LENGTH = 0.02
"""Copies differ in length by this share at most."""

_STEPS, _BANDS = 32, 16
_RANGE = 40 / 10 * float(np.log(10))
_TRIM = 1 / 300
"""What is quieter than this part of the peak, before the first and behind the last louder sample, is not looked at."""
_SPEC = FrontEnd()
_FRONT_END = LogMel(_SPEC)


def fingerprint(pcm: NDArray[np.int16]) -> tuple[Fingerprint, int]:
    """A unit vector (0 where nothing ever changes), and the samples of the sounding part.

    Args:
        pcm: int16 ``[n]`` at 16 kHz, not silent; borrowed.
    """
    size = np.abs(pcm.astype(np.int32))
    loud = np.flatnonzero(size > size.max() * _TRIM)
    sounding = pcm[loud[0] : loud[-1] + 1].astype(np.float32) / 32768
    length = max(1, len(sounding) // _SPEC.hop_length) * _SPEC.hop_length
    audio = np.zeros(_FRONT_END.tail_length + length, np.float32)
    audio[_FRONT_END.tail_length :][: len(sounding)] = sounding[:length]
    bands = _FRONT_END(audio[None])[0].reshape(length // _SPEC.hop_length, _BANDS, -1).mean(axis=2)
    picture = np.stack([step.mean(axis=0) for step in _steps(bands)])
    changes = np.diff(np.maximum(picture, picture.max() - _RANGE), axis=0).ravel()
    norm = np.linalg.norm(changes)
    return (changes / norm if norm else changes).astype(np.float32), len(sounding)


def _steps(bands: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The frames in `_STEPS` parts; a short sound's frames serve several times."""
    edges = np.linspace(0, len(bands), _STEPS + 1).astype(int)
    return [bands[first : max(end, first + 1)] for first, end in pairwise(edges)]


def alike(prints: list[tuple[Fingerprint, int]]) -> list[tuple[int, int]]:
    """The pairs of places in ``prints`` that are copies of each other, each with its smaller place first."""
    if not prints:
        return []
    vectors = np.stack([vector for vector, _ in prints])
    lengths = np.array([length for _, length in prints], np.float64)
    pairs: list[tuple[int, int]] = []
    for place in range(len(prints) - 1):
        later = lengths[place + 1 :]
        near = np.abs(later - lengths[place]) <= SAME_LENGTH * np.maximum(later, lengths[place])
        same = np.flatnonzero(near & (vectors[place + 1 :] @ vectors[place] > ALIKE))
        pairs.extend((place, place + 1 + int(offset)) for offset in same)
    return pairs
