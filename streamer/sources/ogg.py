"""The links of an Ogg chain, each as a file of its own.

A chain is one Ogg stream after the other; radios start a link with every title. FFmpeg goes on from link to link only
while codec, rate and channels stay the same, so each link is opened anew.
"""

from typing import BinaryIO, Protocol

CAPTURE = b"OggS"
_HEADER_BYTES = 27
_READ_BYTES = 65_536
_CONTINUED, _FIRST, _LAST = 1, 2, 4
"""Bits of a page's header type: goes on with a packet; begins, ends a logical stream."""


class Bytes(Protocol):
    """What bytes are read from, in order."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


class OggLinks:
    """Reads one link after the other. `read` ends with the link; `next_link` goes on to the next.

    Bytes that belong to no page are passed on: FFmpeg finds its way past them.

    Args:
        file: Read from its position on.
        name: Of the file, from which FFmpeg may guess a format.
    """

    def __init__(self, file: Bytes | BinaryIO, name: str = "sound.ogg") -> None:
        self.name = name
        self._file = file
        self._rest = b""
        self._pages = b""
        self._is_over = False
        self._began = False
        self._open: set[bytes] = set()
        self.is_torn = False
        """Whether the bytes ended inside a page."""

    @property
    def is_whole(self) -> bool:
        """Whether every logical stream of the links that were read had its last page."""
        return not self.is_torn and not self._open

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes of the link; none at its end."""
        if not self._pages:
            self._pages = self._next_page()
        data, self._pages = self._pages[:size], self._pages[size:]
        return data

    def next_link(self) -> bool:
        """Go to the next link, once `read` has come to the end of one; False where there is none."""
        while self.read(_READ_BYTES):
            pass
        self._began = False
        return bool(self._rest)

    def _next_page(self) -> bytes:
        """The next page whole, or bytes that are none; nothing at the link's end."""
        if not self._fill(_HEADER_BYTES):
            return self._take(len(self._rest), torn=bool(self._rest))
        if not self._rest.startswith(CAPTURE):
            found = self._rest.find(CAPTURE, 1)
            return self._take(found if found > 0 else len(self._rest) - len(CAPTURE) + 1)
        kind, serial, n_segments = self._rest[5], self._rest[14:18], self._rest[26]
        if kind & _FIRST and self._began:
            return b""
        self._fill(_HEADER_BYTES + n_segments)
        length = _HEADER_BYTES + n_segments + sum(self._rest[_HEADER_BYTES : _HEADER_BYTES + n_segments])
        is_torn = not self._fill(length)
        self._note(kind, serial)
        return self._take(length, torn=is_torn)

    def _note(self, kind: int, serial: bytes) -> None:
        self._began = self._began or not kind & _FIRST
        if kind & _LAST:
            self._open.discard(serial)
        elif kind & _FIRST:
            self._open.add(serial)

    def _fill(self, size: int) -> bool:
        while len(self._rest) < size:
            data = self._file.read(max(size - len(self._rest), _READ_BYTES))
            if not data:
                return False
            self._rest += data
        return True

    def _take(self, size: int, *, torn: bool = False) -> bytes:
        self.is_torn = self.is_torn or torn
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
