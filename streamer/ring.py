"""The ring: what a stream heard and an engine may still need. It is the only buffer between a source and an engine.

The sample axis from `Ring.oldest_sample` to `Ring.newest_sample` is covered without a hole by runs of PCM and gaps.
Only PCM takes room, so an hour's outage pushes nothing out. When PCM does not fit, the oldest is overwritten (gaps
before it go with it), and a reader that comes too late gets one gap of exactly the samples that it missed.
"""

import threading
from bisect import bisect_right
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from earmark.contracts.streams import GapReason, Pcm


@dataclass(frozen=True, slots=True)
class GapSpan:
    """A stretch without PCM; fields as in `earmark.contracts.streams.Gap`."""

    n_samples: int
    reason: GapReason
    estimated: bool = False


@dataclass(slots=True)
class _Run:
    first_sample: int
    n_samples: int
    position: int
    """Index of its first sample among all PCM ever stored."""


@dataclass(slots=True)
class _Hole:
    first_sample: int
    n_samples: int
    reason: GapReason
    estimated: bool


_Span: TypeAlias = _Run | _Hole


class Ring:
    """A stream's buffer. One thread writes, another one reads and releases.

    Args:
        capacity: Most samples of PCM that it holds; allocated at once.
    """

    def __init__(self, capacity: int) -> None:
        if capacity <= 0:
            raise ValueError(f"expected a capacity of at least one sample, got {capacity}")
        self.capacity = capacity
        self._store: Pcm = np.zeros(capacity, np.int16)
        self._spans: list[_Span] = []
        self._stored = 0
        self._position = 0
        self._newest = 0
        self._overwritten = 0
        self._end: int | None = None
        self._waiting = False
        self._lock = threading.Condition()

    @property
    def oldest_sample(self) -> int:
        """First sample that can be read."""
        with self._lock:
            return self._oldest()

    @property
    def newest_sample(self) -> int:
        """The head: index of the sample that comes next."""
        return self._newest

    @property
    def end_sample(self) -> int | None:
        """Where the epoch ended; None while it goes on."""
        return self._end

    @property
    def fill(self) -> float:
        """Share of the capacity in use, 0 to 1."""
        return self._stored / self.capacity

    @property
    def overwritten_samples(self) -> int:
        """Samples of PCM overwritten before they were released."""
        return self._overwritten

    @property
    def is_waited_for(self) -> bool:
        """Whether a source waits for room."""
        return self._waiting

    def append(self, pcm: Pcm) -> None:
        """Add PCM at the head, over the oldest where there is no room.

        Args:
            pcm: int16 ``[n]``; copied.
        """
        with self._lock:
            for start in range(0, len(pcm), self.capacity):
                self._append(pcm[start : start + self.capacity])

    def append_gap(self, n_samples: int, reason: GapReason, *, estimated: bool = False) -> None:
        """Advance the head over samples that never came. It merges with a gap of the same reason that it touches."""
        if n_samples <= 0:
            raise ValueError(f"expected a gap of at least one sample, got {n_samples}")
        with self._lock:
            last = self._spans[-1] if self._spans else None
            if isinstance(last, _Hole) and last.reason == reason:
                last.n_samples += n_samples
                last.estimated |= estimated
            else:
                self._spans.append(_Hole(self._newest, n_samples, reason, estimated))
            self._newest += n_samples

    def mark_end(self) -> None:
        """Say that nothing follows."""
        with self._lock:
            self._end = self._newest

    def release(self, keep_sample: int) -> None:
        """Forget everything before ``keep_sample``, gaps included, and wake a source that waits for room."""
        with self._lock:
            self._forget(keep_sample)
            self._lock.notify_all()

    def wait_for_room(self, n_samples: int, timeout_s: float) -> bool:
        """Wait until ``n_samples`` (at most the capacity) fit without loss; whether they do."""
        with self._lock:
            self._waiting = self._stored + n_samples > self.capacity
            self._lock.wait_for(lambda: self._stored + n_samples <= self.capacity, timeout_s)
            fits = self._stored + n_samples <= self.capacity
            self._waiting = not fits
            return fits

    def read(self, sample: int, max_samples: int) -> Pcm | GapSpan | None:
        """What lies at ``sample``.

        Returns:
            A copy of 1 to ``max_samples`` of PCM, a gap to its end whatever its length, or None at the head.
        """
        with self._lock:
            if sample >= self._newest:
                return None
            oldest = self._oldest()
            if sample < oldest:
                return GapSpan(oldest - sample, GapReason.OVERRUN)
            span = self._spans[bisect_right(self._spans, sample, key=_first_sample) - 1]
            left = span.first_sample + span.n_samples - sample
            if isinstance(span, _Hole):
                return GapSpan(left, span.reason, span.estimated)
            return self._copy(span.position + sample - span.first_sample, min(left, max_samples))

    def audio_from(self, sample: int) -> int:
        """Samples of PCM that it holds from ``sample`` on: its distance from the head without the gaps between."""
        with self._lock:
            index = max(0, bisect_right(self._spans, sample, key=_first_sample) - 1)
            for span in self._spans[index:]:
                if isinstance(span, _Run) and sample < span.first_sample + span.n_samples:
                    return self._position - span.position - max(0, sample - span.first_sample)
            return 0

    def _oldest(self) -> int:
        return self._spans[0].first_sample if self._spans else self._newest

    def _append(self, pcm: Pcm) -> None:
        self._overwrite(self._stored + len(pcm) - self.capacity)
        last = self._spans[-1] if self._spans else None
        if isinstance(last, _Run):
            last.n_samples += len(pcm)
        else:
            self._spans.append(_Run(self._newest, len(pcm), self._position))
        at = self._position % self.capacity
        head = pcm[: self.capacity - at]
        self._store[at : at + len(head)] = head
        self._store[: len(pcm) - len(head)] = pcm[len(head) :]
        self._stored += len(pcm)
        self._position += len(pcm)
        self._newest += len(pcm)

    def _overwrite(self, n_samples: int) -> None:
        """Forget the oldest until ``n_samples`` of PCM are gone."""
        left = n_samples
        until = 0
        for span in self._spans:
            if left <= 0:
                break
            if isinstance(span, _Run):
                until = span.first_sample + min(left, span.n_samples)
                left -= span.n_samples
        self._overwritten += max(0, n_samples)
        self._forget(until)

    def _forget(self, keep_sample: int) -> None:
        n_whole = 0
        for span in self._spans:
            n = min(keep_sample - span.first_sample, span.n_samples)
            if n <= 0:
                break
            if isinstance(span, _Run):
                self._stored -= n
                span.position += n
            span.first_sample += n
            span.n_samples -= n
            n_whole += span.n_samples == 0
        del self._spans[:n_whole]

    def _copy(self, position: int, n_samples: int) -> Pcm:
        at = position % self.capacity
        head = self._store[at : at + n_samples]
        if len(head) == n_samples:
            return head.copy()
        return np.concatenate([head, self._store[: n_samples - len(head)]])


def _first_sample(span: _Span) -> int:
    return span.first_sample
