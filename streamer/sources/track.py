"""One audio track of one container, packet by packet. A packet that cannot be decoded costs that packet alone."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

import av
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError, PatchWelcomeError
from av.stream import Disposition

from earmark.contracts.clock import NS
from earmark.contracts.errors import SourceError
from streamer.sources.mp3 import is_torn_frame
from streamer.sources.ogg import Bytes
from streamer.sources.source import Notice

_MOST_FAILED_READS = 100
"""Reads in a row without a packet between them, after which a container counts as unreadable from there on."""
_MOST_UNDECODABLE = 50
"""Packets in a row that cannot be decoded, after others that could: a second or so, and the codec has changed."""
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
"""What packets of an MP3 that hold titles begin with; they stand at its ends, and wherever two files were joined."""
_CONTENTS = (b"Xing", b"Info", b"VBRI")
"""Marks of an MP3's table of contents, which holds no sound either."""
_CONTENTS_BYTES = 64


class Track:
    """An audio track, open.

    Args:
        target: Address or open file; a file has ``seek``, ``tell`` and ``seekable`` too unless it is a pipe.
        number: Which of the container's audio tracks, from 0; None takes the one that it marks as its default.
        name: What messages call the source.
        options: FFmpeg's, for opening.
        timeout_s: Without audio for this long it fails, whatever else comes; None waits for ever, which is for files.
        closed: Checked with every packet, of other tracks too; once it is set, the audio ends.

    Raises:
        SourceError: It cannot be opened or has no such track.
    """

    def __init__(
        self,
        target: str | Bytes,
        number: int | None,
        *,
        name: str,
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        closed: threading.Event | None = None,
    ) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._closed = closed or threading.Event()
        self.notices: list[Notice] = []
        """What was noticed since the list was emptied."""
        self.undecodable_from: int | None = None
        """Byte at which packets begin of which none can be decoded: `frames` ended there."""
        self.is_torn = False
        """Whether the last packet that was read is incomplete."""
        self._n_undecodable = 0
        self._failed_at: int | None = None
        self._has_decoded = False
        self._n_bytes = self._bytes_ns = self._skipped_ns = 0
        try:
            self._container: InputContainer = av.open(
                target,
                "r",
                options=dict(options or {}),
                timeout=timeout_s,
                metadata_errors="replace",  # titles in Latin-1 are common, and nobody reads them here
            )
        except (FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{name}: expected audio that FFmpeg can open, got {_reason(error)}; check it") from error
        self._format: str = self._container.format.name
        try:
            self._stream = self._choose(number)
        except SourceError:
            self.close()
            raise

    @property
    def format(self) -> str:
        """FFmpeg's name of the container."""
        return self._format

    @property
    def start_ns(self) -> int | None:
        """The container's time at which a player starts, nanoseconds; None where it has no times."""
        start_us: int | None = cast("Any", self._container).start_time
        return None if start_us is None else start_us * 1_000

    @property
    def duration_ns(self) -> int | None:
        """How long the container says that it is; an estimate in formats that do not say."""
        duration_us = self._container.duration
        return None if duration_us is None else duration_us * 1_000

    @property
    def promised_s(self) -> float | None:
        """How long the track says that it is; an estimate in formats that do not say."""
        stream = self._stream
        return (
            None if stream.duration is None or stream.time_base is None else float(stream.duration * stream.time_base)
        )

    def frames(self) -> Iterator[tuple[av.AudioFrame, int | None]]:
        """Decoded audio, in order. What cannot be decoded adds to `notices`; see also `undecodable_from`.

        Yields:
            A frame and the container's time of its first sample: nanoseconds from anywhere, None where it has none.

        Raises:
            SourceError: The container cannot be read, or no audio came within the timeout.
        """
        heard_at_s = time.monotonic()
        try:
            for packet in self._packets():
                if self._closed.is_set():
                    return
                for frame in self._decoded(packet):
                    yield frame, self._time_ns(frame)
                    heard_at_s = time.monotonic()  # the time in which nobody took the audio does not count
                if self.undecodable_from is not None:
                    return
                self._check_heard(time.monotonic() - heard_at_s)
        except (FFmpegError, OSError) as error:
            raise SourceError(
                f"{self._name}: expected more audio, got {_reason(error)}; it is damaged or cut off"
            ) from error

    def go_on(self) -> None:
        """Let `frames` go on after `undecodable_from`, with the same codec."""
        self.undecodable_from = None
        self._n_undecodable = 0

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _choose(self, number: int | None) -> Any:
        tracks = list(self._container.streams.audio)
        if not tracks:
            kinds = ", ".join(f"{stream.type} only" for stream in self._container.streams) or "none"
            raise SourceError(f"{self._name}: expected an audio stream, got {kinds}; name a source with sound")
        if number is not None and number >= len(tracks):
            raise SourceError(
                f"{self._name}: expected an audio track below {len(tracks)} (they count from 0), got track {number}; "
                "set track"
            )
        chosen = tracks[self._default_of(tracks) if number is None else number]
        if not _is_decodable(chosen):
            raise SourceError(f"{self._name}: expected audio, got a codec that FFmpeg does not know; convert the file")
        if number is None and len(tracks) > 1:
            self._notice_tracks(tracks.index(chosen), len(tracks))
        if chosen.codec_context.name == "flac":
            chosen.codec_context.options = {"err_detect": "crccheck+explode"}  # its decoder plays damage as noise
        return chosen

    def _default_of(self, tracks: list[Any]) -> int:
        """The first track that the container marks as default and that can be decoded, or else the first such track."""
        usable = [index for index, track in enumerate(tracks) if _is_decodable(track)]
        marked = [index for index in usable if tracks[index].disposition & Disposition.default]
        return (marked or usable or [0])[0]

    def _notice_tracks(self, chosen: int, n_tracks: int) -> None:
        problem = f"{self._name}: it has {n_tracks} audio tracks; track {chosen} is analysed, set track for another"
        self.notices.append(Notice("tracks", problem))

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        n_failed = 0
        while True:
            try:
                for packet in self._container.demux():
                    n_failed = 0
                    yield packet
            except (InvalidDataError, PatchWelcomeError) as error:
                n_failed += 1
                if n_failed == 1:
                    self._notice_damage(error)
                if n_failed == _MOST_FAILED_READS:
                    raise
            else:
                return

    def _decoded(self, packet: "av.Packet[Any]") -> list[av.AudioFrame]:
        if packet.stream is not self._stream:
            return []
        if packet.size:
            self.is_torn = packet.is_corrupt or (self.format == "mp3" and is_torn_frame(bytes(packet)))
        try:
            frames = self._stream.decode(packet)
        except (FFmpegError, ValueError) as error:
            if not _is_tag(bytes(packet)):
                self._notice_damage(error, packet)
                self._count_undecodable(packet.pos)
                self._skip_over(packet)
            return []
        if frames:
            self._has_decoded, self._n_undecodable = True, 0
            self._n_bytes += packet.size
            self._bytes_ns += sum(frame.samples * NS // frame.sample_rate for frame in frames)
        return frames

    def _skip_over(self, packet: "av.Packet[Any]") -> None:
        """An MP3 has no times but the count of its packets, and what is damaged comes as one packet of any size."""
        if self.format == "mp3" and self._n_bytes and packet.duration:
            lasts_ns = packet.size * self._bytes_ns // self._n_bytes
            self._skipped_ns += max(0, lasts_ns - int(packet.duration * packet.time_base * NS))

    def _time_ns(self, frame: av.AudioFrame) -> int | None:
        if frame.pts is None or frame.time_base is None:
            return None
        return int(frame.pts * frame.time_base * NS) + self._skipped_ns

    def _count_undecodable(self, at: int | None) -> None:
        self._n_undecodable += 1
        if self._n_undecodable == 1:
            self._failed_at = at
        if self._n_undecodable >= _MOST_UNDECODABLE and self._has_decoded:
            self.undecodable_from = self._failed_at

    def _notice_damage(self, error: Exception, packet: "av.Packet[Any] | None" = None) -> None:
        at = ""
        if packet is not None and packet.pts is not None:
            at = f" at {float(packet.pts * packet.time_base) - (self.start_ns or 0) / NS:.2f} s"
        problem = f"{self._name}: expected a packet that can be decoded, got {_reason(error)}{at}; the rest is analysed"
        self.notices.append(Notice("damaged", problem))

    def _check_heard(self, silent_s: float) -> None:
        """FFmpeg's own timeout is content with any packet, and a muted camera goes on with its pictures."""
        if self._timeout_s is not None and silent_s >= self._timeout_s:
            raise SourceError(
                f"{self._name}: expected audio, got none in what came for {silent_s:.1f} s; is its sound switched on?"
            )


def _is_decodable(track: Any) -> bool:
    """PyAV has no codec context for a codec that FFmpeg does not know."""
    return track.codec_context is not None


def _is_tag(data: bytes) -> bool:
    return data.startswith(_TAGS) or any(mark in data[:_CONTENTS_BYTES] for mark in _CONTENTS)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__} ({text})"
