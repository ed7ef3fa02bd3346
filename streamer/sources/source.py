"""What a source is, and the clock that paces those which have none of their own."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

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


@dataclass(frozen=True, slots=True)
class NewRate:
    """From here on the source's audio has this rate, until the next `NewRate`."""

    sample_rate_hz: int


NoticeKind: TypeAlias = Literal[
    "damaged", "cut_off", "hole", "format", "samples", "silent_channel", "bandwidth", "tracks"
]
"""What a notice is about: packets that cannot be decoded; a missing end; a stretch without audio inside a file; another
rate or number of channels; samples that are no numbers or far beyond full scale; a silent channel beside one that is
not; a sample rate below the model's; audio tracks that are not analysed."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the audio that a person should know. The audio goes on.

    Attributes:
        kind: What it is about; the metric's label.
        problem: One line: source, what was expected, what came, what to do.
        count: How many packets, samples or stretches it stands for.
    """

    kind: NoticeKind
    problem: str
    count: int = 1

    @property
    def is_loss(self) -> bool:
        """Whether audio of the source is missing."""
        return self.kind in {"damaged", "cut_off"}


Item: TypeAlias = Chunk | Lost | NewRate | Notice


class Source(Protocol):
    """One channel of something that can be heard. It is open once it is made."""

    @property
    def sample_rate_hz(self) -> int:
        """Its rate when it was opened."""
        ...

    def chunks(self) -> Iterator[Item]:
        """What comes, in order, until the source ends; an empty chunk after `POLL_S` without anything.

        Raises:
            SourceError: It cannot be read any longer.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def bandwidth_notice(name: str, source_hz: int, wanted_hz: int) -> Notice | None:
    """What to say of a source whose rate is below ``wanted_hz``, the model's; None where it is not."""
    if source_hz >= wanted_hz:
        return None
    problem = (
        f"{name}: expected {wanted_hz} Hz or more, got {source_hz} Hz: sound above {source_hz // 2} Hz is not heard; "
        "record at a higher rate"
    )
    return Notice("bandwidth", problem)


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
