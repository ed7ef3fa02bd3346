"""Playlists: what a radio's ``.m3u`` or ``.pls`` points at. FFmpeg itself reads those of HLS."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from av.error import FFmpegError

from earmark.contracts.errors import SourceError
from streamer.sources.decode import NetworkBytes

_SUFFIXES = frozenset({".m3u", ".pls"})
_MOST_BYTES = 65_536
_MOST_LINKS = 3
_FOLLOWED = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "mms", "mmsh", "mmst"})
"""What a playlist of another host may send us to: never to a file of this machine."""


def is_playlist(name: str) -> bool:
    """Whether a file or an address is named as a playlist."""
    return Path(name).suffix.lower() in _SUFFIXES


def entries(data: bytes) -> list[str]:
    """What a playlist names, in order, nothing where it is none; names of files keep their bytes in any encoding."""
    if b"#EXT-X-" in data or b"\0" in data:
        return []
    lines = [os.fsdecode(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    if any(line.lower() == "[playlist]" for line in lines):
        found = (re.match(r"file\d+\s*=\s*(.+)", line, re.IGNORECASE) for line in lines)
        return [match[1] for match in found if match]
    return [line for line in lines if line and not line.startswith("#")]


def read_playlist(path: Path) -> list[str]:
    """What a playlist on this machine names: addresses, and paths that are absolute or as this process finds them.

    Raises:
        SourceError: It cannot be read, or names nothing.
    """
    try:
        with path.open("rb") as file:
            found = entries(file.read(_MOST_BYTES))
    except OSError as error:
        raise SourceError(f"{path}: expected a playlist that can be read, got {error.strerror}; check it") from error
    if not found:
        raise SourceError(f"{path}: expected a playlist that names sound files, got none in it; check it")
    return [name if "://" in name else str(path.parent / name) for name in found]


def followed(url: str, name: str, *, options: Mapping[str, str], timeout_s: float) -> str:
    """The address that ``url`` leads to: its own, or where it is a playlist the first in that.

    Args:
        url: Of a stream or of a playlist.
        name: What messages call it.
        options: FFmpeg's, for opening.
        timeout_s: Longest wait for a playlist's next bytes.

    Raises:
        SourceError: A playlist cannot be read, or leads to nothing that may be followed.
    """
    for _ in range(_MOST_LINKS):
        if not is_playlist(urlsplit(url).path):
            return url
        data = _read(url, name, options, timeout_s)
        if b"#EXT-X-" in data:
            return url
        target = next(iter(entries(data)), "")
        url = urljoin(url, target)
        if not target or urlsplit(url).scheme not in _FOLLOWED:
            raise SourceError(
                f"{name}: expected a playlist that leads to a stream, got none in it; set url to the stream itself"
            )
    raise SourceError(f"{name}: expected a stream, got playlists of playlists; set url to the stream's own address")


def _read(url: str, name: str, options: Mapping[str, str], timeout_s: float) -> bytes:
    reader = NetworkBytes(url, options, timeout_s, name)
    data = b""
    try:
        while len(data) < _MOST_BYTES and (more := reader.read(_MOST_BYTES)):
            data += more
    except (FFmpegError, OSError) as error:  # a server that gives no length ends so
        if not data:
            raise SourceError(f"{name}: expected a playlist, got {type(error).__name__}; check the address") from error
    finally:
        reader.close()
    return data
