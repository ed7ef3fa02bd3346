"""A sound file, at the speed of sound's own time or as fast as it is taken."""

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from earmark.contracts.errors import SourceError
from earmark.contracts.streams import Pcm
from streamer.config import FileSource
from streamer.resampler import Resampler
from streamer.sources.decode import Decoder
from streamer.sources.source import Chunk, Lost, Pacer

_UNKNOWN_LENGTH = 0x7FFF_0000
"""Programs that write a WAV into a pipe put at least this where its length belongs."""


class SoundFile:
    """A file, open. Its samples are captured at the start of the run plus their index.

    Raises:
        SourceError: There is no such file, it holds no audio, less than its header promises, or no such channel.
    """

    def __init__(
        self, config: FileSource, *, block_s: float, stop: threading.Event, pacer: Pacer | None = None
    ) -> None:
        self._config = config
        check_wav(config.path)
        self._decoder = self._open()
        self.sample_rate_hz = self._decoder.sample_rate_hz
        self._block = max(1, round(block_s * self.sample_rate_hz))
        self._pacer = pacer or Pacer(self.sample_rate_hz, stop)

    def chunks(self) -> Iterator[Chunk | Lost]:
        """Cut into blocks and held back where the pace is ``realtime``, as packets bring it otherwise."""
        started_at_ns: int | None = time.time_ns()
        n_samples = 0
        for chunk in self._cut():
            n_samples += len(chunk.audio)
            if self._config.pace == "realtime":
                self._pacer.wait_for(n_samples)
            yield Chunk(chunk.audio, started_at_ns)
            started_at_ns = None

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def _cut(self) -> Iterator[Chunk]:
        while True:
            for audio in self._decoder.chunks():
                step = self._block if self._config.pace == "realtime" else len(audio)
                yield from (Chunk(audio[start : start + step]) for start in range(0, len(audio), step))
            if not self._config.loop:
                return
            self._decoder.close()
            self._decoder = self._open()
            if self._decoder.sample_rate_hz != self.sample_rate_hz:
                raise SourceError(
                    f"{self._config.path}: expected {self.sample_rate_hz} Hz as in the round before, got "
                    f"{self._decoder.sample_rate_hz} Hz; start the stream again"
                )

    def _open(self) -> Decoder:
        return Decoder(str(self._config.path), self._config.channel, name=str(self._config.path))


def read_pcm(path: Path, sample_rate_hz: int, *, channel: int = 0) -> Iterator[Pcm]:
    """A whole file at another rate, int16 ``[n]`` a piece, as a stream of it is sent.

    Args:
        path: Of any format that FFmpeg reads.
        sample_rate_hz: What comes out.
        channel: Counts from 0.

    Raises:
        SourceError: As `SoundFile`, or later where the file is damaged: when the piece is asked for.
    """
    check_wav(path)
    decoder = Decoder(str(path), channel, name=str(path))
    try:
        resampler = Resampler(decoder.sample_rate_hz, sample_rate_hz)
        for audio in decoder.chunks():
            yield resampler.process(audio)
        yield resampler.flush()
    finally:
        decoder.close()


def check_wav(path: Path) -> None:
    """Look whether ``path`` is there and, where it is a RIFF WAV, as long as its header says: FFmpeg would not mind.

    Raises:
        SourceError: It is not.
    """
    try:
        if not path.is_file():
            got = "a folder" if path.is_dir() else "nothing"
            raise SourceError(f"{path}: expected a sound file, got {got} there; check the path")
        with path.open("rb") as file:
            if file.read(4) == b"RIFF":
                _check_riff(path, file, path.stat().st_size)
    except OSError as error:
        raise SourceError(
            f"{path}: expected a file that can be read, got {error.strerror}; check its permissions"
        ) from error


def _check_riff(path: Path, file: BinaryIO, size: int) -> None:
    file.seek(12)
    while len(header := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", header)
        begin = file.tell()
        if name == b"data":
            _check_data(path, length, size - begin)
            return
        if name == b"fmt " and int.from_bytes(file.read(8)[4:8], "little") == 0:
            raise SourceError(f"{path}: expected a sample rate in its header, got 0 Hz; repair the file")
        file.seek(begin + length + length % 2)
    raise SourceError(f"{path}: expected WAV data, got a header alone ({size} bytes); the file is cut off")


def _check_data(path: Path, promised: int, present: int) -> None:
    if promised < _UNKNOWN_LENGTH and promised > present:
        raise SourceError(
            f"{path}: expected {promised} bytes of audio as its header says, got {present}; "
            "the file is cut off, copy it again"
        )
