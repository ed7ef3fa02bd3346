"""What a source is, and the clock that paces those which have none of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamer.resampler import Audio

POLL_S = 0.2
"""A source that has nothing says so at least this often, so that a request to stop is heard."""


@dataclass(slots=True)
class Chunk:
    """Some audio.

    Attributes:
        audio: One channel, int16 or float32 in [-1, 1], ``[n]``, at the source's rate; empty where nothing came.
        captured_at_ns: UTC of its first sample where the source knows it.
    """

    audio: Audio
    captured_at_ns: int | None = None


@dataclass(slots=True)
class Lost:
    """Samples at the source's rate that the source knows to have lost; ``estimated`` where it did not count them."""

    n_samples: int
    estimated: bool = False


class Source(Protocol):
    """One channel of something that can be heard. It is open once it is made."""

    @property
    def sample_rate_hz(self) -> int:
        """Its own rate."""
        ...

    def chunks(self) -> Iterator[Chunk | Lost]:
        """What comes, in order, until the source ends; an empty chunk after `POLL_S` without anything.

        Raises:
            SourceError: It cannot be read any longer.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def nothing() -> Chunk:
    """The chunk that says that nothing came."""
    return Chunk(np.zeros(0, np.int16))


def captured_before_now(n_samples: int, sample_rate_hz: int) -> int:
    """UTC of the first of ``n_samples`` of which the last was heard just now, nanoseconds since 1970."""
    return time.time_ns() - n_samples * 1_000_000_000 // sample_rate_hz


class Pacer:
    """Holds samples back until they would have been heard. Counts from its first use, so that nothing drifts.

    Args:
        sample_rate_hz: Rate of the samples.
        stop: Ends every wait.
        now: Monotonic clock, seconds.
        wait: Sleeps for some seconds.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        stop: threading.Event,
        *,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._rate = sample_rate_hz
        self._now = now
        self._wait = wait or stop.wait
        self._start_s: float | None = None

    def wait_for(self, end_sample: int) -> None:
        """Wait until the last sample before ``end_sample`` would have been heard."""
        if self._start_s is None:
            self._start_s = self._now()
        left_s = self._start_s + end_sample / self._rate - self._now()
        if left_s > 0:
            self._wait(left_s)
