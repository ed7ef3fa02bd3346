"""Two streamers that send one stream, and senders of more epochs or records than a turn of the engine may take."""

import numpy as np
import structlog
from hypothesis import given
from hypothesis import strategies as st

from earmark.contracts.streams import Gap, GapReason
from earmark.contracts.wire import encode_records, read_messages
from engine.rivals import QUIET_S, TURN_S, Rivals, excess
from engine.stream import Stream, StreamTable


def living(arrived_s):
    table = StreamTable()
    table.grow(1)
    table.open(0, 7)
    table.note_arrivals(np.array([0]), np.array([320]), arrived_s)
    return Stream("gate", 0, 7, 0, table)


def test_a_streamer_that_starts_again_is_heard_at_once():
    rivals = Rivals()
    rivals.note_change("gate", "", 100.0, was_living=False)
    assert rivals.may_take_up("gate", living(100.1), 100.1)


def test_two_that_live_are_heard_in_turns_and_one_that_falls_silent_gives_way():
    rivals = Rivals()
    rivals.note_change("gate", "a", 100.0, was_living=True)
    assert not rivals.may_take_up("gate", living(101.0), 101.0)
    assert not rivals.may_take_up("gate", living(101.0), 101.0 + QUIET_S - 0.01)
    assert rivals.may_take_up("gate", living(101.0), 101.0 + QUIET_S)
    assert not rivals.may_take_up("gate", living(100.0 + TURN_S - 0.01), 100.0 + TURN_S - 0.01)
    assert rivals.may_take_up("gate", living(100.0 + TURN_S), 100.0 + TURN_S)


@given(st.lists(st.floats(0, 0.5), min_size=50, max_size=200))
def test_epochs_that_end_at_once_have_a_rate_limit(pauses):
    rivals, now_s, n_changes = Rivals(), 100.0, 0
    for pause in pauses:
        now_s += pause
        if rivals.may_take_up("gate", None, now_s):
            rivals.note_change("gate", "", now_s, was_living=False)
            n_changes += 1
    assert n_changes <= 8 + (now_s - 100.0)


def test_two_senders_are_named_once_a_minute():
    rivals = Rivals()
    rivals.note_change("gate", "10.0.0.1", 100.0, was_living=False)
    with structlog.testing.capture_logs() as logs:
        for now_s in np.arange(100.0, 230.0, 0.5).tolist():
            rivals.tell("gate", "10.0.0.2", now_s)
    assert [(log["heard"], log["waiting"]) for log in logs] == [("10.0.0.1", "10.0.0.2")] * 3


def gaps(epochs):
    records = [Gap("gate", epoch, 0, 1, 16_000, 1, 1, GapReason.DEVICE) for epoch in epochs]
    return read_messages([encode_records(records)])[0]


def test_of_thousands_of_epochs_in_a_message_two_are_looked_at():
    table = gaps(range(1, 11_901))
    assert np.flatnonzero(~excess(table, np.arange(11_900), {})).tolist() == [0, 1]


def test_the_open_epoch_is_looked_at_among_strange_ones():
    table = gaps([1, 2, 3, 7, 4, 7])
    assert excess(table, np.arange(6), {"gate": living(1.0)}).tolist() == [False, False, True, False, True, False]


def test_of_thousands_of_records_of_a_stream_a_thousand_are_looked_at():
    table = gaps([7] * 5_000)
    assert np.count_nonzero(~excess(table, np.arange(5_000), {"gate": living(1.0)})) == 1_024
