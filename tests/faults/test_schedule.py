"""Schedules: the same seed the same one, of every kind, never longer than what a supervisor takes for death."""

from earmark.chaos.faults import FAULTS
from earmark.chaos.schedule import INSTANT, KINDS, LONGEST_S, make_schedule


def test_the_same_seed_makes_the_same_schedule():
    assert make_schedule(7) == make_schedule(7)
    assert make_schedule(7) != make_schedule(8)


def test_a_seed_means_the_same_tomorrow():
    assert [str(step) for step in make_schedule(5, 3)] == [
        "disk_read_only 1.9 s ...",
        "cut 1.3 s & memory engine 2.3 s",
        "stop engine 0.1 s",
    ]


def test_every_kind_can_be_drawn_and_done():
    faults = [fault for seed in range(100) for step in make_schedule(seed) for fault in step.faults]
    assert {fault.kind for fault in faults} == set(KINDS) == set(FAULTS)
    assert all(0 <= fault.chance < 1 for fault in faults)


def test_nothing_lasts_so_long_that_the_supervisor_kills():
    for seed in range(100):
        for step in make_schedule(seed):
            for fault in step.faults:
                assert fault.duration_s <= LONGEST_S
                assert (fault.duration_s == 0) == (fault.kind in INSTANT)
