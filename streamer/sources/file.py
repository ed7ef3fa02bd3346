"""A sound file, at the speed of sound's own time or as fast as it is taken."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import structlog

from earmark.contracts.clock import NS
from earmark.contracts.errors import SourceError
from earmark.contracts.streams import Pcm
from streamer.config import FileSource
from streamer.resampler import Resampler
from streamer.sources.channels import Choice
from streamer.sources.decode import Decoder
from streamer.sources.opening import check_file, open_input
from streamer.sources.placing import Placement, start_of
from streamer.sources.playlists import is_playlist, read_playlist
from streamer.sources.source import Chunk, Item, Lost, NewRate, Notice, Pacer, bandwidth_notice

__all__ = ["FileAudio", "SoundFile", "check_file", "read_pcm"]

_MAY_PAUSE = frozenset({"mov", "mp4", "matroska", "webm", "mpegts", "avi", "asf", "flv", "nut"})
"""Containers whose times may have a hole although nothing was lost."""
_HLS = ".m3u8"
_SHORT_S = 0.05
"""A file that is shorter than it says by less than this is whole: encoders round."""
_HOLE_PIECE_S = 1

log = structlog.get_logger()


class FileAudio:
    """A file, open: its audio where its container places it, and what is wrong with it.

    Args:
        path: Of any format that FFmpeg reads; a pipe; ``-`` for standard input.
        channel: Which channel.
        track: Which audio track, from 0; None takes the container's default.

    Raises:
        SourceError: There is no such file, it holds no audio, or no such track or channel.
    """

    def __init__(self, path: Path, channel: Choice, track: int | None) -> None:
        self._name = str(path)
        if is_playlist(path.name):
            raise SourceError(
                f"{path}: expected a sound file, got a playlist; name {read_playlist(path)[0]}, for instance"
            )
        file = open_input(path)
        self._file, self._header = file, file.header
        segments = f"file:{path}" if path.suffix.lower() == _HLS else None  # FFmpeg opens them beside this
        try:
            self._decoder = Decoder(segments or file, channel, track=track, name=self._name)
        except SourceError as error:
            file.close()
            if self._header.cut_off is None:
                raise
            raise SourceError(f"{error} ({self._header.cut_off})") from error
        self.sample_rate_hz = self._decoder.sample_rate_hz

    def items(self) -> Iterator[Item]:
        """Chunks as packets bring them; what is wrong with the file's end comes last.

        Raises:
            SourceError: The file cannot be read any longer.
        """
        track = self._decoder.track
        formats = set(track.format.split(","))
        placement = Placement(start_of(track.format, track.start_ns, track.duration_ns), track.duration_ns)
        rate, end_ns, is_first = self.sample_rate_hz, 0, True
        undecoded: list[Notice] = []
        for item in self._decoder.items():
            if isinstance(item, Notice):
                if item.kind == "damaged":
                    undecoded.append(item)
                else:
                    yield item
                continue
            yield from undecoded
            undecoded.clear()
            if item.sample_rate_hz != rate:
                rate = item.sample_rate_hz
                yield NewRate(rate)
            length_ns = len(item.audio) * NS // rate
            if hole_ns := placement.hole_ns(length_ns, item.time_ns):
                if not is_first:
                    yield self._hole(end_ns, hole_ns, may_pause=bool(formats & _MAY_PAUSE))
                yield Lost(round(hole_ns * rate / NS))
            is_first = False
            end_ns += hole_ns + length_ns
            yield Chunk(item.audio)
        yield from self._at_end(undecoded, end_ns / NS)

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()
        self._file.close()

    def _hole(self, begin_ns: int, length_ns: int, *, may_pause: bool) -> Notice:
        problem = (
            f"{self._name}: expected audio throughout, got none from {begin_ns / NS:.2f} s to "
            f"{(begin_ns + length_ns) / NS:.2f} s by its own times; silence stands there"
        )
        return Notice("hole" if may_pause else "damaged", problem)

    def _at_end(self, undecoded: list[Notice], length_s: float) -> Iterator[Notice]:
        cut_off = self._cut_off(length_s, is_last_damaged=bool(undecoded))
        if cut_off is None:
            return
        yield Notice("cut_off", f"{self._name}: {cut_off}; its first {length_s:.2f} s are analysed")

    def _cut_off(self, length_s: float, *, is_last_damaged: bool) -> str | None:
        """What is missing at the end of the file; None where it is whole."""
        if self._header.cut_off is not None:
            return self._header.cut_off
        track, links = self._decoder.track, self._decoder.links
        if links is not None and not links.is_whole:
            return "expected a page that ends the stream, got none; the file is cut off, copy it again"
        if track.format == "flac" and track.promised_s is not None and track.promised_s > length_s + _SHORT_S:
            return f"expected {track.promised_s:.2f} s of audio as its header says, got less; the file is cut off"
        if is_last_damaged or track.is_torn:
            return "expected its last packet whole, got a part of it; the file is cut off"
        return None


class SoundFile:
    """A file as a stream's source. Its samples are captured at the start of the run plus their index.

    Raises:
        SourceError: As `FileAudio`.
    """

    def __init__(
        self, config: FileSource, *, block_s: float, stop: threading.Event, pacer: Pacer | None = None
    ) -> None:
        self._config = config
        self._audio = self._open()
        self.sample_rate_hz = self._audio.sample_rate_hz
        self._block_s = block_s
        self._pacer = pacer or Pacer(self.sample_rate_hz, stop)

    def chunks(self) -> Iterator[Item]:
        """Cut into blocks and held back where the pace is ``realtime``, as packets bring it otherwise."""
        started_at_ns: int | None = time.time_ns()
        rate = self.sample_rate_hz
        position = 0.0
        for item in self._cut():
            if isinstance(item, NewRate):
                rate = item.sample_rate_hz
            if isinstance(item, Chunk | Lost):
                n_samples = item.n_samples if isinstance(item, Lost) else len(item.audio)
                position += n_samples * self.sample_rate_hz / rate
                if self._config.pace == "realtime":
                    self._pacer.wait_for(round(position))
            if isinstance(item, Chunk):
                item.captured_at_ns, started_at_ns = started_at_ns, None
            yield item

    def close(self) -> None:
        """Close the file."""
        self._audio.close()

    def _cut(self) -> Iterator[Item]:
        rate = int(self.sample_rate_hz)
        while True:
            for item in self._audio.items():
                if isinstance(item, NewRate):
                    rate = item.sample_rate_hz
                if self._config.pace == "realtime":
                    yield from _pieces(item, self._block_s, rate)
                else:
                    yield item
            if not self._config.loop:
                return
            self._audio.close()
            self._audio = self._open()
            if self._audio.sample_rate_hz != rate:
                rate = self._audio.sample_rate_hz
                yield NewRate(rate)

    def _open(self) -> FileAudio:
        return FileAudio(self._config.path, self._config.channel, self._config.track)


def _pieces(item: Item, block_s: float, rate: int) -> Iterator[Item]:
    """An item in blocks of at most ``block_s``; a hole in pieces of a second."""
    if isinstance(item, Chunk):
        step = max(1, round(block_s * rate))
        yield from (Chunk(item.audio[start : start + step]) for start in range(0, len(item.audio), step))
    elif isinstance(item, Lost):
        step = _HOLE_PIECE_S * rate
        yield from (Lost(min(step, item.n_samples - start)) for start in range(0, item.n_samples, step))
    else:
        yield item


def read_pcm(
    path: Path,
    sample_rate_hz: int,
    *,
    channel: Choice = 0,
    track: int | None = None,
    on_notice: Callable[[Notice], None] | None = None,
) -> Iterator[Pcm]:
    """A whole file at another rate, int16 ``[n]`` a piece, as a stream of it is sent; silence where it has a hole.

    Args:
        path: Of any format that FFmpeg reads; ``-`` for standard input.
        sample_rate_hz: What comes out.
        channel: Counts from 0, or ``mix``.
        track: Counts from 0; None takes the container's default.
        on_notice: Called with what is odd about the file; the log has the first of each kind where it is None.

    Raises:
        SourceError: As `FileAudio`, or later where the file cannot be read to its end: when the piece is asked for.
    """
    notice = on_notice or _LoggedOnce()
    audio = FileAudio(path, channel, track)
    try:
        resampler = Resampler(audio.sample_rate_hz, sample_rate_hz)
        _check_bandwidth(path, audio.sample_rate_hz, sample_rate_hz, notice)
        for item in audio.items():
            match item:
                case Notice():
                    notice(item)
                case NewRate():
                    yield resampler.flush()
                    resampler = Resampler(item.sample_rate_hz, sample_rate_hz)
                    _check_bandwidth(path, item.sample_rate_hz, sample_rate_hz, notice)
                case Lost():
                    yield resampler.flush()
                    yield from _silence(resampler.skip(item.n_samples), sample_rate_hz)
                case Chunk():
                    yield resampler.process(item.audio)
        yield resampler.flush()
    finally:
        audio.close()


def _silence(n_samples: int, step: int) -> Iterator[Pcm]:
    for start in range(0, n_samples, step):
        yield np.zeros(min(step, n_samples - start), np.int16)


def _check_bandwidth(path: Path, source_hz: int, wanted_hz: int, notice: Callable[[Notice], None]) -> None:
    found = bandwidth_notice(str(path), source_hz, wanted_hz)
    if found is not None:
        notice(found)


class _LoggedOnce:
    """Logs the first notice of each kind of one file."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def __call__(self, notice: Notice) -> None:
        if notice.kind not in self._kinds:
            self._kinds.add(notice.kind)
            log.warning("a sound file is not as it should be", about=notice.kind, problem=notice.problem)
