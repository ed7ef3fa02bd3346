"""What a soak calls wrong, on courses that are made up; the soak itself takes hours: ``python -m benchmarks.soak``."""

import contextlib

import pytest

from benchmarks.bench_hour import RATE_HZ
from benchmarks.soak import ROUND_S, Course, differing, events_by_hour, unlike
from benchmarks.watching import Decided
from earmark.outbox import Outbox, StreamCommit
from tests.support.events import make_event

ROUND = ROUND_S * RATE_HZ


def course(n_rounds, places=(10 * RATE_HZ, 400 * RATE_HZ), *, but=(), also=()):
    """An epoch of two streams in which each round has an event at each place, without some and with others."""
    onsets = [index * ROUND + place for index in range(n_rounds) for place in places]
    extents = [("dog", onset, onset + RATE_HZ) for onset in sorted({*onsets, *also} - {*but})]
    return Course(decided=Decided({("gate", "1"): extents, ("yard", "2"): list(extents)}))


def test_rounds_that_are_alike():
    assert differing(course(9)) == (0, 2 * 2 * 6)
    assert events_by_hour(course(14)) == [24, 24]


def test_the_first_round_may_differ():
    assert differing(course(5, but=(10 * RATE_HZ,)))[0] == 0


@pytest.mark.parametrize("change", [{"but": (3 * ROUND + 10 * RATE_HZ,)}, {"also": (3 * ROUND + 7,)}])
def test_a_round_that_differs(change):
    assert differing(course(6, **change))[0] == 2


def test_a_faulty_run_is_part_of_the_undisturbed_one():
    assert unlike(course(2), course(4)) == (0, 0, 8)
    assert unlike(course(2, also=(7,)), course(4)) == (2, 0, 10)
    assert unlike(course(2, but=(10 * RATE_HZ,)), course(4)) == (0, 2, 6)


def test_an_event_that_came_twice_is_strange():
    twice = course(2)
    extents = twice.decided.extents["gate", "1"]
    extents.append(extents[0])
    assert unlike(twice, course(4)) == (1, 0, 9)


def test_what_is_decided_comes_from_the_outbox(tmp_path):
    onset = make_event(5)
    offset = onset.model_copy(update={"phase": "offset", "offset_sample": 9})
    cut = make_event(20).model_copy(update={"phase": "offset", "offset_sample": 30, "reason": "interrupted"})
    with contextlib.closing(Outbox(tmp_path / "outbox.db")) as outbox:
        outbox.commit([StreamCommit("gate", 0, None, [onset, offset, cut])])
    decided = Decided()
    decided.read(tmp_path / "outbox.db")
    decided.read(tmp_path / "outbox.db")
    assert dict(decided.extents) == {("gate", onset.epoch): [("dog", 5, 9)]}
    assert (decided.newest, decided.n_missing) == (3, 0)
