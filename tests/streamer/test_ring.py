"""The ring against a naive reference that keeps one entry a sample."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.streams import GapReason
from streamer.ring import GapSpan, Ring

CAPACITY = 12


class Reference:
    """Every sample of the axis: a value, or the reason of its gap."""

    def __init__(self):
        self.axis = []
        self.oldest = 0
        self.overwritten = 0

    def stored(self):
        return [i for i in range(self.oldest, len(self.axis)) if not isinstance(self.axis[i], GapReason)]

    def append(self, values):
        for value in values:
            if len(stored := self.stored()) == CAPACITY:
                self.oldest = stored[0] + 1
                self.overwritten += 1
            self.axis.append(value)

    def append_gap(self, n, reason):
        self.axis += [reason] * n

    def release(self, keep):
        self.oldest = max(self.oldest, min(keep, len(self.axis)))

    def read_from(self, sample):
        return [GapReason.OVERRUN if i < self.oldest else self.axis[i] for i in range(sample, len(self.axis))]


def read_from(ring, sample, max_samples):
    """Everything from ``sample`` on, one entry a sample."""
    read = []
    while (span := ring.read(sample + len(read), max_samples)) is not None:
        if isinstance(span, GapSpan):
            assert span.n_samples > 0
            read += [span.reason] * span.n_samples
        else:
            assert 0 < len(span) <= max_samples
            read += span.tolist()
    return read


OPERATIONS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 3 * CAPACITY)),
    st.tuples(st.just("gap"), st.integers(1, 30), st.sampled_from([GapReason.DEVICE, GapReason.SHED])),
    st.tuples(st.just("release"), st.integers(0, 25)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, max_size=25), st.integers(1, 9), st.data())
def test_agrees_with_the_reference(operations, max_samples, data):
    ring, reference, value = Ring(CAPACITY), Reference(), 0
    for name, amount, *reason in operations:
        if name == "append":
            values = list(range(value, value + amount))
            value += amount
            ring.append(np.array(values, np.int16))
            reference.append(values)
        elif name == "gap":
            ring.append_gap(amount, *reason)
            reference.append_gap(amount, *reason)
        else:
            keep = reference.oldest + amount
            ring.release(keep)
            reference.release(keep)
        assert ring.oldest_sample == reference.oldest
        assert ring.newest_sample == len(reference.axis)
        assert ring.fill == len(reference.stored()) / CAPACITY
        assert ring.overwritten_samples == reference.overwritten
    sample = data.draw(st.integers(0, ring.newest_sample))
    assert read_from(ring, sample, max_samples) == reference.read_from(sample)
    assert ring.audio_from(sample) == sum(at >= sample for at in reference.stored())


def test_what_was_overwritten_is_one_exact_gap():
    ring = Ring(100)
    for start in range(0, 1_003, 17):
        ring.append(np.arange(start, start + 17, dtype=np.int16))
    assert ring.newest_sample == 1_003
    assert ring.read(0, 4) == GapSpan(903, GapReason.OVERRUN)
    assert ring.read(500, 4) == GapSpan(403, GapReason.OVERRUN)
    assert ring.read(903, 200).tolist() == list(range(903, 1_003))
    assert ring.overwritten_samples == 903


def test_a_long_outage_pushes_nothing_out():
    ring = Ring(10)
    ring.append(np.arange(10, dtype=np.int16))
    ring.append_gap(3_600 * 16_000, GapReason.DEVICE, estimated=True)
    assert ring.oldest_sample == 0
    assert ring.read(0, 100).tolist() == list(range(10))
    assert ring.read(10, 100) == GapSpan(3_600 * 16_000, GapReason.DEVICE, estimated=True)


def test_touching_gaps_of_one_reason_merge():
    ring = Ring(10)
    ring.append_gap(5, GapReason.DEVICE)
    ring.append_gap(7, GapReason.DEVICE, estimated=True)
    assert ring.read(2, 1) == GapSpan(10, GapReason.DEVICE, estimated=True)


def test_a_gap_in_front_goes_only_when_audio_behind_it_does():
    ring = Ring(4)
    ring.append(np.array([1, 2], np.int16))
    ring.append_gap(6, GapReason.DEVICE)
    ring.append(np.array([3, 4, 5, 6], np.int16))
    assert ring.read(0, 9) == GapSpan(2, GapReason.OVERRUN)
    assert ring.read(2, 9) == GapSpan(6, GapReason.DEVICE)
    ring.append(np.array([7], np.int16))
    assert ring.read(0, 9) == GapSpan(9, GapReason.OVERRUN)
    assert ring.read(9, 9).tolist() == [4, 5, 6, 7]


def test_what_was_read_is_the_readers_own():
    ring = Ring(4)
    ring.append(np.array([1, 2, 3, 4], np.int16))
    read = ring.read(0, 4)
    ring.append(np.array([5, 6, 7, 8], np.int16))
    assert read.tolist() == [1, 2, 3, 4]


def test_a_source_that_waits_is_woken_by_a_release():
    ring = Ring(4)
    ring.append(np.arange(4, dtype=np.int16))
    assert not ring.wait_for_room(2, 0.0)
    assert ring.is_waited_for
    got_room = []
    waiter = threading.Thread(target=lambda: got_room.append(ring.wait_for_room(2, 60.0)))
    waiter.start()
    ring.release(2)
    waiter.join()
    assert got_room == [True]
    assert not ring.is_waited_for


def test_end_is_where_the_head_was():
    ring = Ring(4)
    assert ring.end_sample is None
    ring.append(np.zeros(3, np.int16))
    ring.append_gap(2, GapReason.DEVICE)
    ring.mark_end()
    assert ring.end_sample == 5


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="capacity"):
        Ring(0)
    with pytest.raises(ValueError, match="at least one sample"):
        Ring(4).append_gap(0, GapReason.DEVICE)


def test_one_writer_and_one_reader_see_the_same():
    """200,000 samples through a ring of 1,000: what the reader gets, gaps filled in, is what the writer wrote."""
    ring, n = Ring(1_000), 200_000
    written = np.arange(n).astype(np.int16)

    def write():
        for start in range(0, n, 160):
            ring.append(written[start : start + 160])
        ring.mark_end()

    writer = threading.Thread(target=write)
    writer.start()
    at = 0
    while at != ring.end_sample:
        span = ring.read(at, 333)
        if isinstance(span, GapSpan):
            assert span.reason == GapReason.OVERRUN
            at += span.n_samples
        elif span is not None:
            assert (span == written[at : at + len(span)]).all()
            at += len(span)
            ring.release(at)
    writer.join()
    assert at == n
