"""Retention by age: it deletes what is provably old, whatever the wall clock said or says."""

import re
import sqlite3
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.outbox import Outbox, OutboxReader, StreamCommit
from earmark.outbox.elapsed import ELAPSED_TABLE, SAVE_EVERY_S, ElapsedTime, Uptime, read_uptime
from tests.support.events import make_event
from tests.support.uptime import Machine

DAY_S = 86_400.0
MAX_AGE_S = 30 * DAY_S
NO_LIMIT = 1 << 40


class Box:
    """An outbox whose events and age a test makes."""

    def __init__(self, path, machine):
        self.path, self.machine = path, machine
        self.n_events = self.revision = 0
        self.open()

    def open(self):
        self.outbox = Outbox(self.path, uptime=self.machine)
        self.reader = OutboxReader(self.path)

    def restart(self):
        self.close()
        self.open()

    def store(self, n):
        events = [make_event(self.n_events + i) for i in range(n)]
        assert not self.outbox.commit([StreamCommit("gate", self.revision, None, events)])
        self.revision += 1
        self.n_events += n

    def pass_time(self, seconds, step_s=3600.0):
        """Time in which retention works, as in an engine."""
        while seconds > 0:
            self.machine.run(min(step_s, seconds))
            seconds -= step_s
            self.prune()

    def prune(self, max_age_s=MAX_AGE_S):
        n_deleted = 0
        while n := self.outbox.prune(max_age_s, NO_LIMIT):
            n_deleted += n
        return n_deleted

    @property
    def kept(self):
        return [event.seq for event in self.reader.read(0, 100_000)]

    def close(self):
        self.reader.close()
        self.outbox.close()


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path / "outbox.db", Machine())
    yield made
    made.close()


def test_events_go_after_their_age_has_really_passed(box):
    box.store(3)
    box.prune()
    box.pass_time(15 * DAY_S)
    box.store(2)
    box.pass_time(15 * DAY_S - 3600)
    assert box.kept == [1, 2, 3, 4, 5]
    box.pass_time(2 * 3600)
    assert box.kept == [4, 5]
    box.pass_time(15 * DAY_S)
    assert box.kept == []


def test_a_clock_far_ahead_deletes_nothing(box, monkeypatch):
    box.store(6)
    box.prune()
    now_ns = time.time_ns()
    monkeypatch.setattr("time.time_ns", lambda: now_ns + 400 * 86_400 * 10**9)
    box.store(1)
    box.restart()
    box.pass_time(DAY_S)
    assert box.kept == [1, 2, 3, 4, 5, 6, 7]


def test_an_event_stamped_long_ago_deletes_nothing_before_it(box, monkeypatch):
    box.store(20)
    now_ns = time.time_ns()
    monkeypatch.setattr("time.time_ns", lambda: now_ns - 400 * 86_400 * 10**9)
    box.store(1)
    monkeypatch.undo()
    box.pass_time(DAY_S)
    assert len(box.kept) == 21


def test_time_while_the_machine_was_off_is_not_counted(box):
    box.store(1)
    box.prune()
    for _ in range(3):
        box.pass_time(9 * DAY_S)
        box.machine.reboot()
        box.restart()
    box.pass_time(2 * DAY_S)
    assert box.kept == [1]
    box.pass_time(2 * DAY_S)
    assert box.kept == []


def test_time_while_only_earmark_was_off_is_counted(box):
    box.store(1)
    box.prune()
    box.close()
    box.machine.run(31 * DAY_S)
    box.open()
    assert box.prune() == 1


def test_many_old_events_go_in_pieces_and_new_ones_stay(box):
    box.store(1200)
    box.prune()
    box.pass_time(20 * DAY_S)
    box.store(7)
    box.machine.run(15 * DAY_S)
    assert [box.outbox.prune(MAX_AGE_S, NO_LIMIT) for _ in range(4)] == [500, 500, 200, 0]
    assert len(box.kept) == 7


def test_engines_that_share_an_outbox_count_the_same_time_once(box):
    other = Outbox(box.path, uptime=box.machine)
    box.store(1)
    for _ in range(29 * 24):
        box.machine.run(3600)
        assert (box.prune(), other.prune(MAX_AGE_S, NO_LIMIT)) == (0, 0)
    for _ in range(25):
        box.machine.run(3600)
        other.prune(MAX_AGE_S, NO_LIMIT)
    assert box.kept == []
    other.close()


def test_marks_do_not_pile_up(box):
    for _ in range(90):
        box.store(1)
        box.pass_time(DAY_S, step_s=600)
    with closing(sqlite3.connect(box.path)) as connection:
        (n_marks,) = connection.execute("SELECT count(*) FROM marks").fetchone()
    assert 30 <= n_marks <= 32
    assert len(box.kept) in (30, 31)


def test_an_older_outboxs_events_grow_old_from_its_upgrade_on(box):
    box.store(4)
    with closing(sqlite3.connect(box.path)) as connection:
        connection.executescript("DROP TABLE marks; DROP TABLE elapsed; DROP TABLE coverage; PRAGMA user_version = 2")
    box.restart()
    box.prune()
    box.pass_time(29 * DAY_S)
    assert len(box.kept) == 4
    box.pass_time(2 * DAY_S)
    assert box.kept == []


@given(st.lists(st.tuples(st.sampled_from(["run", "off", "reboot"]), st.floats(0.1, 1e6)), max_size=30))
def test_the_count_never_exceeds_what_passed_and_a_reboot_costs_a_minute_at_most(steps):
    machine = Machine()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(ELAPSED_TABLE)
        elapsed = ElapsedTime(connection, machine)
        last_s, passed_s, counted_s = elapsed.now_s(), 0.0, 0.0
        for what, seconds in steps:
            passed_s += seconds
            if what == "reboot":
                machine.reboot()
                counted_s -= SAVE_EVERY_S
                last_s -= SAVE_EVERY_S
            else:
                machine.run(seconds)
                counted_s += seconds
            if what == "off":
                elapsed = ElapsedTime(connection, machine)
            now_s = elapsed.now_s()
            assert last_s <= now_s <= passed_s + 1e-6
            assert now_s >= counted_s - 1e-6
            last_s = now_s


def test_the_kernels_uptime_is_read():
    boot, before_s = read_uptime()
    assert re.fullmatch(r"[0-9a-f-]{36}", boot)
    assert read_uptime().uptime_s >= before_s > 0


def test_a_system_without_the_kernels_files_counts_within_a_process(monkeypatch, tmp_path):
    monkeypatch.setattr("earmark.outbox.elapsed._UPTIME", tmp_path / "none")
    first, second = read_uptime(), read_uptime()
    assert first.boot == second.boot
    assert first.boot.startswith("process-")
    assert second.uptime_s >= first.uptime_s


def test_a_container_that_starts_again_counts_from_there():
    """Its uptime may begin at 0 while the kernel's boot goes on."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(ELAPSED_TABLE)
        readings = [Uptime("boot", 1000.0), Uptime("boot", 1100.0), Uptime("boot", 3.0), Uptime("boot", 13.0)]
        elapsed = ElapsedTime(connection, iter(readings).__next__)
        assert [elapsed.now_s() for _ in readings] == [0.0, 100.0, 100.0, 110.0]
