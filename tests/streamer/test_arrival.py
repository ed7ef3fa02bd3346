"""When a source's audio was heard, whatever way it came."""

from itertools import pairwise

import pytest

from earmark.contracts.clock import NS, SampleClock
from streamer.sources.arrival import ArrivalClock

RATE = 16_000
CHUNK = 320
CHUNK_NS = CHUNK * NS // RATE
UTC = 1_700_000_000 * NS


def hear(arrivals_ns, times_ns, clock=None):
    """UTC of each chunk."""
    clock = clock or ArrivalClock(RATE)
    return [clock.captured_at_ns(CHUNK, time, came) for time, came in zip(times_ns, arrivals_ns, strict=True)]


def in_bursts(n_chunks, burst_s, delay_s=0.3):
    """Times from 7 s on, and arrivals: each burst at once, when its last chunk has been heard and a while later."""
    per_burst = round(burst_s * RATE / CHUNK)
    times = [7 * NS + i * CHUNK_NS for i in range(n_chunks)]
    arrivals = [
        UTC + (i // per_burst + 1) * per_burst * CHUNK_NS + round(delay_s * NS) + i % per_burst for i in range(n_chunks)
    ]
    return arrivals, times


@pytest.mark.parametrize("burst_s", [0.02, 1.0, 6.0, 10.0])
def test_a_burst_is_as_long_as_it_is(burst_s):
    """From the second one on: HLS brings whole segments. The wall clock was never set."""
    arrivals, times = in_bursts(6000, burst_s)
    heard = hear(arrivals, times)
    first = round(burst_s * RATE / CHUNK)
    assert all(later - sooner == pytest.approx(CHUNK_NS, abs=1000) for sooner, later in pairwise(heard[first:]))
    assert heard[-1] == pytest.approx(UTC + 5999 * CHUNK_NS + 0.3 * NS, abs=0.03 * NS)
    clock = SampleClock(RATE)
    for i, at in enumerate(heard[first:]):
        clock.observe(i * CHUNK, at)
    assert clock.jumps == 0


def test_a_network_that_stalls_moves_nothing():
    arrivals, times = in_bursts(3000, 0.02)
    held = [max(came, UTC + 30 * NS) if 20 * NS < came - UTC < 30 * NS else came for came in arrivals]
    assert hear(held, times) == hear(arrivals, times)


@pytest.mark.parametrize("step_s", [-3600, -2, 2, 3600])
def test_a_wall_clock_that_is_set_is_followed(step_s):
    arrivals, times = in_bursts(9000, 0.02)
    stepped = [came + (step_s * NS if i >= 3000 else 0) for i, came in enumerate(arrivals)]
    moved = [there - here for there, here in zip(hear(stepped, times), hear(arrivals, times), strict=True)]
    assert moved[:3000] == [0] * 3000
    assert moved[6100:] == [step_s * NS] * 2900


@pytest.mark.parametrize("leap_s", [-5000, -2, 90, 5000])
def test_times_that_leap_begin_anew(leap_s):
    arrivals, times = in_bursts(3000, 0.02)
    leapt = [at + (leap_s * NS if i >= 1000 else 0) for i, at in enumerate(times)]
    assert hear(arrivals, leapt) == pytest.approx(hear(arrivals, times), abs=1000)


def test_without_times_it_was_heard_when_it_came():
    assert ArrivalClock(RATE).captured_at_ns(CHUNK, None, UTC) == UTC - CHUNK_NS
