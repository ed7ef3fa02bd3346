"""What goes out of a ring, what is asked for again and what is forgotten, without any socket."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.clock import SampleClock
from earmark.contracts.streams import Ack, AudioBlock, Gap, GapReason
from streamer.feed import AHEAD_S, ASK_AGAIN_S, BLOCK_SAMPLES, NUDGE_S, Feed
from streamer.ring import Ring

EPOCH = 7


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


class Setup:
    def __init__(self, capacity=100_000):
        self.ring, self.clock, self.now = Ring(capacity), SampleClock(16_000), Clock()
        self.feed = Feed("gate", EPOCH, self.ring, self.clock, sample_rate_hz=16_000, can_wait=False, now=self.now)

    def hear(self, n):
        start = self.ring.newest_sample
        self.ring.append(np.arange(start, start + n).astype(np.int16))

    def sent(self):
        records = []
        while (record := self.feed.next_record()) is not None:
            records.append(record)
        return records

    def ack(self, keep_sample, resend_from=-1, epoch=EPOCH, needed_sample=0):
        return self.feed.take(Ack("gate", epoch, keep_sample, needed_sample, resend_from))


RATE_HZ = 16_000
AHEAD = round(AHEAD_S * RATE_HZ)


@pytest.fixture
def setup():
    return Setup()


def places(records):
    return [(record.first_sample, record.end_sample) for record in records]


def test_no_more_than_enough_is_on_its_way(setup):
    """An engine that is slow finds what it has not taken in the ring's head, not in sockets."""
    setup.hear(AHEAD + 10_000)
    sent = setup.sent()
    assert AHEAD <= sent[-1].end_sample < AHEAD + BLOCK_SAMPLES
    assert sent[-1].newest_sample == AHEAD + 10_000
    assert not setup.ack(0, needed_sample=sent[-1].end_sample - AHEAD), "there is still enough on its way"
    assert setup.sent() == []
    assert setup.ack(0, needed_sample=20_000)
    assert setup.sent()[-1].end_sample == AHEAD + 10_000
    assert not setup.ack(0, needed_sample=30_000), "everything was sent"


def test_an_engine_that_forgot_a_stream_that_is_ahead_hears_of_it(setup):
    setup.hear(AHEAD + 10_000)
    last = setup.sent()[-1]
    assert not setup.feed.nudge()
    setup.now.now_s += NUDGE_S
    assert setup.feed.nudge()
    assert places(setup.sent()) == places([last])
    assert not setup.feed.nudge()
    assert setup.ack(0, resend_from=0)
    assert places(setup.sent())[0] == (0, BLOCK_SAMPLES)


def test_backlog_goes_out_in_blocks_and_live_audio_as_it_comes(setup):
    setup.clock.observe(0, 1_000)
    setup.hear(BLOCK_SAMPLES + 10)
    first, second = setup.sent()
    assert places([first, second]) == [(0, BLOCK_SAMPLES), (BLOCK_SAMPLES, BLOCK_SAMPLES + 10)]
    assert first.newest_sample == BLOCK_SAMPLES + 10
    assert second.captured_at_ns == 1_000 + BLOCK_SAMPLES * 62_500
    setup.hear(320)
    (live,) = setup.sent()
    assert len(live.pcm) == 320
    assert live.newest_sample == live.end_sample
    assert not live.end


def test_how_far_behind_an_engine_is_leaves_gaps_out(setup):
    """It would skip audio for want of time, though nothing was heard that takes time."""
    setup.hear(BLOCK_SAMPLES + 10)
    setup.ring.append_gap(5_000_000, GapReason.DEVICE)
    setup.hear(20)
    first, second, gap = setup.sent()
    setup.ack(0, needed_sample=gap.end_sample)
    (last,) = setup.sent()
    assert first.newest_sample == first.end_sample + 10 + 20
    assert second.newest_sample == second.end_sample + 20
    assert gap.newest_sample == gap.end_sample + 20
    assert last.newest_sample == last.end_sample == setup.ring.newest_sample


def test_gaps_go_out_as_gaps(setup):
    setup.hear(10)
    setup.ring.append_gap(5_000_000, GapReason.DEVICE, estimated=True)
    _, gap = setup.sent()
    assert isinstance(gap, Gap)
    assert (gap.first_sample, gap.n_samples, gap.reason, gap.estimated) == (10, 5_000_000, GapReason.DEVICE, True)


def test_a_cursor_that_was_overtaken_sends_the_exact_gap():
    setup = Setup(capacity=100)
    setup.hear(60)
    setup.sent()
    setup.hear(300)
    gap, block = setup.sent()
    assert (gap.first_sample, gap.n_samples, gap.reason) == (60, 200, GapReason.OVERRUN)
    assert block.pcm.tolist() == list(range(260, 360))


def test_the_end_is_said_once_and_needs_its_acknowledgement(setup):
    setup.hear(10)
    setup.ring.mark_end()
    block, end = setup.sent()
    assert (block.end, end.end, len(end.pcm), end.first_sample) == (False, True, 0, 10)
    assert not setup.feed.is_finished
    setup.ack(9)
    assert not setup.feed.is_finished
    setup.ack(10)
    assert setup.feed.is_finished
    assert setup.sent() == []


def test_an_end_that_comes_later_is_said_too(setup):
    setup.hear(10)
    setup.sent()
    setup.ring.mark_end()
    (end,) = setup.sent()
    assert end.end


def test_a_stream_of_nothing_says_its_end_too(setup):
    setup.ring.mark_end()
    assert not setup.feed.is_finished
    (end,) = setup.sent()
    assert (end.end, end.first_sample) == (True, 0)
    assert not setup.feed.is_finished
    setup.ack(0)
    assert setup.feed.is_finished
    assert setup.sent() == []


def test_the_end_is_said_though_a_reset_engine_has_rounded_up_beyond_it(setup):
    setup.hear(1_000)
    setup.sent()
    setup.ack(1_280)
    setup.ring.mark_end()
    assert not setup.feed.is_finished
    (end,) = setup.sent()
    assert (end.end, end.first_sample) == (True, 1_000)
    assert not setup.feed.is_finished, "it may have got lost"
    setup.now.now_s += NUDGE_S
    assert setup.feed.nudge()
    assert [record.end for record in setup.sent()] == [True]
    setup.ack(1_280)
    assert setup.feed.is_finished


def test_acknowledged_audio_is_released(setup):
    setup.hear(1_000)
    setup.sent()
    assert not setup.ack(400)
    assert setup.ring.oldest_sample == 400


def test_another_epochs_acknowledgement_is_not_heard(setup):
    setup.hear(1_000)
    setup.sent()
    assert not setup.ack(400, resend_from=0, epoch=EPOCH + 1)
    assert setup.ring.oldest_sample == 0
    assert setup.sent() == []


def test_goes_back_to_where_it_is_asked(setup):
    setup.hear(1_000)
    setup.sent()
    assert setup.ack(0, resend_from=300)
    (block,) = setup.sent()
    assert block.pcm.tolist() == list(range(300, 1_000))


def test_a_repeated_request_is_heard_once_until_time_has_passed(setup):
    setup.hear(1_000)
    setup.sent()
    assert setup.ack(0, resend_from=300)
    setup.sent()
    assert not setup.ack(0, resend_from=300)
    setup.now.now_s += ASK_AGAIN_S
    assert setup.ack(0, resend_from=300)
    assert not setup.ack(0)
    assert setup.ack(0, resend_from=300), "it arrived in between, so this is a new request"


def test_a_request_for_what_is_gone_is_answered_with_a_gap(setup):
    setup.hear(1_000)
    setup.sent()
    setup.ack(600)
    setup.ack(600, resend_from=100)
    gap, block = setup.sent()
    assert (gap.first_sample, gap.end_sample, gap.reason) == (100, 600, GapReason.OVERRUN)
    assert places([block]) == [(600, 1_000)]


def test_skips_ahead_when_the_engine_does(setup):
    setup.hear(50_000)
    setup.feed.next_record()
    setup.ack(0, resend_from=40_000)
    assert setup.feed.next_record().first_sample == 40_000


def test_an_acknowledgement_beyond_the_head_counts_up_to_it(setup):
    setup.hear(1_000)
    setup.sent()
    setup.ack(5_000, resend_from=9_000)
    assert setup.ring.oldest_sample == setup.ring.newest_sample == 1_000
    setup.hear(10)
    assert places(setup.sent()) == [(1_000, 1_010)]


def test_nudges_with_the_end_while_it_is_not_acknowledged(setup):
    setup.hear(10)
    setup.ring.mark_end()
    setup.sent()
    assert not setup.feed.nudge()
    setup.now.now_s += NUDGE_S
    assert setup.feed.nudge()
    (end,) = setup.sent()
    assert end.end
    setup.ack(10)
    setup.now.now_s += NUDGE_S
    assert not setup.feed.nudge()


def test_nudges_with_the_last_block_while_the_ring_is_full():
    setup = Setup(capacity=1_000)
    setup.hear(600)
    setup.sent()
    setup.hear(400)
    setup.sent()
    assert not setup.ring.wait_for_room(1, 0.0)
    setup.now.now_s += NUDGE_S
    assert setup.feed.nudge()
    assert places(setup.sent()) == [(600, 1_000)]


def test_a_live_source_that_is_silent_is_not_nudged(setup):
    setup.hear(10)
    setup.sent()
    setup.now.now_s += 10 * NUDGE_S
    assert not setup.feed.nudge()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["hear", "gap", "lose", "deliver", "restart"]), st.integers(1, 400)), max_size=40
    )
)
def test_an_engine_that_asks_gets_every_sample_once_however_much_is_lost(operations):
    """The engine of this test takes what fits and asks for the rest; messages are lost and it forgets all at times."""
    setup = Setup(capacity=500)
    needed, heard = 0, {}

    def deliver():
        nonlocal needed
        for record in setup.sent():
            if record.first_sample <= needed < record.end_sample:
                for sample in range(needed, record.end_sample):
                    is_block = isinstance(record, AudioBlock)
                    heard[sample] = int(record.pcm[sample - record.first_sample]) if is_block else record.reason
                needed = record.end_sample
        setup.now.now_s += ASK_AGAIN_S
        setup.ack(0, resend_from=needed if needed < setup.ring.newest_sample else -1)

    for name, amount in operations:
        if name == "hear":
            setup.hear(amount)
        elif name == "gap":
            setup.ring.append_gap(amount, GapReason.DEVICE)
        elif name == "lose":
            setup.sent()
        elif name == "restart":
            needed = max(0, needed - amount)
        else:
            deliver()
    deliver()
    deliver()
    assert needed == setup.ring.newest_sample
    assert sorted(heard) == list(range(needed))
    assert all(isinstance(what, GapReason) or what == np.int16(sample) for sample, what in heard.items())


def test_an_epoch_that_the_engine_ended_goes_on_in_another_without_loss(setup):
    setup.hear(20_000)
    setup.sent()
    assert setup.feed.take(Ack("gate", EPOCH, 8_000, 8_000, is_over=True))
    assert setup.feed.epoch != EPOCH
    records = setup.sent()
    assert {record.epoch for record in records} == {setup.feed.epoch}
    assert (records[0].first_sample, records[-1].end_sample, records[-1].newest_sample) == (0, 12_000, 12_000)
    assert (np.concatenate([record.pcm for record in records]) == np.arange(8_000, 20_000)).all()
    setup.ack(4_000, resend_from=6_000, epoch=setup.feed.epoch)
    assert setup.ring.oldest_sample == 12_000
    assert setup.sent()[0].first_sample == 6_000


def test_an_end_that_the_engine_has_begins_no_other_epoch(setup):
    setup.hear(1_000)
    setup.ring.mark_end()
    setup.sent()
    setup.feed.take(Ack("gate", EPOCH, 1_000, 1_000, is_over=True))
    assert (setup.feed.epoch, setup.feed.is_finished) == (EPOCH, True)
