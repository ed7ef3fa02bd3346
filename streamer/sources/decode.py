"""Decoding with FFmpeg (PyAV), for files and addresses alike."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from earmark.contracts.clock import NS
from earmark.contracts.errors import SourceError
from streamer.resampler import Audio

LEAST_RATE_HZ, MOST_RATE_HZ = 1_000, 1_000_000
"""Beyond bats and below telephones nobody records; a header that says 1 Hz would become 16,000 times its audio."""


class Decoder:
    """One channel of the first audio stream in a container, open and known to give audio.

    Args:
        target: Path or address.
        channel: Counts from 0.
        name: What messages call it.
        options: FFmpeg's, for opening.
        timeout_s: Without audio for this long it fails, whatever else comes; None waits for ever, which is for files.
        closed: Looked at with every packet, of other tracks too; once it is set, the audio ends.

    Raises:
        SourceError: It cannot be opened, holds no audio, or has no such channel.
    """

    def __init__(
        self,
        target: str,
        channel: int,
        *,
        name: str,
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        closed: threading.Event | None = None,
    ) -> None:
        self._channel = channel
        self._name = name
        self._timeout_s = timeout_s
        self._closed = closed or threading.Event()
        try:
            self._container = av.open(
                target,
                options=dict(options or {}),
                timeout=timeout_s,
                metadata_errors="replace",  # titles in Latin-1 are common, and nobody reads them here
            )
        except (FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{name}: expected audio that FFmpeg can open, got {_reason(error)}; check it") from error
        try:
            self._open()
        except SourceError:
            self.close()
            raise

    def chunks(self) -> Iterator[Audio]:
        """Audio as packets bring it, int16 or float32 ``[n]``, at `sample_rate_hz`.

        Raises:
            SourceError: A packet cannot be read or decoded, or the rate or the number of channels changes.
        """
        for audio, _ in self.timed_chunks():
            yield audio

    def timed_chunks(self) -> Iterator[tuple[Audio, int | None]]:
        """As `chunks`, each with the container's time of its first sample: ns from anywhere, None where it has none."""
        while (chunk := self._next) is not None:
            yield chunk
            self._next = next(self._decoded, None)

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _open(self) -> None:
        if not self._container.streams.audio:
            kinds = ", ".join(stream.type for stream in self._container.streams) or "nothing"
            raise SourceError(f"{self._name}: expected an audio stream, got {kinds} only; name a source with sound")
        self._stream = self._container.streams.audio[0]
        if not hasattr(self._stream, "rate"):  # PyAV asks the codec, and there is none
            raise SourceError(f"{self._name}: expected audio, got a codec that FFmpeg does not know; convert the file")
        self.sample_rate_hz = self._stream.rate or 0
        if not LEAST_RATE_HZ <= self.sample_rate_hz <= MOST_RATE_HZ:
            raise SourceError(
                f"{self._name}: expected a sample rate of {LEAST_RATE_HZ} to {MOST_RATE_HZ} Hz, "
                f"got {self.sample_rate_hz} Hz; repair the header"
            )
        self._decoded = self._decode()
        self._next = next(self._decoded, None)
        if self._next is None:
            raise SourceError(f"{self._name}: expected audio, got none behind the header; the recording is empty")

    def _decode(self) -> Iterator[tuple[Audio, int | None]]:
        heard_at_s = time.monotonic()
        try:
            for packet in self._container.demux():
                if self._closed.is_set():
                    return
                for frame in self._frames(packet):
                    yield self._mono(frame), _time_ns(frame)
                    heard_at_s = time.monotonic()  # the time in which nobody took the audio does not count
                self._check_heard(time.monotonic() - heard_at_s)
        except (FFmpegError, OSError) as error:
            raise SourceError(
                f"{self._name}: expected more audio, got {_reason(error)}; it is damaged or cut off"
            ) from error

    def _frames(self, packet: "av.Packet[Any]") -> list[av.AudioFrame]:
        if packet.stream is not self._stream:
            return []
        return self._stream.decode(packet)  # pyright: ignore[reportUnknownMemberType] -- its argument's class is generic

    def _check_heard(self, silent_s: float) -> None:
        """FFmpeg's own timeout is content with any packet, and a muted camera goes on with its pictures."""
        if self._timeout_s is not None and silent_s >= self._timeout_s:
            raise SourceError(
                f"{self._name}: expected audio, got none in what came for {silent_s:.1f} s; is its sound switched on?"
            )

    def _mono(self, frame: av.AudioFrame) -> Audio:
        if frame.sample_rate != self.sample_rate_hz:
            raise SourceError(
                f"{self._name}: expected {self.sample_rate_hz} Hz throughout, got {frame.sample_rate} Hz; open it again"
            )
        n_channels = frame.layout.nb_channels
        if self._channel >= n_channels:
            raise SourceError(
                f"{self._name}: expected a channel below {n_channels} (they count from 0), "
                f"got channel {self._channel}; set channel"
            )
        try:
            samples = frame.to_ndarray()
        except ValueError as error:
            raise SourceError(
                f"{self._name}: expected samples of 8 to 32 bits or floats, got {frame.format.name}; convert the file"
            ) from error
        if frame.format.is_planar:
            return _to_audio(samples[self._channel])
        return _to_audio(samples.reshape(-1, n_channels)[:, self._channel])


def _to_audio(samples: NDArray[Any]) -> Audio:
    if samples.dtype == np.int16:
        return samples.astype(np.int16)
    if samples.dtype == np.uint8:
        return ((samples.astype(np.int16) - 128) * 256).astype(np.int16)
    if np.issubdtype(samples.dtype, np.integer):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    return samples.astype(np.float32)


def _time_ns(frame: av.AudioFrame) -> int | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return int(frame.pts * frame.time_base * NS)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__} ({text})"
