"""What is missing by a source's own times, and what only looks so."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.timeline import Timeline

RATE_HZ = 16_000
NS = 1_000_000_000
FRAME = 320
"""Samples of a frame: 20 ms."""


def frame_ns(k):
    return k * FRAME * NS // RATE_HZ


def lost(times_ns, arrivals_ns=None, timeout_s=10.0):
    """What is lost before each frame that begins at one of ``times_ns``; frames arrive at those times, or as given."""
    timeline, found, arrived_ns = Timeline(RATE_HZ, timeout_s), [], 0
    for k, time_ns in enumerate(times_ns):
        arrived_ns = arrived_ns + frame_ns(1) if time_ns is None else time_ns
        found.append(timeline.lost_before(FRAME, time_ns, arrived_ns if arrivals_ns is None else arrivals_ns[k]))
    return found


@given(st.integers(-(10**18), 10**18), st.integers(-450, 450), st.integers(0, 45), st.integers(0, 2**32))
def test_a_clock_that_drifts_jitters_and_counts_milliseconds_loses_nothing(start_ns, ppm, jitter_ms, seed):
    jitter = random.Random(seed)  # noqa: S311 -- no secret
    times_ns = [
        (start_ns + frame_ns(k) * (1_000_000 + ppm) // 1_000_000) // 1_000_000 * 1_000_000
        + jitter.randint(-jitter_ms, jitter_ms) * 1_000_000
        for k in range(2_000)
    ]
    assert not any(lost(times_ns))


def test_the_drift_of_a_day_is_no_loss():
    timeline = Timeline(RATE_HZ, 10.0)
    for k in range(86_400 * 10):
        assert timeline.lost_before(1_600, k * 100_040_000, k * 100_040_000) == 0, "400 ppm"


@given(st.integers(1, 200), st.integers(101, 60_000))
def test_a_hole_is_lost_to_the_sample_wherever_it_is(at, hole_ms):
    found = lost([frame_ns(k) + (hole_ms * 1_000_000 if k >= at else 0) for k in range(300)])
    assert found == [hole_ms * 16 if k == at else 0 for k in range(300)]


def test_small_losses_add_up():
    times_ns = [frame_ns(k) for k in range(10_000) if k % 20]
    found = lost(times_ns)
    assert max(found) < 0.13 * RATE_HZ
    assert sum(found) == pytest.approx(500 * FRAME, rel=0.03)


def test_frames_without_a_time_follow_the_one_before():
    hole_ns = 2 * NS
    times_ns = [frame_ns(k) + (hole_ns if k >= 50 else 0) if k % 7 == 0 else None for k in range(100)]
    assert [(k, n) for k, n in enumerate(lost(times_ns)) if n] == [(56, 2 * RATE_HZ)]
    assert not any(lost([None] * 50 + [frame_ns(k) for k in range(1_000, 1_050)]))


@pytest.mark.parametrize("leap_s", [-(10**9), -1, 61, 10**9])
def test_times_that_begin_anew_lose_nothing_and_holes_behind_are_found(leap_s):
    times_ns = [frame_ns(k) + (leap_s * NS if k >= 50 else 0) + (NS if k >= 80 else 0) for k in range(100)]
    assert [(k, n) for k, n in enumerate(lost(times_ns)) if n] == [(80, RATE_HZ)]


def test_a_hole_may_be_as_long_as_the_source_may_be_without_audio():
    times_ns = [frame_ns(k) + (200 * NS if k >= 50 else 0) for k in range(100)]
    assert sum(lost(times_ns, timeout_s=300.0)) == 200 * RATE_HZ


def test_times_that_sway_make_one_hole_and_not_one_each_time():
    """Some cameras' reports of their clock do so every few seconds."""
    times_ns = [frame_ns(k) + (k // 250 % 2) * NS // 2 for k in range(45_000)]
    assert sum(lost(times_ns)) < (0.5 + 45_000 * 0.02 * 500e-6 + 0.1) * RATE_HZ


@given(st.integers(101, 60_000), st.integers(1, 200), st.integers(0, 400), st.integers(0, 2**32))
def test_a_clock_that_is_set_forth_loses_nothing(leap_ms, at, jitter_ms, seed):
    jitter = random.Random(seed)  # noqa: S311 -- no secret
    times_ns = [frame_ns(k) + (leap_ms * 1_000_000 if k >= at else 0) for k in range(300)]
    arrivals_ns = [frame_ns(k) + jitter.randint(0, jitter_ms) * 1_000_000 for k in range(300)]
    n_lost = sum(lost(times_ns, arrivals_ns))
    assert n_lost == 0 or n_lost == leap_ms * 16 <= 1.4 * RATE_HZ, "less than what networks delay by cannot be told"


@pytest.mark.parametrize("leap_s", [8, -8])
@given(st.sets(st.integers(1, 2_999), max_size=20))
def test_stray_frames_with_other_times_lose_nothing(leap_s, stray):
    times_ns = [frame_ns(k) + (leap_s * NS if k in stray else 0) for k in range(3_000)]
    assert not any(lost(times_ns, [frame_ns(k) for k in range(3_000)]))


def test_small_leaps_of_a_clock_do_not_add_up():
    """A minute of a clock that gains 0.9 s every second."""
    times_ns = [frame_ns(k) + k // 50 * 9 * NS // 10 for k in range(3_000)]
    assert sum(lost(times_ns, [frame_ns(k) for k in range(3_000)])) <= 3 * RATE_HZ


def test_of_an_outage_while_the_clock_is_set_as_much_is_lost_as_time_passed():
    times_ns = [frame_ns(k) + (30 * NS if k >= 50 else 0) for k in range(100)]
    arrivals_ns = [frame_ns(k) + (3 * NS if k >= 50 else 0) for k in range(100)]
    assert [(k, n) for k, n in enumerate(lost(times_ns, arrivals_ns)) if n] == [(50, 3 * RATE_HZ)]


def test_a_hole_in_segments_that_come_in_bursts_is_lost_to_the_sample():
    """HLS with segments of 4 s: three when it connects, then one each 4 s; the sixth is missing."""
    segment = 200
    frames = [k for k in range(12 * segment) if k // segment != 5]
    arrivals_ns = [max(0, k // segment - 2) * 4 * NS for k in frames]
    found = lost([frame_ns(k) for k in frames], arrivals_ns)
    assert [(frames[i], n) for i, n in enumerate(found) if n] == [(6 * segment, 4 * RATE_HZ)]
