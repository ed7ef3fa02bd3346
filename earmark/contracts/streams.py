"""What a stream, an epoch and a piece of its audio are.

A stream is one channel of one source. An epoch is one streamer run of it, named by a random 64-bit number. Inside an
epoch the only time is an integer sample index, which blocks and gaps together cover without a hole.
"""

import re
import secrets
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError

Pcm: TypeAlias = NDArray[np.int16]

STREAM_NAME = re.compile(r"[a-z0-9_-]{1,32}")


def check_stream_name(name: str) -> str:
    """Return ``name``.

    Raises:
        ConfigError: It is not 1 to 32 of the characters ``a-z 0-9 _ -``.
    """
    if not STREAM_NAME.fullmatch(name):
        raise ConfigError(f"a stream's name is 1 to 32 of the characters a-z 0-9 _ -, got {name!r}; rename the stream")
    return name


def new_epoch() -> int:
    """A random epoch in ``[1, 2**64)``; 0 means that there is none."""
    return secrets.randbits(64) or 1


def format_epoch(epoch: int) -> str:
    """An epoch as 16 hexadecimal digits: JSON's numbers do not hold 64 bits."""
    return f"{epoch:016x}"


class GapReason(IntEnum):
    """Why samples will never come."""

    OVERRUN = 1
    """The ring was full and overwrote its oldest audio."""
    DEVICE = 2
    """The source was away; the length is an estimate from the monotonic clock."""
    SHED = 3
    """The engine was overloaded and skipped ahead."""


@dataclass(slots=True)
class AudioBlock:
    """Samples that travel together.

    Attributes:
        stream: Name of the stream.
        epoch: Run of its streamer.
        first_sample: Index of ``pcm[0]`` from the start of the epoch.
        captured_at_ns: UTC of that sample, nanoseconds since 1970.
        sample_rate_hz: Rate of ``pcm``.
        newest_sample: End of this and of what the streamer held behind it when it sent this (exclusive), gaps left out:
            how far behind an engine is that has this alone.
        pcm: int16 ``[n]``; borrowed from the message. Empty only with ``end``.
        can_wait: The source waits for room and must never be shed.
        end: Nothing follows this block in this epoch.
    """

    stream: str
    epoch: int
    first_sample: int
    captured_at_ns: int
    sample_rate_hz: int
    newest_sample: int
    pcm: Pcm
    can_wait: bool = False
    end: bool = False

    @property
    def end_sample(self) -> int:
        """Index of the first sample after this block."""
        return self.first_sample + len(self.pcm)


@dataclass(slots=True)
class Gap:
    """Samples that will never come: ``[first_sample, first_sample + n_samples)``; fields as in `AudioBlock`.

    Attributes:
        n_samples: Exact count, or a measured one where ``estimated``.
        reason: Why they are lost.
        estimated: The count comes from the monotonic clock, not from a counter.
    """

    stream: str
    epoch: int
    first_sample: int
    captured_at_ns: int
    sample_rate_hz: int
    newest_sample: int
    n_samples: int
    reason: GapReason
    estimated: bool = False
    can_wait: bool = False

    @property
    def end_sample(self) -> int:
        """Index of the first sample after this gap."""
        return self.first_sample + self.n_samples


Record: TypeAlias = AudioBlock | Gap


@dataclass(slots=True)
class Ack:
    """What an engine tells a stream's streamer.

    Attributes:
        stream: Name of the stream.
        epoch: Run of its streamer.
        keep_sample: Everything before it may be forgotten.
        needed_sample: Everything before it has arrived.
        resend_from: The next sample that the engine needs, when it sees a hole; -1 when it does not.
        is_over: The epoch has ended at ``keep_sample``, and nothing more of it is taken.
    """

    stream: str
    epoch: int
    keep_sample: int
    needed_sample: int
    resend_from: int = -1
    is_over: bool = False
