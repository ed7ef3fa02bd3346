"""Log-mel features, for training and serving alike, so that the two cannot differ. librosa is their oracle."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import FrontEnd
from earmark.contracts.errors import ShapeError

Audio: TypeAlias = NDArray[np.float32]
Features: TypeAlias = NDArray[np.float32]

_AT_ONCE = 64
"""Frames whose numbers stay in the cache from the window to the logarithm."""
_FRAMES_OF_PRODUCT = 8


class LogMel:
    """Causal log-mel: frame t ends with the last sample of hop t, so no frame waits for the audio after it.

    A frame's features are the same bits in whichever batch and place it is computed. Its memory is reused, so it is for
    one thread.

    Args:
        spec: The bundle's front end.
    """

    def __init__(self, spec: FrontEnd) -> None:
        self.spec = spec
        self.tail_length = spec.win_length - spec.hop_length
        """Samples before a hop that its frame sees too; zeros where the stream begins."""
        self._window = np.hanning(spec.win_length + 1)[:-1].astype(np.float32)
        self._filters = mel_filters(spec).T.copy()
        n_bins = spec.n_fft // 2 + 1
        self._frames = np.empty((_AT_ONCE, spec.win_length), np.float32)
        self._spectrum: Any = np.empty((_AT_ONCE, n_bins), np.complex64)  # numpy's types know `rfft` of doubles only
        self._power = np.zeros((_AT_ONCE, n_bins), np.float32)
        self._mel = np.empty((_AT_ONCE, spec.n_mels), np.float32)

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
        frames = self._framed(np.ascontiguousarray(audio), n_hops)
        features = np.empty((len(audio), n_hops, spec.n_mels), np.float32)
        hops_at_once = min(n_hops, _AT_ONCE)
        rows_at_once = _AT_ONCE // hops_at_once
        for row in range(0, len(audio), rows_at_once):
            for hop in range(0, n_hops, hops_at_once):
                piece = slice(row, row + rows_at_once), slice(hop, hop + hops_at_once)
                self._log_mel(frames[piece], features[piece])
        return features

    def _framed(self, audio: Audio, n_hops: int) -> NDArray[np.float32]:
        """Every frame, as a view ``[B, n_hops, win_length]``; `numpy.lib.stride_tricks` takes thirty times as long."""
        step, shape = audio.itemsize, (len(audio), n_hops, self.spec.win_length)
        return np.ndarray(shape, audio.dtype, audio, strides=(audio.strides[0], self.spec.hop_length * step, step))

    def _log_mel(self, frames: NDArray[np.float32], out: Features) -> None:
        """Features of ``frames [B, T, win_length]``, `_AT_ONCE` at most, into ``out [B, T, n_mels]``."""
        spec, n = self.spec, frames.shape[0] * frames.shape[1]
        np.multiply(frames, self._window, out=self._frames[:n].reshape(frames.shape))
        parts = np.fft.rfft(self._frames[:n], spec.n_fft, out=self._spectrum[:n]).view(np.float32)
        np.square(parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=self._power[:n])
        mel = self._in_bands(n).reshape(out.shape)
        np.add(mel, np.float32(spec.log_offset), out=out)
        np.log(out, out=out)

    def _in_bands(self, n: int) -> NDArray[np.float32]:
        """The first ``n`` frames' power in mel bands, ``[n, n_mels]``.

        In products of always as many frames, the last one of old ones too: BLAS adds up in another order for another
        number. Of single frames numpy would make too many calls, and one product of all would wake up OpenBLAS's
        threads, which wait for each other on a busy machine.
        """
        n_products = -(-n // _FRAMES_OF_PRODUCT)
        shape, used = (n_products, _FRAMES_OF_PRODUCT, -1), n_products * _FRAMES_OF_PRODUCT
        np.matmul(self._power[:used].reshape(shape), self._filters, out=self._mel[:used].reshape(shape))
        return self._mel[:n]


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
