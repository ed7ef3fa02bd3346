"""How much was analysed: quiet and not listening never look the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.coverage import MINUTE_S, MINUTES, Coverage

RATE_HZ = 16_000


def listen(coverage, start_s, seconds, share=1.0):
    for second in range(seconds):
        coverage.add(start_s + second + 1, round(RATE_HZ * share), RATE_HZ)
    return start_s + seconds


def test_all_heard_is_one():
    coverage = Coverage(RATE_HZ, 100.0)
    assert coverage.ratio(listen(coverage, 100.0, 5000)) == 1.0


def test_gaps_count():
    coverage = Coverage(RATE_HZ, 0.0)
    now_s = listen(coverage, 0.0, 600, share=0.75)
    assert coverage.ratio(now_s) == pytest.approx(0.75)


def test_a_stream_that_stopped_falls_to_nothing():
    coverage = Coverage(RATE_HZ, 0.0)
    now_s = listen(coverage, 0.0, 1800)
    assert coverage.ratio(now_s + 1800) == pytest.approx(0.5, abs=0.02)
    assert coverage.ratio(now_s + 3600) < 0.02
    assert coverage.ratio(now_s + 7200) == 0.0


def test_what_is_older_than_an_hour_is_forgotten():
    coverage = Coverage(RATE_HZ, 0.0)
    now_s = listen(coverage, 0.0, 3600, share=0.0)
    assert coverage.ratio(listen(coverage, now_s, 3600)) == pytest.approx(1.0, abs=0.02)


def test_faster_than_real_time_is_measured_by_the_sample_clock():
    coverage = Coverage(RATE_HZ, 0.0)
    coverage.add(1.0, 3600 * RATE_HZ, 3600 * RATE_HZ)
    assert coverage.ratio(1.0) == 1.0
    coverage.add(1.5, 0, 3600 * RATE_HZ)
    assert coverage.ratio(1.5) == pytest.approx(0.5)


@pytest.mark.parametrize("away_s", [90, 3000, 7200, 86_400])
def test_what_was_lost_counts_when_it_was_lost(away_s):
    """It is told of when the stream is back: a day's outage must not weigh on the hour after it."""
    for back_s in (60, 1800, 2700, 3480, 3660):
        coverage = Coverage(RATE_HZ, 10.0)
        returned_s = listen(coverage, 10.0, 4000) + away_s
        coverage.lose(returned_s, away_s * RATE_HZ)
        lost_s = min(away_s, max(0, 3600 - back_s))
        told = coverage.ratio(listen(coverage, returned_s, back_s))
        assert told == pytest.approx(1 - lost_s / 3600, abs=0.02), back_s


def test_what_is_lost_of_a_stream_that_is_faster_than_real_time_counts_up_to_an_hour():
    coverage = Coverage(RATE_HZ, 0.0)
    coverage.add(1.0, 1800 * RATE_HZ, 1800 * RATE_HZ)
    coverage.lose(1.0, 1800 * RATE_HZ)
    assert coverage.ratio(1.0) == pytest.approx(0.5)
    coverage.lose(1.5, 100_000 * RATE_HZ)
    assert coverage.ratio(1.5) == pytest.approx(1800 / (1800 + 59 * 60))


def test_losses_that_come_in_parts_are_one():
    """A second of every three is lost, and each loss told of behind it."""
    coverage = Coverage(RATE_HZ, 0.0)
    now_s = 0.0
    for _ in range(1200):
        now_s = listen(coverage, now_s, 2) + 1
        coverage.lose(now_s, RATE_HZ)
    assert coverage.ratio(now_s) == pytest.approx(2 / 3, abs=0.01)


@given(
    st.lists(st.tuples(st.integers(1, 900), st.floats(0, 1), st.booleans()), min_size=1, max_size=12),
    st.integers(0, 4000),
)
def test_a_restart_changes_nothing(stretches, away_s):
    """Stored and taken up, a coverage is the same, whenever that happened; the time between counts as not heard."""
    whole, part, kept, now_s = Coverage(RATE_HZ, 7.0), Coverage(RATE_HZ, 7.0), {}, 7.0
    for seconds, share, restarts in stretches:
        for at_s in [*range(20, seconds, 20), seconds]:
            for coverage in (whole, part):
                coverage.add(now_s + at_s, round(RATE_HZ * share * 20), RATE_HZ * 20)
        now_s += seconds
        kept |= {minute.minute: minute for minute in part.take_changed("gate")}
        if restarts:
            stored = [kept[minute] for minute in sorted(kept) if minute >= int(now_s // MINUTE_S) - MINUTES]
            part = Coverage(RATE_HZ, now_s, stored)
        assert part.ratio(now_s) == whole.ratio(now_s)
        assert part.span_s(now_s) == whole.span_s(now_s)
    assert part.ratio(now_s + away_s) == whole.ratio(now_s + away_s)


def test_a_new_stream_is_a_share_of_its_own_time():
    coverage = Coverage(RATE_HZ, 1000.0)
    now_s = listen(coverage, 1000.0, 180)
    assert (coverage.ratio(now_s), coverage.span_s(now_s)) == (1.0, 180.0)
    now_s = listen(coverage, now_s, 7200)
    assert 3540 <= coverage.span_s(now_s) <= 3600


def test_only_what_changed_is_stored_again():
    coverage = Coverage(RATE_HZ, 0.0)
    listen(coverage, 0.0, 150)
    assert [minute.minute for minute in coverage.take_changed("gate")] == [0, 1, 2]
    assert coverage.take_changed("gate") == []
    coverage.add(155.0, 1, 1)
    assert [minute.minute for minute in coverage.take_changed("gate")] == [2]
