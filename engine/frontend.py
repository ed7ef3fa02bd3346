"""Log-mel features, for training and serving alike, so that the two cannot differ. librosa is their oracle."""

from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from earmark.contracts.bundle import FrontEnd
from earmark.contracts.errors import ShapeError

Audio: TypeAlias = NDArray[np.float32]
Features: TypeAlias = NDArray[np.float32]

_FRAMES_AT_ONCE = 8


class LogMel:
    """Causal log-mel: frame t ends with the last sample of hop t, so no frame waits for the audio after it.

    Args:
        spec: The bundle's front end.
    """

    def __init__(self, spec: FrontEnd) -> None:
        self.spec = spec
        self.tail_length = spec.win_length - spec.hop_length
        """Samples before a hop that its frame sees too; zeros where the stream begins."""
        self._window = np.hanning(spec.win_length + 1)[:-1].astype(np.float32)
        self._mel = mel_filters(spec).T.copy()

    def __call__(self, audio: Audio) -> Features:
        """Features of whole hops.

        Args:
            audio: float32 ``[B, tail_length + T * hop_length]`` in [-1, 1]; borrowed.

        Returns:
            float32 ``[B, T, n_mels]``, natural logarithm of power.

        Raises:
            ShapeError: ``audio`` does not hold whole hops behind its tail.
        """
        spec = self.spec
        n_hops, rest = divmod(audio.shape[-1] - self.tail_length, spec.hop_length)
        if audio.ndim != 2 or rest or n_hops < 1:
            raise ShapeError(f"expected [B, {self.tail_length} + T * {spec.hop_length}], got {list(audio.shape)}")
        frames = sliding_window_view(audio, spec.win_length, axis=1)[:, :: spec.hop_length] * self._window
        spectrum = np.fft.rfft(frames, n=spec.n_fft)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = self._in_bands(power.reshape(-1, power.shape[-1]))
        return np.log(mel + np.float32(spec.log_offset)).reshape(len(audio), n_hops, spec.n_mels)

    def _in_bands(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """``power [N, n_fft // 2 + 1]`` in mel bands, ``[N, n_mels]``.

        In products of a few frames: of single ones numpy makes too many calls, and one of all would wake up OpenBLAS's
        threads, which wait for each other on a busy machine.
        """
        n_even = len(power) // _FRAMES_AT_ONCE * _FRAMES_AT_ONCE
        mel = np.empty((len(power), self.spec.n_mels), np.float32)
        np.matmul(
            power[:n_even].reshape(-1, _FRAMES_AT_ONCE, power.shape[1]),
            self._mel,
            out=mel[:n_even].reshape(-1, _FRAMES_AT_ONCE, self.spec.n_mels),
        )
        np.matmul(power[n_even:], self._mel, out=mel[n_even:])
        return mel


def mel_filters(spec: FrontEnd) -> NDArray[np.float32]:
    """Triangular filters on Slaney's mel scale, each of unit area, float32 ``[n_mels, n_fft // 2 + 1]``.

    The same as ``librosa.filters.mel(htk=False, norm="slaney")``: linear below 1 kHz, logarithmic above (Slaney, 1998).
    """
    edges_mel = np.linspace(_hz_to_mel(spec.fmin_hz), _hz_to_mel(spec.fmax_hz), spec.n_mels + 2)
    edges_hz = np.where(
        edges_mel < _BREAK_MEL, edges_mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (edges_mel - _BREAK_MEL))
    )
    bins_hz = np.linspace(0, spec.sample_rate_hz / 2, spec.n_fft // 2 + 1)
    slopes = edges_hz[:, None] - bins_hz
    widths = np.diff(edges_hz)[:, None]
    rising, falling = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]).astype(np.float32)


_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)
