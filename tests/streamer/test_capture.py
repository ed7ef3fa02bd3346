"""From a source into the ring: lost stretches, outages, ends and failures, with a clock that the test moves."""

import queue

import numpy as np
import pytest
import structlog

from earmark.contracts.clock import SampleClock
from earmark.contracts.errors import SourceError
from earmark.contracts.streams import GapReason
from earmark.telemetry.metrics import REGISTRY
from streamer.capture import Backoff, Capture
from streamer.config import FileSource, MicrophoneSource, StdinSource
from streamer.ring import GapSpan, Ring
from streamer.sources import Chunk, Lost, NewRate, Notice
from tests.support.waiting import DEADLINE_S

NS = 1_000_000_000
STOP = object()
"""Stands in a script where the service tells the capture to stop."""


class Script:
    """A source that plays what it is given: chunks, losses, errors to raise, calls to make, or `STOP`."""

    def __init__(self, items, sample_rate_hz=16_000):
        self.sample_rate_hz = sample_rate_hz
        self.closed = False
        self._items = items

    def chunks(self):
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            if item is STOP:
                self.capture.stop()
            elif callable(item):
                item()
            else:
                yield item

    def close(self):
        self.closed = True


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s

    def advance(self, seconds):
        def go():
            self.now_s += seconds

        return go


def tone(n, value=1):
    return Chunk(np.full(n, value, np.int16))


def metric(name, stream):
    return REGISTRY.get_sample_value(f"earmark_{name}", {"stream": stream})


class Setup:
    def __init__(self, *openings, config=None, capacity=1_000_000, must_open=True, now=None, stream="gate"):
        self.openings = list(openings)
        self.ring, self.clock = Ring(capacity), SampleClock(16_000)
        self.woken = queue.SimpleQueue()
        self.capture = Capture(
            stream,
            config or MicrophoneSource(),
            self.ring,
            self.clock,
            block_s=0.02,
            must_open=must_open,
            wake=lambda: self.woken.put(None),
            open_with=self.open,
            first_retry_s=0.001,
            now=now or Clock(),
        )

    def open(self, _config, **_settings):
        opening = self.openings.pop(0)
        if isinstance(opening, Exception):
            raise opening
        opening.capture = self.capture
        return opening

    def run(self):
        self.capture.start()
        self.capture.join(DEADLINE_S)
        assert not self.capture.has_died


def spans(ring):
    at, found = 0, []
    while (span := ring.read(at, 1_000_000)) is not None:
        found.append(span if isinstance(span, GapSpan) else len(span))
        at += span.n_samples if isinstance(span, GapSpan) else len(span)
    return found


def test_a_source_that_ends_ends_its_ring():
    setup = Setup(Script([tone(100), tone(50)]), config=FileSource(path="x"), stream="ends")
    setup.run()
    assert spans(setup.ring) == [150]
    assert setup.ring.end_sample == 150
    assert setup.capture.failure is None
    assert metric("captured_samples_total", "ends") == 150
    assert metric("stream_up", "ends") == 0


def test_what_the_source_lost_is_an_exact_gap_at_the_rate_that_is_sent():
    setup = Setup(Script([tone(4_800), Lost(1_441), tone(4_800)], 48_000), config=FileSource(path="x"))
    setup.run()
    assert spans(setup.ring) == [1_600, GapSpan(480, GapReason.DEVICE), 1_600]


def test_a_source_may_change_its_rate():
    script = Script([tone(4_800), NewRate(8_000), Lost(800), tone(800), NewRate(16_000), tone(100)], 48_000)
    setup = Setup(script, config=FileSource(path="x"))
    setup.run()
    assert spans(setup.ring) == [1_600, GapSpan(1_600, GapReason.DEVICE), 1_700]


def test_notices_are_counted_and_the_first_of_each_kind_is_logged():
    damaged = [Notice("damaged", f"packet {n}", 2) for n in range(3)]
    script = Script([tone(100), *damaged, tone(100), Notice("hole", "a hole")], 8_000)
    setup = Setup(script, config=FileSource(path="x"), stream="noticed")
    with structlog.testing.capture_logs() as logs:
        setup.run()
    logged = [(entry["about"], entry["problem"]) for entry in logs if entry["log_level"] == "warning"]
    assert logged[1:] == [("damaged", "packet 0"), ("hole", "a hole")]
    assert logged[0][0] == "bandwidth"
    assert "sound above 4000 Hz is not heard" in logged[0][1]
    counted = {
        about: REGISTRY.get_sample_value("earmark_source_notices_total", {"stream": "noticed", "about": about})
        for about in ("damaged", "hole", "bandwidth")
    }
    assert counted == {"damaged": 6, "hole": 1, "bandwidth": 1}


def test_an_outage_is_a_gap_measured_on_the_monotonic_clock():
    now = Clock()
    first = Script([tone(320), now.advance(0.02), tone(320), SourceError("unplugged")])
    second = Script([now.advance(3_600.02), tone(320), STOP, tone(1)])
    setup = Setup(first, SourceError("still away"), second, now=now, stream="outage")
    setup.run()
    assert spans(setup.ring) == [640, GapSpan(3_600 * 16_000, GapReason.DEVICE, estimated=True), 320]
    assert setup.ring.end_sample is None, "a stop is no end of the epoch"
    assert metric("source_failures_total", "outage") == 2
    assert first.closed
    assert second.closed


def test_what_the_resampler_held_is_there_before_the_outage():
    now = Clock()
    first = Script([tone(48_000, 1_000), SourceError("unplugged")], 48_000)
    second = Script([now.advance(2.0), tone(44_100), STOP, tone(1)], 44_100)
    setup = Setup(first, second, now=now)
    setup.run()
    heard, gap, again = spans(setup.ring)
    assert (heard, gap, again) == (16_000, GapSpan(16_000, GapReason.DEVICE, estimated=True), 16_000)


def test_what_was_read_of_a_pipe_goes_out_though_it_is_stopped():
    """It is no longer in the pipe, and a source that waits loses nothing."""
    setup = Setup(Script([tone(320), STOP, tone(5), tone(7)]), config=StdinSource())
    setup.run()
    assert spans(setup.ring) == [325]


def test_before_the_first_sound_there_is_no_gap():
    script = Script([tone(320), STOP, tone(1)])
    setup = Setup(SourceError("not yet"), script, must_open=False)
    setup.run()
    assert spans(setup.ring) == [320]


def test_a_source_that_must_open_and_does_not_is_a_failure():
    setup = Setup(SourceError("no such device"))
    setup.run()
    assert str(setup.capture.failure) == "no such device"
    assert setup.capture.never_opened
    assert setup.capture.opened.is_set()


def test_a_file_that_breaks_keeps_what_it_gave_and_ends():
    setup = Setup(Script([tone(320), SourceError("damaged")]), config=FileSource(path="x"))
    setup.run()
    assert setup.ring.end_sample == 320
    assert str(setup.capture.failure) == "damaged"
    assert not setup.capture.never_opened


def test_a_source_that_waits_loses_nothing():
    pcm = np.arange(50_000).astype(np.int16)
    setup = Setup(Script([Chunk(pcm)]), config=FileSource(path="x", pace="fast"), capacity=1_000)
    setup.capture.start()
    heard, at = [], 0
    while at != setup.ring.end_sample:
        span = setup.ring.read(at, 100_000)
        if span is None:
            setup.woken.get(timeout=DEADLINE_S)
            continue
        heard.append(span)
        at += len(span)
        setup.ring.release(at)
    setup.capture.join(DEADLINE_S)
    assert (np.concatenate(heard) == pcm).all()
    assert setup.ring.overwritten_samples == 0


def test_a_source_that_waits_can_be_stopped():
    setup = Setup(Script([tone(50_000)]), config=FileSource(path="x", pace="fast"), capacity=1_000)
    setup.capture.start()
    setup.woken.get(timeout=DEADLINE_S)
    setup.capture.stop()
    setup.capture.join(DEADLINE_S)
    assert not setup.capture.has_died
    assert setup.ring.end_sample is None


def test_samples_are_timed_and_a_clock_that_was_set_is_counted():
    chunks = [Chunk(np.zeros(1_600, np.int16), at_ns) for at_ns in (10 * NS, 10 * NS + NS // 10, 5_000 * NS)]
    setup = Setup(Script(chunks), config=FileSource(path="x"), stream="jumps")
    setup.run()
    assert setup.clock.utc_ns(3_200) == 5_000 * NS
    assert metric("clock_jumps_total", "jumps") == 1


def test_times_belong_to_the_first_sample_of_their_chunk_whatever_the_resampler_holds():
    chunks = [Chunk(np.zeros(480, np.int16), NS + i * NS // 100) for i in range(500)]
    setup = Setup(Script(chunks, 48_000), config=FileSource(path="x"))
    setup.run()
    assert setup.clock.utc_ns(0) == pytest.approx(NS, abs=10)
    assert setup.clock.utc_ns(80_000) == pytest.approx(6 * NS, abs=10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_ends_the_thread_and_shows():
    setup = Setup(Script([RuntimeError("a bug")]))
    setup.capture.start()
    setup.capture.join(DEADLINE_S)
    assert setup.capture.has_died


def test_back_off_grows_with_jitter_to_a_limit_and_starts_again():
    backoff = Backoff(0.5)
    delays = [backoff.next_s() for _ in range(12)]
    assert all(
        limit / 2 <= delay <= limit for delay, limit in zip(delays, [0.5, 1, 2, 4, 8, 16] + 6 * [30], strict=True)
    )
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_stopping_a_capture_that_waits_to_try_again_is_quick():
    setup = Setup(*[SourceError("away")] * 3, must_open=False)
    setup.capture._backoff = Backoff(3_600)
    setup.capture.start()
    assert setup.capture.opened.wait(DEADLINE_S)
    setup.capture.stop()
    setup.capture.join(DEADLINE_S)
    assert setup.ring.end_sample is None
