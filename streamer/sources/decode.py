"""Decoding with FFmpeg (PyAV), for files and addresses alike: one channel of one track, whatever format follows."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from earmark.contracts.clock import NS
from earmark.contracts.errors import SourceError
from streamer.resampler import Audio
from streamer.sources.adts import AdtsFrames, is_adts
from streamer.sources.channels import CHECK_S, ChannelPicker, Choice
from streamer.sources.ogg import CAPTURE, OggLinks
from streamer.sources.opening import Input
from streamer.sources.source import Notice
from streamer.sources.track import Track

LEAST_RATE_HZ, MOST_RATE_HZ = 1_000, 1_000_000
"""Beyond bats and below telephones nobody records; a header that says 1 Hz would become 16,000 times its audio."""


@dataclass(slots=True)
class Piece:
    """Some decoded audio.

    Attributes:
        audio: int16 or float32 ``[n]``, one channel.
        sample_rate_hz: Its rate.
        time_ns: The container's time of its first sample, nanoseconds from anywhere; None where it has none.
    """

    audio: Audio
    sample_rate_hz: int
    time_ns: int | None


class Decoder:
    """One channel of an audio track, open and known to give audio.

    Codec, rate and channels may change: between the links of an Ogg chain, and wherever the decoder goes along. A
    packet that cannot be decoded is left out.

    Args:
        target: Address or open file; closed with this.
        choice: Which channel.
        track: Which audio track, from 0; None takes the container's default.
        name: What messages call the source.
        options: FFmpeg's, for opening.
        timeout_s: Without audio for this long it fails, whatever else comes; None waits for ever, which is for files.
        closed: Checked with every packet, of other tracks too; once it is set, the audio ends.

    Raises:
        SourceError: It cannot be opened, holds no audio, or has no such track or channel.
    """

    def __init__(
        self,
        target: str | Input,
        choice: Choice,
        *,
        track: int | None = None,
        name: str,
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        closed: threading.Event | None = None,
    ) -> None:
        self._target = target
        self._number = track
        self._name = name
        self._options = options or {}
        self._timeout_s = timeout_s
        self._closed = closed or threading.Event()
        self._picker = ChannelPicker(choice, name)
        self._links: OggLinks | None = None
        self._frames: AdtsFrames | None = None
        self._bytes: NetworkBytes | None = None
        self._format: tuple[int, int] | None = None
        self._n_damaged = 0
        self._heard_ns = self._checked_ns = 0
        self._track: Track | None = None
        try:
            self._open()
        except SourceError:
            self.close()
            raise

    @property
    def track(self) -> Track:
        """The track that is decoded now."""
        assert self._track is not None  # noqa: S101 -- it is open once this is made
        return self._track

    @property
    def links(self) -> OggLinks | None:
        """The chain that is read, where it is one."""
        return self._links

    def items(self) -> Iterator[Piece | Notice]:
        """Audio as packets bring it, and what is wrong with it.

        Raises:
            SourceError: The container cannot be read any longer, or the audio has a rate that nobody records at.
        """
        yield from self._begun
        self._begun = []
        yield from self._items

    def close(self) -> None:
        """Close the container."""
        if self._track is not None:
            self._track.close()
        if isinstance(self._target, Input):
            self._target.close()
        if self._bytes is not None:
            self._bytes.close()

    def _open(self) -> None:
        if isinstance(self._target, Input) and self._target.start == CAPTURE:
            self._links = OggLinks(self._target)
        elif isinstance(self._target, Input) and is_adts(self._target.start):
            self._frames = AdtsFrames(self._target)
        self._track = self._open_track()
        if isinstance(self._target, str) and self._track.format == "ogg":
            self._track.close()
            self._bytes = NetworkBytes(self._target, self._options, self._timeout_s, self._name)
            self._links = OggLinks(self._bytes)
            self._track = self._open_track()
        self._items = self._decode()
        self._begun: list[Piece | Notice] = []
        for item in self._items:
            self._begun.append(item)
            if isinstance(item, Piece):
                self.sample_rate_hz = item.sample_rate_hz
                return
        why = f"{self._n_damaged} packets that cannot be decoded" if self._n_damaged else "none after the header"
        raise SourceError(f"{self._name}: expected audio, got {why}; the recording is empty or damaged")

    def _open_track(self) -> Track:
        return Track(
            self._links or self._frames or self._target,
            self._number,
            name=self._name,
            options=self._options,
            timeout_s=self._timeout_s,
            closed=self._closed,
        )

    def _decode(self) -> Iterator[Piece | Notice]:
        shift_ns = 0
        end_ns: int | None = None
        joined_to = self._track
        while True:
            for frame, time_ns in self.track.frames():
                yield from self._noticed()
                if self._track is not joined_to:
                    joined_to = self._track
                    shift_ns = 0 if time_ns is None or end_ns is None else end_ns - time_ns
                audio = self._mono(frame)
                yield from self._noticed_format(frame)
                at_ns = None if time_ns is None else time_ns + shift_ns
                length_ns = len(audio) * NS // frame.sample_rate
                end_ns = None if at_ns is None else at_ns + length_ns
                self._heard_ns += length_ns
                yield Piece(audio, frame.sample_rate, at_ns)
                yield from self._checked()
            is_over = not self._restarted()
            yield from self._noticed()
            if is_over and not self._next_link():
                break
        if self._timeout_s is None:
            yield from self._picker.notices()

    def _restarted(self) -> bool:
        """Go on after packets of which none could be decoded, in a file with what its codec is there; False at the end.

        Raises:
            SourceError: The source is live, and is opened again by whoever hears of this.
        """
        begin = self.track.undecodable_from
        if begin is None:
            return False
        if not isinstance(self._target, Input):
            raise SourceError(
                f"{self._name}: expected packets that can be decoded, got none for long; its codec may have changed"
            )
        if not self._target.seekable() or self._links is not None or self._frames is not None:
            self.track.go_on()
            return True
        pending = self.track.notices
        self._target.start_at(max(1, begin))
        try:
            restarted = self._open_track()
        except SourceError:
            return False
        pending.clear()  # these packets come again
        self.track.close()
        self._track = restarted
        return True

    def _next_link(self) -> bool:
        """Open the next link that holds audio; False where there is none."""
        while self._links is not None and not self._closed.is_set() and self._links.next_link():
            self.track.close()
            with suppress(SourceError):
                self._track = self._open_track()
                return True
        return False

    def _noticed(self) -> Iterator[Notice]:
        notices, self.track.notices = self.track.notices, []
        if self._frames is not None and self._frames.n_replaced:
            problem = (
                f"{self._name}: expected frames of AAC, got other bytes; silence of about their length stands there"
            )
            notices.append(Notice("damaged", problem, self._frames.n_replaced))
            self._frames.n_replaced = 0
        self._n_damaged += sum(notice.kind == "damaged" for notice in notices)
        yield from notices

    def _noticed_format(self, frame: av.AudioFrame) -> Iterator[Notice]:
        before, self._format = self._format, (frame.sample_rate, frame.layout.nb_channels)
        if before is not None and before != self._format:
            (old_hz, old_channels), (new_hz, new_channels) = before, self._format
            yield Notice(
                "format",
                f"{self._name}: its format changes from {old_hz} Hz, {old_channels} channels to {new_hz} Hz, "
                f"{new_channels} channels; it is analysed on",
            )

    def _checked(self) -> Iterator[Notice]:
        if self._timeout_s is not None and self._heard_ns - self._checked_ns >= CHECK_S * NS:
            self._checked_ns = self._heard_ns
            yield from self._picker.notices()

    def _mono(self, frame: av.AudioFrame) -> Audio:
        if not LEAST_RATE_HZ <= frame.sample_rate <= MOST_RATE_HZ:
            raise SourceError(
                f"{self._name}: expected a sample rate of {LEAST_RATE_HZ} to {MOST_RATE_HZ} Hz, "
                f"got {frame.sample_rate} Hz; repair the header"
            )
        try:
            samples: NDArray[Any] = frame.to_ndarray()
        except ValueError as error:
            raise SourceError(
                f"{self._name}: expected samples of 8 to 32 bits or floats, got {frame.format.name}; convert the file"
            ) from error
        if not frame.format.is_planar:
            samples = samples.reshape(-1, frame.layout.nb_channels).T
        return self._picker.pick(np.asarray(samples))


class NetworkBytes:
    """What an address sends, undecoded: FFmpeg's own protocols, with their time limits, and no container.

    Args:
        url: The address.
        options: FFmpeg's, for opening.
        timeout_s: Longest wait for the next bytes; None waits for ever.
        name: What messages call it.

    Raises:
        SourceError: It cannot be opened.
    """

    def __init__(self, url: str, options: Mapping[str, str], timeout_s: float | None, name: str) -> None:
        try:
            self._container = av.open(url, format="data", options=dict(options), timeout=timeout_s)
        except (FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{name}: expected its bytes, got {type(error).__name__}; check the address") from error
        self._packets = self._container.demux()
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if not self._rest:
            self._rest = bytes(next(self._packets, b""))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """Close the connection."""
        self._container.close()
