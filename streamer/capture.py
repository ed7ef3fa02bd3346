"""One thread a stream: source, resampler, ring. Brings back what went away and measures how long it was gone."""

import random
import threading
import time
from collections.abc import Callable

import structlog

from earmark.contracts.clock import SampleClock
from earmark.contracts.errors import SourceError
from earmark.contracts.streams import GapReason, Pcm
from earmark.telemetry.metrics import CAPTURED_SAMPLES, CLOCK_JUMPS, SOURCE_FAILURES, SOURCE_NOTICES, STREAM_UP
from streamer.config import StreamConfig
from streamer.resampler import Resampler
from streamer.ring import Ring
from streamer.sources import (
    POLL_S,
    Chunk,
    Lost,
    NewRate,
    Notice,
    Source,
    bandwidth_notice,
    can_wait,
    comes_back,
    open_source,
)

_PIECE = 4_096
_LONGEST_RETRY_S = 30.0

log = structlog.get_logger()


class Backoff:
    """Growing delays: doubled each time up to 30 s, and each shortened at random by up to a half."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._next_s = first_s

    def next_s(self) -> float:
        """How long to wait now."""
        delay_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards no secret
        self._next_s = min(2 * self._next_s, _LONGEST_RETRY_S)
        return delay_s

    def reset(self) -> None:
        """Begin again: it worked."""
        self._next_s = self._first_s


class Capture:
    """Fills a stream's ring from its source, on a thread of its own.

    Args:
        stream: Name of the stream.
        config: Its source.
        ring: Filled; its end is marked when the source has ended.
        clock: Told when samples were heard.
        block_s: How often a live source hands over what it heard.
        must_open: A source that does not open at first is a failure, even one that could come back.
        wake: Called after the ring has changed.
        open_with: Opens the source.
        first_retry_s: How soon a source that failed is tried again.
        now: Monotonic clock, seconds.
    """

    def __init__(
        self,
        stream: str,
        config: StreamConfig,
        ring: Ring,
        clock: SampleClock,
        *,
        block_s: float,
        must_open: bool,
        wake: Callable[[], None],
        open_with: Callable[..., Source] = open_source,
        first_retry_s: float = 0.5,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self.failure: SourceError | None = None
        """Why the source ended before its time; set before the ring's end is marked."""
        self.opened = threading.Event()
        """Set once the first attempt to open the source is over."""
        self.never_opened = True
        self.must_open = must_open
        self._config = config
        self._ring = ring
        self._clock = clock
        self._block_s = block_s
        self._waits = can_wait(config)
        self._wake = wake
        self._open_with = open_with
        self._backoff = Backoff(first_retry_s)
        self._now = now
        self._stop = threading.Event()
        self._done = False
        self._heard_until_s: float | None = None
        self._noticed: set[str] = set()
        self._up = STREAM_UP.labels(stream)
        self._up.set(0)
        self._captured = CAPTURED_SAMPLES.labels(stream)
        self._thread = threading.Thread(target=self._run, name=f"capture {stream}", daemon=True)

    @property
    def has_died(self) -> bool:
        """Whether a bug ended the thread; its traceback is on stderr."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._done

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended: nothing more comes into the ring, and the source is free."""
        return self._done

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to stop."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, if it ever began, at most ``timeout_s``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except SourceError as error:
                if not self._goes_on_after(error):
                    self.failure = error
                    break
            else:
                break
        self._up.set(0)
        if not self._stop.is_set():
            self._ring.mark_end()
        self._done = True
        self.opened.set()
        self._wake()

    def _goes_on_after(self, error: SourceError) -> bool:
        self._up.set(0)
        if self._stop.is_set():
            return True
        SOURCE_FAILURES.labels(self.stream).inc()
        if (self.must_open and self.never_opened) or not comes_back(self._config):
            log.error("source failed", stream=self.stream, problem=str(error))
            return False
        self.opened.set()
        delay_s = self._backoff.next_s()
        log.warning("source failed", stream=self.stream, problem=str(error), retry_in_s=round(delay_s, 2))
        self._stop.wait(delay_s)
        return True

    def _listen(self) -> None:
        """Fill the ring from one opening of the source until it ends or the thread has to.

        Raises:
            SourceError: The source cannot be opened, or fails.
        """
        source = self._open_with(self._config, block_s=self._block_s, stop=self._stop)
        self.never_opened = False
        self.opened.set()
        try:
            self._take_all(source)
        finally:
            source.close()

    def _take_all(self, source: Source) -> None:
        resampler = self._resampler(source.sample_rate_hz)
        rate, origin = source.sample_rate_hz, None
        self._noticed.clear()
        self._check_bandwidth(rate)
        try:
            for item in source.chunks():
                if self._stop.is_set() and not self._waits:
                    return
                if isinstance(item, Notice):
                    self._report(item)
                elif isinstance(item, NewRate):
                    self._append(resampler.flush())
                    rate = item.sample_rate_hz
                    resampler, origin = self._resampler(rate), None if origin is None else self._ring.newest_sample
                    self._check_bandwidth(rate)
                elif isinstance(item, Lost):
                    self._skip(resampler, item)
                elif len(item.audio):
                    if origin is None:
                        origin = self._resume(len(item.audio) / rate) - resampler.position
                    self._observe(origin + resampler.position, item)
                    self._append(resampler.process(item.audio))
                    self._heard_until_s = self._now()
                if self._stop.is_set():  # what was read of a pipe is gone from there, so it goes out
                    return
        finally:
            self._append(resampler.flush())

    def _resampler(self, source_rate_hz: int) -> Resampler:
        return Resampler(source_rate_hz, self._config.sample_rate_hz)

    def _check_bandwidth(self, source_rate_hz: int) -> None:
        notice = bandwidth_notice(self._config.source, source_rate_hz, self._config.sample_rate_hz)
        if notice is not None:
            self._report(notice)

    def _report(self, notice: Notice) -> None:
        """Count a notice, and log the first of its kind since the source was opened."""
        SOURCE_NOTICES.labels(self.stream, notice.kind).inc(notice.count)
        if notice.kind not in self._noticed:
            self._noticed.add(notice.kind)
            log.warning("source is not as it should be", stream=self.stream, about=notice.kind, problem=notice.problem)

    def _resume(self, first_chunk_s: float) -> int:
        """Note that audio comes (again), with a gap for the time without; returns the sample where it begins."""
        self._up.set(1)
        self._backoff.reset()
        if self._heard_until_s is not None:
            away_s = self._now() - first_chunk_s - self._heard_until_s
            self._append_gap(round(away_s * self._config.sample_rate_hz), estimated=True)
            log.info("source is back", stream=self.stream, away_s=round(away_s, 3))
        return self._ring.newest_sample

    def _skip(self, resampler: Resampler, lost: Lost) -> None:
        self._append(resampler.flush())
        self._append_gap(resampler.skip(lost.n_samples), estimated=lost.estimated)

    def _observe(self, sample: int, chunk: Chunk) -> None:
        if chunk.captured_at_ns is None:
            return
        jumps = self._clock.jumps
        self._clock.observe(sample, chunk.captured_at_ns)
        if self._clock.jumps > jumps:
            CLOCK_JUMPS.labels(self.stream).inc()

    def _append_gap(self, n_samples: int, *, estimated: bool) -> None:
        if n_samples > 0:
            self._ring.append_gap(n_samples, GapReason.DEVICE, estimated=estimated)

    def _append(self, pcm: Pcm) -> None:
        step = min(_PIECE, self._ring.capacity)
        for start in range(0, len(pcm), step):
            piece = pcm[start : start + step]
            if self._waits and not self._wait_for_room(len(piece)):
                return
            self._ring.append(piece)
            self._captured.inc(len(piece))
            self._wake()

    def _wait_for_room(self, n_samples: int) -> bool:
        while not self._ring.wait_for_room(n_samples, POLL_S):
            if self._stop.is_set():
                return False
        return True
