"""Raw PCM on standard input, from any program that can write it."""

import os
import select
import sys
import time
from collections.abc import Iterator

import numpy as np
import structlog

from earmark.contracts.errors import SourceError
from streamer.config import StdinSource
from streamer.sources.channels import CHECK_S, ChannelPicker
from streamer.sources.source import POLL_S, Chunk, Item, nothing

_READ_BYTES = 16_384
_begun = b""
"""Of standard input, the begin of a frame whose rest is still to come, for the source that a reload opens next."""

log = structlog.get_logger()


class Stdin:
    """Standard input, or another file descriptor. Captured at the start of the run plus the index.

    A pipe does not tell when its samples were heard, so a live program behind it is timed by its own sample clock.

    Raises:
        SourceError: There is no standard input, or a person types on it.
    """

    def __init__(self, config: StdinSource, *, descriptor: int | None = None) -> None:
        self._config = config
        self._is_shared = descriptor is None
        self._descriptor = _standard_input() if descriptor is None else descriptor
        self.sample_rate_hz = config.input_rate_hz

    def chunks(self) -> Iterator[Item]:
        """As reads bring it; bytes that make up no whole frame wait for the rest."""
        started_at_ns: int | None = time.time_ns()
        frame_bytes = 2 * self._config.channels
        rest = self._take_begun()
        picker = ChannelPicker(self._config.channel, "stdin")
        n_unchecked = 0
        while (data := self._read()) != b"":
            if data is None:
                yield nothing()
                continue
            rest += data
            n_whole = len(rest) // frame_bytes
            frames = np.frombuffer(rest, "<i2", n_whole * self._config.channels).reshape(n_whole, self._config.channels)
            rest = rest[n_whole * frame_bytes :]
            self._keep_begun(rest)
            if n_whole:
                yield Chunk(picker.pick(frames.T), started_at_ns)
                started_at_ns = None
                n_unchecked += n_whole
                if n_unchecked >= CHECK_S * self.sample_rate_hz:
                    n_unchecked = 0
                    yield from picker.notices()
        yield from picker.notices()
        if rest:
            log.warning("stdin ended inside a frame", expected_bytes=frame_bytes, got_bytes=len(rest))

    def close(self) -> None:
        """Leave it open: it belongs to the process."""

    def _take_begun(self) -> bytes:
        return _begun if self._is_shared else b""

    def _keep_begun(self, rest: bytes) -> None:
        global _begun  # noqa: PLW0603 -- there is one standard input
        if self._is_shared:
            _begun = rest

    def _read(self) -> bytes | None:
        try:
            readable, _, _ = select.select([self._descriptor], [], [], POLL_S)
            return os.read(self._descriptor, _READ_BYTES) if readable else None
        except (OSError, ValueError) as error:
            raise SourceError(f"stdin: expected PCM, got {error}; is it open?") from error


def _standard_input() -> int:
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError) as error:
        raise SourceError(
            "stdin: expected PCM, got no standard input; pipe a program's output into this one"
        ) from error
    if os.isatty(descriptor):
        raise SourceError(
            "stdin: expected PCM (signed 16 bits, little-endian), got a terminal; pipe a program's output into this one"
        )
    return descriptor
