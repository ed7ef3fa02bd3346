"""From a path to bytes. A path is opened here, not by FFmpeg, which takes a name with a colon for an address."""

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, cast

from earmark.contracts.errors import SourceError
from streamer.sources.headers import Header, read_header

STANDARD_INPUT = Path("-")
"""Names standard input; a file of this name is ``./-``."""
_START_BYTES = 4


class Input:
    """The bytes of a sound file or of a pipe, as FFmpeg reads them.

    Args:
        file: Open, unbuffered; closed with this.
        name: Helps FFmpeg to guess a format that has no marks of its own.
        header: What the file's header says; its patch stands in what is read.
    """

    def __init__(self, file: BinaryIO, name: str, header: Header) -> None:
        self.name = name
        self.header = header
        self._file = file
        self._is_seekable = file.seekable()
        self._begin = 0
        if self._is_seekable:
            file.seek(0)
        self.start = self._read_start()
        """The first four bytes."""
        if self._is_seekable:
            file.seek(0)
        self._head = b"" if self._is_seekable else self.start

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        at = self._file.tell() if self.header.patch is not None else 0
        data = self._file.read(size)
        return data if self.header.patch is None else _patched(data, at, *self.header.patch)

    def start_at(self, begin: int) -> None:
        """Leave out what stands before byte ``begin``, counted from what is left by now; not in a pipe."""
        self._begin += begin
        self.seek(0)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As a file's."""
        return self._file.seek(offset + (self._begin if whence == 0 else 0), whence) - self._begin

    def tell(self) -> int:
        """As a file's."""
        return self._file.tell() - self._begin

    def seekable(self) -> bool:
        """Whether `seek` works: not in a pipe."""
        return self._is_seekable

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_start(self) -> bytes:
        start = b""
        while len(start) < _START_BYTES and (data := self._file.read(_START_BYTES - len(start))):
            start += data
        return start


def open_input(path: Path) -> Input:
    """Open a sound file, a pipe, or standard input (``-``).

    Raises:
        SourceError: There is nothing that can be read.
    """
    check_file(path)
    try:
        if path == STANDARD_INPUT:
            file = cast("BinaryIO", os.fdopen(os.dup(_standard_input()), "rb", buffering=0))
        else:
            file = cast("BinaryIO", path.open("rb", buffering=0))
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.seekable()
        header = read_header(file, os.fstat(file.fileno()).st_size) if is_regular else Header()
        return Input(file, f"sound{path.suffix}" if path.suffix.isascii() else "sound", header)
    except OSError as error:
        raise _unreadable(path, error) from error


def check_file(path: Path) -> None:
    """Check that ``path`` names something that may be read: a file, a pipe, a device, or standard input (``-``).

    Raises:
        SourceError: It does not.
    """
    if path == STANDARD_INPUT:
        return
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"{path}: expected a sound file, got nothing there; check the path") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        raise SourceError(f"{path}: expected a sound file, got a folder there; check the path")
    if stat.S_ISREG(mode):
        try:
            with path.open("rb") as file:
                _check_header(path, read_header(file, path.stat().st_size))
        except OSError as error:
            raise _unreadable(path, error) from error


def _check_header(path: Path, header: Header) -> None:
    if header.sample_rate_hz == 0:
        raise SourceError(f"{path}: expected a sample rate in its header, got 0 Hz; repair the file")
    if header.is_alone:
        raise SourceError(f"{path}: expected WAV data, got a header alone; the file is cut off, copy it again")


def _unreadable(path: Path, error: OSError | ValueError) -> SourceError:
    reason = getattr(error, "strerror", None) or str(error)
    return SourceError(f"{path}: expected a file that can be read, got {reason}; check its permissions")


def _standard_input() -> int:
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        raise SourceError("-: expected sound on standard input, got a terminal; pipe a sound file into this command")
    return descriptor


def _patched(data: bytes, at: int, place: int, patch: bytes) -> bytes:
    """``data``, which stands at ``at`` in its file, with ``patch`` at ``place``."""
    first, last = max(at, place), min(at + len(data), place + len(patch))
    if first >= last:
        return data
    return data[: first - at] + patch[first - place : last - place] + data[last - at :]
