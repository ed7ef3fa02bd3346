"""What scenes have behind their events: recorded ambiences, made more of by speed and mixing, and coloured noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earmark.training.cache import AudioCache
from earmark.training.hearing import Doubts
from earmark.training.index import Recording

Audio = NDArray[np.float32]

NOISE_SHARE = 0.25
SECOND_SHARE = 0.4
"""Of the recorded ambiences: those that get another one mixed in."""
SPEED = (0.6, 1.6)


class Ambiences:
    """Draws backgrounds.

    Args:
        recordings: Ambiences with no event of any class; there may be none.
        cache: Their audio.
        doubts: Classes that may be in them all the same, by file.
    """

    def __init__(self, recordings: Sequence[Recording], cache: AudioCache, doubts: Doubts) -> None:
        self._recordings, self._cache, self._doubts = recordings, cache, doubts

    def draw(self, rng: np.random.Generator, n_samples: int) -> tuple[Audio, frozenset[str]]:
        """A stretch of noise, or of one or two ambiences at another speed each, float32 ``[n_samples]``.

        Returns:
            The audio, and the classes that may be in it.
        """
        if not self._recordings or rng.random() < NOISE_SHARE:
            return coloured_noise(rng, n_samples), frozenset()
        ambience, doubts = self._one(rng, n_samples)
        if rng.random() < SECOND_SHARE:
            second, more = self._one(rng, n_samples)
            ambience += second * np.float32(10 ** (rng.uniform(-20, 0) / 20))
            doubts |= more
        return ambience, doubts

    def _one(self, rng: np.random.Generator, n_samples: int) -> tuple[Audio, frozenset[str]]:
        """A random stretch of one ambience, of unit level; a short one goes round."""
        speed = rng.uniform(*SPEED)
        n_read = int(np.ceil(n_samples * speed)) + 1
        file = self._recordings[int(rng.integers(len(self._recordings)))].file
        pcm = self._cache[file]
        pcm = np.tile(pcm, 1 + -(-n_read // len(pcm)))[: len(pcm) + n_read]
        start = int(rng.integers(len(pcm) - n_read + 1))
        audio = pcm[start : start + n_read].astype(np.float32) / 32768
        audio = np.interp(np.arange(n_samples) * speed, np.arange(n_read), audio).astype(np.float32)
        level = np.sqrt(np.mean(np.square(audio))) + np.float32(1e-9)
        return audio / level, self._doubts.get(file, frozenset())


def coloured_noise(rng: np.random.Generator, n_samples: int) -> Audio:
    """Noise whose power falls with frequency to a random power (0 white, 1 pink, 2 brown), float32 ``[n_samples]``."""
    spectrum = np.fft.rfft(rng.standard_normal(n_samples, dtype=np.float32))
    bins = np.arange(1, len(spectrum) + 1, dtype=np.float32)
    spectrum *= np.maximum(bins, n_samples / 800) ** np.float32(-rng.uniform(0, 2) / 2)
    return np.fft.irfft(spectrum, n_samples).astype(np.float32)
