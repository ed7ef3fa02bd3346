"""From a source's rate to the rate that is sent. Output sample i belongs to input time i / rate, however it was cut."""

from typing import TypeAlias, cast

import numpy as np
import soxr  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from earmark.contracts.streams import Pcm

Audio: TypeAlias = NDArray[np.int16] | NDArray[np.float32]

_QUALITY = "HQ"
"""Holds back 21 ms of audio on average from 48 kHz to 16 kHz (37 ms at most); equal rates pass at once."""


class Resampler:
    """A mono stream's change of rate. The number of samples out is exactly that in, times the ratio, rounded.

    Args:
        input_rate_hz: Rate of what goes in.
        output_rate_hz: Rate of what comes out.
    """

    def __init__(self, input_rate_hz: int, output_rate_hz: int) -> None:
        self._rates = (input_rate_hz, output_rate_hz)
        self._n_in = 0
        self._n_out = 0
        self._stream = self._fresh()

    @property
    def position(self) -> int:
        """Output sample that the next input sample belongs to."""
        input_rate_hz, output_rate_hz = self._rates
        return (2 * self._n_in * output_rate_hz + input_rate_hz) // (2 * input_rate_hz)

    def process(self, audio: Audio) -> Pcm:
        """Take some audio.

        Args:
            audio: int16, or float32 in [-1, 1], ``[n]``; borrowed.

        Returns:
            What can be given out by now, int16; may be empty.
        """
        self._n_in += len(audio)
        if self._stream is None:
            return self._count(_to_int16(audio))
        return self._count(_to_int16(self._stream.resample_chunk(_to_float32(audio))))

    def flush(self) -> Pcm:
        """Give out all that is held back, int16; what comes next begins afresh at `position`."""
        if self._stream is None:
            return np.zeros(0, np.int16)
        tail = _to_int16(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        self._stream = self._fresh()
        missing = self.position - self._n_out
        return self._count(np.pad(tail[:missing], (0, max(0, missing - len(tail)))))

    def skip(self, n_samples: int) -> int:
        """Advance over input that was lost, after `flush`; returns how many output samples that is."""
        self._n_in += n_samples
        n_out = self.position - self._n_out
        self._n_out += n_out
        return n_out

    def _fresh(self) -> soxr.ResampleStream | None:
        if self._rates[0] == self._rates[1]:
            return None
        return soxr.ResampleStream(*self._rates, 1, dtype="float32", quality=_QUALITY)

    def _count(self, pcm: Pcm) -> Pcm:
        self._n_out += len(pcm)
        return pcm


def _to_float32(audio: Audio) -> NDArray[np.float32]:
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32_768)
    return cast("NDArray[np.float32]", audio)


def _to_int16(audio: Audio) -> Pcm:
    if audio.dtype == np.int16:
        return cast("Pcm", audio)
    scaled = np.nan_to_num(audio * np.float32(32_768), nan=0.0)
    return np.clip(np.rint(scaled), -32_768, 32_767).astype(np.int16)
