"""Frames of raw AAC (ADTS). FFmpeg skips damaged bytes without counting them, and what follows would lie too early."""

from streamer.sources.ogg import Bytes

_HEADER_BYTES = 7
_READ_BYTES = 65_536
_EMPTY_BYTES = 8
_END = 0xE0
"""A frame's data that says that nothing follows."""
_REMEMBERED = 32
"""Frames of which the average is taken."""
_HIGHEST_RATE = 12
"""Of the numbers that stand for a sample rate."""


def is_adts(start: bytes) -> bool:
    """Whether bytes start with a frame's header."""
    return len(start) >= 2 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0


class AdtsFrames:
    """Reads frame after frame, with as many empty ones for damaged bytes as those would have held on average.

    Args:
        file: Read from its position on.
        name: Of the file, from which FFmpeg may guess a format.
    """

    def __init__(self, file: Bytes, name: str = "sound.aac") -> None:
        self.name = name
        self.n_replaced = 0
        """Empty frames that stand for damaged bytes."""
        self._file = file
        self._read = b""
        self._at = 0
        self._is_over = False
        self._header = b""
        self._sizes: list[int] = []
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if not self._ready:
            self._ready = self._next_frame()
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _next_frame(self) -> bytes:
        self._fill()
        length = self._frame_bytes(self._at)
        if length is None:
            return self._replaced()
        self._header = self._read[self._at : self._at + _HEADER_BYTES]
        self._sizes = [*self._sizes[1 - _REMEMBERED :], length]
        return self._take(length)

    def _replaced(self) -> bytes:
        """Empty frames for what stands before the next whole frame; at the end, what stands there."""
        damaged = b""
        while (found := self._next_header()) is None:
            if self._is_over:
                return damaged[-_READ_BYTES:] + self._take(len(self._read) - self._at)
            damaged += self._take(max(1, len(self._read) - self._at - _HEADER_BYTES))
            self._fill()
        damaged += self._take(found - self._at)
        if not self._sizes:
            return damaged
        n_frames = max(1, round(len(damaged) * len(self._sizes) / sum(self._sizes)))
        self.n_replaced += n_frames
        return n_frames * self._empty()

    def _next_header(self) -> int | None:
        at = self._at
        while (at := self._read.find(b"\xff", at + 1)) >= 0:
            if self._frame_bytes(at) is not None:
                return at
        return None

    def _empty(self) -> bytes:
        header = bytearray(self._header)
        header[3] &= 0xFC
        header[4] = _EMPTY_BYTES >> 3
        header[5] = (_EMPTY_BYTES & 7) << 5 | header[5] & 0x1F
        return bytes(header) + bytes([_END])

    def _frame_bytes(self, at: int) -> int | None:
        """Length of the frame at ``at`` in what was read, where another one or the end follows it."""
        data = self._read
        if len(data) < at + _HEADER_BYTES or not is_adts(data[at : at + 2]) or data[at + 2] >> 2 & 15 > _HIGHEST_RATE:
            return None
        length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        end = at + length
        if length <= _HEADER_BYTES or end > len(data) or (end == len(data) and not self._is_over):
            return None
        return length if end + 1 >= len(data) or is_adts(data[end : end + 2]) else None

    def _fill(self) -> None:
        while not self._is_over and len(self._read) - self._at < _READ_BYTES:
            data = self._file.read(_READ_BYTES)
            self._is_over = not data
            self._read = self._read[self._at :] + data
            self._at = 0

    def _take(self, size: int) -> bytes:
        taken = self._read[self._at : self._at + size]
        self._at += size
        return taken
