"""What a long recording looks like: log-mel and level, pooled over time while it streams by.

A day of features is a gigabyte; a picture shows some thousand columns of it. So each column covers twice as many
hops whenever the columns run out, and memory never grows.
"""

import math

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import FrontEnd
from earmark.contracts.streams import Pcm
from engine.frontend import Audio, Features, LogMel, mel_filters

MAX_COLUMNS = 2000
_DB_PER_NEPER = 10 / math.log(10)

Levels = NDArray[np.float64]


class Overview:
    """Log-mel and level of a recording, in at most ``max_columns`` columns of equal length.

    Column j covers hops ``[j * hops_per_column, (j + 1) * hops_per_column)``, the last one fewer: however the audio
    was cut, the columns are the same. Samples behind the last whole hop are in no column.

    Args:
        spec: The front end, of which hops and mel bands are taken.
        max_columns: How many columns there may be, an even number; once they ran out, at least half are in use.
    """

    def __init__(self, spec: FrontEnd, max_columns: int = MAX_COLUMNS) -> None:
        self.spec = spec
        self.hops_per_column = 1
        self._log_mel = LogMel(spec)
        self._rest: Audio = np.zeros(self._log_mel.tail_length, np.float32)
        self._n_hops = 0
        self._mel: Features = np.full((max_columns, spec.n_mels), -np.inf, np.float32)
        self._loudest: Levels = np.zeros(max_columns)
        self._energy: Levels = np.zeros(max_columns)

    def add(self, pcm: Pcm) -> None:
        """Take the next samples: int16 ``[n]``, of any length; borrowed, not kept."""
        audio = np.concatenate([self._rest, pcm.astype(np.float32) / np.float32(32768)])
        tail, hop = self._log_mel.tail_length, self.spec.hop_length
        n_hops = (len(audio) - tail) // hop
        self._rest = audio[n_hops * hop :].copy()
        if n_hops:
            whole = audio[: tail + n_hops * hop]
            power = np.square(whole[tail:].reshape(n_hops, hop), dtype=np.float64).mean(axis=1)
            self._pool(self._log_mel(whole[None])[0], power)

    @property
    def n_columns(self) -> int:
        """How many columns are in use."""
        return -(-self._n_hops // self.hops_per_column)

    @property
    def column_s(self) -> float:
        """Seconds from one column to the next."""
        return self.hops_per_column * self.spec.hop_length / self.spec.sample_rate_hz

    @property
    def mel_db(self) -> Features:
        """The most that each band reached in each column, in dB of power, float32 ``[n_columns, n_mels]``, a copy."""
        return self._mel[: self.n_columns] * np.float32(_DB_PER_NEPER)

    @property
    def mean_level_db(self) -> Levels:
        """RMS over each column, dBFS, float64 ``[n_columns]``; NaN for digital silence."""
        hops = self._n_hops - np.arange(self.n_columns) * self.hops_per_column
        return _dbfs(self._energy[: self.n_columns] / np.minimum(hops, self.hops_per_column))

    @property
    def peak_level_db(self) -> Levels:
        """RMS of each column's loudest hop, dBFS, float64 ``[n_columns]``; NaN for digital silence."""
        return _dbfs(self._loudest[: self.n_columns])

    @property
    def band_hz(self) -> Levels:
        """The frequency that each mel band is centred on, float64 ``[n_mels]``; NaN where it covers no bin."""
        filters = mel_filters(self.spec)
        bins_hz = np.linspace(0, self.spec.sample_rate_hz / 2, filters.shape[1])
        weights = filters.sum(axis=1)
        return np.where(weights > 0, filters @ bins_hz / np.where(weights > 0, weights, 1), np.nan)

    def _pool(self, mel: Features, power: Levels) -> None:
        hops = self._n_hops + np.arange(len(mel))
        self._n_hops += len(mel)
        while hops[-1] // self.hops_per_column >= len(self._mel):
            self._halve()
        columns, firsts = np.unique(hops // self.hops_per_column, return_index=True)
        self._mel[columns] = np.maximum(self._mel[columns], np.maximum.reduceat(mel, firsts, axis=0))
        self._loudest[columns] = np.maximum(self._loudest[columns], np.maximum.reduceat(power, firsts))
        self._energy[columns] += np.add.reduceat(power, firsts)

    def _halve(self) -> None:
        self.hops_per_column *= 2
        half = len(self._mel) // 2
        self._mel[:half], self._mel[half:] = np.maximum(self._mel[::2], self._mel[1::2]), -np.inf
        self._loudest[:half], self._loudest[half:] = np.maximum(self._loudest[::2], self._loudest[1::2]), 0
        self._energy[:half], self._energy[half:] = self._energy[::2] + self._energy[1::2], 0


def _dbfs(power: Levels) -> Levels:
    return 10 * np.log10(power, out=np.full(len(power), np.nan), where=power > 0)
