"""What the header of a sound file promises, read without a decoder: FFmpeg plays a file that is cut off silently."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

_UNKNOWN_BYTES = 0x7FFF_0000
"""Programs that write into a pipe put at least this where the length belongs."""
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
"""Ends the name of every chunk of Sony Wave64, after four letters as in RIFF."""
_MP4_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"sidx"})
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_EXTENSIBLE = 0xFFFE
_MOST_TAG_BYTES = 400
"""An MP3's table of contents begins within this of its first frame."""


@dataclass
class Header:
    """What a header says.

    Attributes:
        promised_bytes: How much follows it, audio or a container's boxes; None where it does not say.
        present_bytes: How much is there.
        is_unfinished: It says that nothing follows, and something does: the recorder was stopped before it could say.
        is_alone: The file ends before a WAV's audio would begin.
        sample_rate_hz: Where a header of the RIFF family says it.
        patch: Place and bytes of a field that FFmpeg misreads, as it should be.
    """

    promised_bytes: int | None = None
    present_bytes: int = 0
    is_unfinished: bool = False
    is_alone: bool = False
    sample_rate_hz: int | None = None
    patch: tuple[int, bytes] | None = None

    @property
    def cut_off(self) -> str | None:
        """What was expected and what is there, where the file ends before its time."""
        if self.is_unfinished:
            return (
                f"expected a length in its header, got 0 and then {self.present_bytes} bytes; "
                "the recording was not closed"
            )
        if self.promised_bytes is not None and self.promised_bytes > self.present_bytes:
            return (
                f"expected {self.promised_bytes} bytes of audio as its header says, got {self.present_bytes}; "
                "the file is cut off, copy it again"
            )
        return None


def read_header(file: BinaryIO, size: int) -> Header:
    """What the header of an open file of ``size`` bytes says; moves the file's position.

    A header that is itself cut off promises nothing: FFmpeg says what is wrong with it.
    """
    file.seek(0)
    start = file.read(16)
    for is_it, read in _READERS:
        if is_it(start):
            try:
                return read(file, size)
            except struct.error:
                break
    return Header()


def _read_riff(file: BinaryIO, size: int) -> Header:
    """RIFF, and RF64 or BW64, whose lengths stand in a chunk of their own."""
    header = Header()
    data_bytes: int | None = None
    for name, length, begin in _chunks(file, 12, size, "<4sI"):
        if name == b"ds64":
            data_bytes = struct.unpack("<8xQ", file.read(16))[0]
        elif name == b"fmt ":
            _read_format(file, begin, header)
        elif name == b"data":
            if length == 0xFFFF_FFFF and data_bytes is not None:
                _promise(header, data_bytes, size - begin)
            elif length < _UNKNOWN_BYTES:
                _promise(header, length, size - begin)
            return header
    file.seek(8)
    header.is_alone = file.read(4) in {b"WAVE", b""}  # AVI is of the RIFF family too, and has no such chunk
    return header


def _read_wave64(file: BinaryIO, size: int) -> Header:
    header = Header()
    at = 40
    while at + 24 <= size:
        file.seek(at)
        name, length = struct.unpack("<16sQ", file.read(24))
        if name == b"fmt " + _W64_TAIL:
            _read_format(file, at + 24, header)
        if name == b"data" + _W64_TAIL:
            if 24 < length < 2**62:
                _promise(header, length - 24, size - at - 24)
            return header
        at += max(24, length + -length % 8)
    return header


def _read_format(file: BinaryIO, begin: int, header: Header) -> None:
    """A WAVEFORMATEX. FFmpeg takes the valid bits of an extensible one for the width at which samples are stored."""
    file.seek(begin)
    fields = file.read(20)
    if len(fields) < 16:
        return
    tag, header.sample_rate_hz, stored_bits = struct.unpack("<H2xI6xH", fields[:16])
    if tag == _EXTENSIBLE and len(fields) == 20:
        valid_bits = struct.unpack("<H", fields[18:20])[0]
        if valid_bits and stored_bits % 8 == 0 and -(-valid_bits // 8) != stored_bits // 8:
            header.patch = begin + 18, struct.pack("<H", stored_bits)


def _read_aiff(file: BinaryIO, size: int) -> Header:
    header = Header()
    for name, length, begin in _chunks(file, 12, size, ">4sI"):
        if name == b"SSND":
            if length < _UNKNOWN_BYTES:
                _promise(header, length, size - begin)
            break
    return header


def _read_caf(file: BinaryIO, size: int) -> Header:
    header = Header()
    for name, length, begin in _chunks(file, 8, size, ">4sQ", align=1):
        if name == b"data":
            if length < 2**62:
                _promise(header, length, size - begin)
            break
    return header


def _read_au(file: BinaryIO, size: int) -> Header:
    file.seek(4)
    begin, length = struct.unpack(">II", file.read(8))
    header = Header()
    if length < _UNKNOWN_BYTES:
        _promise(header, length, size - begin)
    return header


def _read_mp4(file: BinaryIO, size: int) -> Header:
    at = 0
    while at + 16 <= size:
        file.seek(at)
        length, _, long_length = struct.unpack(">I4sQ", file.read(16))
        length = long_length if length == 1 else length
        if length == 0:
            break
        if length < 8 or at + length > size:
            return Header(length, size - at) if length >= 8 else Header()
        at += length
    return Header()


def _read_matroska(file: BinaryIO, size: int) -> Header:
    file.seek(0)
    _, begin = _element(file)
    file.seek(begin)
    name, length = _element_head(file)
    if name != _SEGMENT or length is None:
        return Header()
    return Header(length, size - file.tell())


def _read_mp3(file: BinaryIO, size: int) -> Header:
    file.seek(0)
    tag = file.read(10)
    begin = 0
    if tag[:3] == b"ID3" and len(tag) == 10:
        begin = 10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    file.seek(begin)
    frame = file.read(_MOST_TAG_BYTES)
    for name, place in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 10)):
        at = frame.find(name, 4, 64)
        if at > 0:
            flags = frame[at + 7] if name != b"VBRI" else 3
            field = at + place + (4 if name != b"VBRI" and flags & 1 else 0)
            if flags & 2 and (length := int.from_bytes(frame[field : field + 4], "big")):
                return Header(length, size - begin)
    return Header()


def _promise(header: Header, promised: int, present: int) -> None:
    header.promised_bytes, header.present_bytes = promised, max(0, present)
    header.is_unfinished = promised == 0 and present > 0


def _chunks(file: BinaryIO, at: int, size: int, form: str, align: int = 2) -> Iterator[tuple[bytes, int, int]]:
    """Name, length and begin of each chunk; the file stands at its begin."""
    head_bytes = struct.calcsize(form)
    while at + head_bytes <= size:
        file.seek(at)
        name, length = struct.unpack(form, file.read(head_bytes))
        yield name, length, at + head_bytes
        at += head_bytes + length + -length % align


def _element(file: BinaryIO) -> tuple[int, int]:
    """Name and end of an EBML element."""
    name, length = _element_head(file)
    return name, file.tell() + (length or 0)


def _element_head(file: BinaryIO) -> tuple[int, int | None]:
    return _number(file, keep_marker=True) or 0, _number(file, keep_marker=False)


def _number(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """An EBML number of one to eight bytes; None where all of its bits are set, which is unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    n_bytes = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(n_bytes - 1), "big")
    if keep_marker:
        return value
    value -= 1 << 7 * n_bytes
    return None if value == (1 << 7 * n_bytes) - 1 else value


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, int], Header]], ...] = (
    (lambda start: start[:4] in {b"RIFF", b"RF64", b"BW64"}, _read_riff),
    (lambda start: start == _W64_RIFF, _read_wave64),
    (lambda start: start[:4] == b"FORM", _read_aiff),
    (lambda start: start[:4] == b"caff", _read_caf),
    (lambda start: start[:4] == b".snd" and len(start) == 16, _read_au),
    (lambda start: start[4:8] in _MP4_BOXES, _read_mp4),
    (lambda start: start[:4] == _EBML.to_bytes(4, "big"), _read_matroska),
    (lambda start: start[:3] == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0"), _read_mp3),
)
