"""From a source's channels to the one that is analysed, and what is odd about its samples.

A sample that is no number would spoil 30 ms in the resampler's filter, and one of 1e30 as much, so both are mended
before it: the first becomes silence, the second is clipped.
"""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import SourceError
from streamer.resampler import Audio
from streamer.sources.source import Notice

Choice: TypeAlias = int | Literal["mix"]
"""Which channel is analysed, counted from 0, or the mean of all of them."""

CHECK_S = 10.0
"""Live sources ask for notices after so much audio."""
_LOUDEST = 4.0
"""Float audio may go a little beyond 1 and is clipped; beyond this it is on another scale."""
_LOUD_SHARE = 0.01
"""Less of a source beyond full scale is damage or a click, and no other scale."""
_LEAST_AUDIBLE = 2.0**-15
"""Samples that stay within one step of 16 bits are digital silence, whatever codec they went through."""


class ChannelPicker:
    """Gives out one channel of a source.

    Args:
        choice: Which one.
        name: What messages call the source.
    """

    def __init__(self, choice: Choice, name: str) -> None:
        self._choice = choice
        self._name = name
        self._n_channels: int | None = None
        self._n_samples = self._n_invalid = self._n_clipped = 0
        self._peak = 0.0
        self.is_silent = True
        """Whether the chosen channel was digital silence so far."""
        self._audible: int | None = None
        self._reported_scale = self._reported_silence = False

    def pick(self, samples: NDArray[Any]) -> Audio:
        """The chosen channel, int16 or float32 in [-4, 4], ``[n]``.

        Args:
            samples: ``[channels, n]``: unsigned 8 bits, signed 16 or 32 bits, or floats; borrowed.

        Raises:
            SourceError: The source has no such channel. Once it had, another number of channels takes the nearest.
        """
        row = self._row(len(samples))
        self._n_samples += samples.shape[1]
        audio = _mean(samples) if row is None else _to_audio(samples[row])
        if audio.dtype != np.int16:
            audio = self._mended(cast("NDArray[np.float32]", audio))
        self._compare(audio, samples, row)
        return audio

    def notices(self) -> Iterator[Notice]:
        """What is odd about the samples since this was asked before; a scale or a silent channel is reported once."""
        if self._n_invalid:
            problem = f"{self._name}: expected samples that are numbers, got NaN or infinity; each was made silence"
            yield Notice("samples", problem, self._n_invalid)
            self._n_invalid = 0
        share = self._n_clipped / max(1, self._n_samples)
        if self._peak > _LOUDEST and share >= _LOUD_SHARE and not self._reported_scale:
            self._reported_scale = True
            yield Notice(
                "samples",
                f"{self._name}: expected float samples in [-1, 1], got values up to {self._peak:g} ({share:.0%} are "
                "beyond full scale and clipped); divide by 32768 if it is 16-bit audio as float",
            )
        if self.is_silent and self._audible is not None and not self._reported_silence:
            self._reported_silence = True
            yield Notice(
                "silent_channel",
                f"{self._name}: channel {self._choice} is digital silence, channel {self._audible} is not; "
                f"set channel: {self._audible} or channel: mix",
            )

    def _row(self, n_channels: int) -> int | None:
        if isinstance(self._choice, str):
            row = None
        elif self._n_channels is None and self._choice >= n_channels:
            raise SourceError(
                f"{self._name}: expected a channel below {n_channels} (they count from 0), "
                f"got channel {self._choice}; set channel"
            )
        else:
            row = min(self._choice, n_channels - 1)
        self._n_channels = n_channels
        return row

    def _mended(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        finite = np.isfinite(audio)
        if not finite.all():
            self._n_invalid += int(audio.size - np.count_nonzero(finite))
            audio = np.where(finite, audio, np.float32(0))
        peak = float(np.abs(audio).max(initial=0.0))
        self._peak = max(self._peak, peak)
        if peak > 1:
            self._n_clipped += int(np.count_nonzero(np.abs(audio) > 1))
        return audio if peak <= _LOUDEST else np.clip(audio, -_LOUDEST, _LOUDEST)

    def _compare(self, audio: Audio, samples: NDArray[Any], row: int | None) -> None:
        """Remember whether the chosen channel ever sounded, and which other one did while it had not."""
        if not self.is_silent or not audio.size:
            return
        self.is_silent = _is_silent(audio)
        if not self.is_silent or self._audible is not None or row is None:
            return
        others = (index for index in range(len(samples)) if index != row and not _is_silent(_to_audio(samples[index])))
        self._audible = next(others, None)


def _mean(samples: NDArray[Any]) -> Audio:
    if len(samples) == 1:
        return _to_audio(samples[0])
    rows = np.stack([_to_float(_to_audio(row)) for row in samples])
    return cast("NDArray[np.float32]", rows.mean(axis=0, dtype=np.float32))


def _to_audio(samples: NDArray[Any]) -> Audio:
    if samples.dtype == np.int16:
        return samples.astype(np.int16)
    if samples.dtype == np.uint8:
        return ((samples.astype(np.int16) - 128) * 256).astype(np.int16)
    if np.issubdtype(samples.dtype, np.integer):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and is mended as such
        return samples.astype(np.float32)


def _to_float(audio: Audio) -> NDArray[np.float32]:
    if audio.dtype == np.int16:
        return audio.astype(np.float32) / np.float32(32_768)
    return cast("NDArray[np.float32]", audio)


def _is_silent(audio: Audio) -> bool:
    samples = _to_float(audio)
    samples = samples[np.isfinite(samples)]
    return samples.size == 0 or float(samples.max() - samples.min()) <= _LEAST_AUDIBLE
