"""Several microphones, one event: the rules, over a real outbox, with a clock in the test's hands."""

import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.errors import OutboxFullError
from earmark.contracts.events import event_id
from earmark.outbox import Checkpoint, Outbox, StreamCommit
from earmark.outbox.fusion import MOST_SOUNDS
from tests.outbox.hearing import ZONES, at, begins, check_in_turn, ends, hear, interleave, script, sound, told
from tests.support.waiting import DEADLINE_S

SECOND = 1_000_000_000


class Clock:
    def __init__(self, now_s=1000.0):
        self.now_s = now_s

    def __call__(self):
        return round(self.now_s * SECOND)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_outbox(tmp_path, clock):
    opened = []

    def open_outbox(zones=ZONES):
        opened.append(Outbox(tmp_path / "outbox.db", zones=zones, fusion_ms=1000, clock=clock))
        return opened[-1]

    yield open_outbox
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(open_outbox):
    return open_outbox()


def test_what_two_streams_hear_is_one_event_and_each_keeps_its_own(outbox, clock):
    gate, barn = begins("gate", 10.0), begins("barn", 10.3)
    hear(outbox, gate)
    hear(outbox, barn)
    hear(outbox, ends(gate, 12.0, score_peak=0.95, score_mean=0.9, level_db=-30.0))
    hear(outbox, ends(barn, 12.3, score_peak=0.99, score_mean=0.6, level_db=-12.0))
    (onset,) = told(outbox)
    assert (onset.phase, onset.heard_by) == ("onset", ("gate",))
    assert onset.event_id == event_id("yard", 2, "dog", 160_000)
    assert (onset.epoch, onset.onset_sample, onset.onset_time) == (gate.epoch, gate.onset_sample, gate.onset_time)
    assert not outbox.settle()
    clock.now_s += 1.0
    assert outbox.settle()
    assert not outbox.settle()
    _, offset = told(outbox)
    assert (offset.phase, offset.heard_by, offset.reason) == ("offset", ("gate", "barn"), None)
    assert (offset.event_id, offset.onset_sample, offset.offset_sample) == (onset.event_id, 160_000, 196_800)
    assert offset.offset_time == at(12.3)
    assert (offset.score_peak, offset.score_mean, offset.level_db) == (0.99, 0.75, -12.0)
    assert offset.delay_ms is None
    for stream, onset_s in (("gate", 10.0), ("barn", 10.3)):
        assert [(event.phase, event.onset_time, event.heard_by) for event in told(outbox, stream)] == [
            ("onset", at(onset_s), None),
            ("offset", at(onset_s), None),
        ]


def test_one_stream_alone_gives_its_own_extent(outbox):
    gate = sound("gate", 1.0001, 2.00007)
    hear(outbox, *gate)
    outbox.settle(is_last=True)
    onset, offset = told(outbox)
    same = {
        "epoch",
        "onset_sample",
        "offset_sample",
        "onset_time",
        "offset_time",
        "score_peak",
        "score_mean",
        "level_db",
    }
    for alone, fused in zip(gate, (onset, offset), strict=True):
        assert fused.model_dump(include=same) == alone.model_dump(include=same)
        assert fused.heard_by == ("gate",)


def test_who_hears_it_first_in_one_transaction_is_the_first(outbox):
    hear(outbox, begins("barn", 5.2), begins("gate", 5.0), begins("shed", 5.1))
    (onset,) = told(outbox)
    assert onset.heard_by == ("gate", "shed", "barn")
    assert onset.onset_time == at(5.0)


def test_who_heard_it_first_but_told_later_is_named_first_in_the_end(outbox):
    hear(outbox, *sound("barn", 5.2, 6.0))
    hear(outbox, *sound("gate", 5.0, 6.0))
    outbox.settle(is_last=True)
    onset, offset = told(outbox)
    assert (onset.heard_by, offset.heard_by) == (("barn",), ("gate", "barn"))
    assert offset.onset_time == at(5.2)


@pytest.mark.parametrize(("begin_s", "n_events"), [(4.0, 1), (3.99, 2), (7.0, 1), (7.01, 2), (5.5, 1)])
def test_what_is_within_the_window_of_the_span_joins(outbox, begin_s, n_events):
    hear(outbox, *sound("gate", 5.0, 6.0))
    hear(outbox, *sound("barn", begin_s, begin_s + 0.1))
    outbox.settle(is_last=True)
    assert len(check_in_turn(told(outbox))) == n_events


def test_while_one_is_open_all_join(outbox):
    hear(outbox, begins("gate", 5.0))
    for begin_s in (20, 40, 60):
        hear(outbox, *sound("barn", begin_s, begin_s + 1))
    hear(outbox, ends(begins("gate", 5.0), 61.5))
    outbox.settle(is_last=True)
    (offset,) = check_in_turn(told(outbox))
    assert (offset.heard_by, offset.offset_time) == (("gate", "barn"), at(61.5))


def test_labels_and_streams_without_a_zone_are_left_alone(outbox):
    hear(outbox, begins("gate", 5.0), begins("barn", 5.0, "cat"), begins("cellar", 5.0))
    assert {(event.label, event.heard_by) for event in told(outbox)} == {("dog", ("gate",)), ("cat", ("barn",))}


def test_the_next_sound_does_not_wait_for_the_clock(outbox):
    """Catching up, a stream has much to tell at once."""
    hear(outbox, *(event for n in range(20) for event in sound("gate", 10 * n, 10 * n + 1)))
    assert [event.onset_time for event in told(outbox)[::2]] == [at(10 * n) for n in range(20)]
    assert len(told(outbox)) == 39


def test_what_comes_too_late_waits_until_the_other_is_told(outbox, clock):
    live = begins("gate", 100.0)
    hear(outbox, live)
    hear(outbox, *sound("barn", 50.0, 51.0))
    assert len(told(outbox)) == 1
    hear(outbox, ends(live, 102.0))
    clock.now_s += 1.0
    assert outbox.settle()
    clock.now_s += 1.0
    outbox.settle()
    offsets = check_in_turn(told(outbox))
    assert [(event.heard_by, event.onset_time) for event in offsets] == [(("gate",), at(100)), (("barn",), at(50))]


def test_what_waits_is_bounded(outbox):
    live = begins("gate", 1000.0)
    hear(outbox, live)
    for n in range(3 * MOST_SOUNDS):
        hear(outbox, *sound("barn", 10.0 * n, 10.0 * n + 1))
    hear(outbox, ends(live, 1001.0))
    outbox.settle(is_last=True)
    offsets = check_in_turn(told(outbox))
    assert len(offsets) == MOST_SOUNDS
    assert max(event.offset_time for event in offsets[1:]) == at(10.0 * (3 * MOST_SOUNDS - 1) + 1)


@pytest.mark.parametrize(("dead_s", "reason"), [(20.0, "interrupted"), (8.0, None), (9.0, None)])
def test_a_reason_is_that_of_who_heard_it_last(outbox, dead_s, reason):
    hear(outbox, begins("gate", 5.0), begins("barn", 5.0))
    hear(outbox, ends(begins("gate", 5.0), 9.0))
    hear(outbox, ends(begins("barn", 5.0), dead_s, reason="interrupted"))
    outbox.settle(is_last=True)
    assert check_in_turn(told(outbox))[0].reason == reason


def test_a_commit_that_is_refused_changes_nothing(outbox):
    hear(outbox, begins("gate", 5.0))
    assert outbox.commit([StreamCommit("barn", 7, None, [begins("barn", 5.0)])]) == {"barn"}
    hear(outbox, ends(begins("gate", 5.0), 6.0))
    outbox.settle(is_last=True)
    assert check_in_turn(told(outbox))[0].heard_by == ("gate",)


def test_a_transaction_that_fails_changes_nothing(outbox):
    hear(outbox, begins("gate", 5.0))
    (pages,) = outbox._connection.execute("PRAGMA page_count").fetchone()
    outbox._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [event for n in range(50) for event in sound("gate", 10 + 10 * n, 11 + 10 * n)]
    rest = [ends(begins("gate", 5.0), 6.0), *many]
    with pytest.raises(OutboxFullError):
        hear(outbox, *rest)
    assert len(told(outbox)) == 1
    outbox._connection.execute("PRAGMA max_page_count = 100000")
    hear(outbox, *rest)
    outbox.settle(is_last=True)
    assert len(check_in_turn(told(outbox))) == 51


def test_the_next_start_settles_what_an_engine_left(open_outbox, clock):
    left = open_outbox()
    hear(left, *sound("gate", 5.0, 6.0))
    left.close()
    clock.now_s += 60
    again = open_outbox()
    assert again.settle()
    assert len(check_in_turn(told(again))) == 1


def test_a_clock_that_began_anew_holds_nothing_open(outbox, clock):
    hear(outbox, *sound("gate", 5.0, 6.0))
    clock.now_s = 3.0
    assert outbox.settle()
    assert len(check_in_turn(told(outbox))) == 1


@pytest.mark.parametrize("zones", [{}, {"yard": ("barn",)}, {"garden": ("barn", "gate")}])
@pytest.mark.parametrize("first_call", ["settle", "commit"])
def test_who_is_no_longer_in_the_zone_lets_go_of_its_event(open_outbox, clock, zones, first_call):
    before, onset = open_outbox(), begins("gate", 5.0)
    point = Checkpoint(epoch=2, decided_sample=128_000, row_start=0, bundle="m", state=b"")
    assert not before.commit([StreamCommit("gate", 0, point, [onset])])
    before.close()
    after = open_outbox(zones)
    if first_call == "commit":
        after.commit([StreamCommit("gate", 1, None, [ends(onset, 9.0)])])
    after.settle()
    clock.now_s += 1.0
    after.settle()
    (offset,) = check_in_turn(told(after))
    assert (offset.offset_time, offset.reason) == (at(8.0), "interrupted")
    assert told(after, "garden") == []


def test_an_event_that_began_before_its_stream_was_in_the_zone_is_not_the_zones(open_outbox):
    before, after = open_outbox({}), open_outbox()
    hear(before, begins("gate", 5.0))
    hear(after, ends(begins("gate", 5.0), 6.0))
    after.settle(is_last=True)
    assert told(after) == []


# Any order of commits.

INTERVALS = st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 5000)), max_size=5)


def _lay_out(stream, intervals):
    """One stream's events: pauses and lengths in milliseconds."""
    events, now_ms = [], 0
    for pause_ms, length_ms in intervals:
        begin_ms = now_ms + pause_ms
        now_ms = begin_ms + length_ms
        events += sound(stream, begin_ms / 1000, now_ms / 1000)
    return events


@given(st.tuples(INTERVALS, INTERVALS, INTERVALS), st.randoms(use_true_random=True))
@settings(max_examples=30, deadline=None)
def test_whatever_order_shards_commit_in_events_come_in_turn_and_none_is_lost(laid_out, chance):
    queues = [_lay_out(stream, intervals) for stream, intervals in zip(ZONES["yard"], laid_out, strict=True)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        shards = [Outbox(Path(folder) / "o.db", zones=ZONES, fusion_ms=1000, clock=clock) for _ in range(2)]
        for events in interleave(queues, chance):
            clock.now_s += chance.choice([0.0, 0.1, 2.0])
            if chance.random() < 0.3:
                chance.choice(shards).settle()
            hear(chance.choice(shards), *events)
        shards[0].settle(is_last=True)
        offsets = check_in_turn(told(shards[0]))
        assert shards[0]._connection.execute("SELECT count(*) FROM fusions").fetchone() == (0,)
        for shard in shards:
            shard.close()
    singles = [event for queue in queues for event in queue if event.phase == "offset"]
    assert len(offsets) <= len(singles)
    for single in singles:
        assert any(single.stream in fused.heard_by and single.offset_time <= fused.offset_time for fused in offsets)
    assert {stream for fused in offsets for stream in fused.heard_by} == {single.stream for single in singles}


STREAMS_OF_A_SOUND = st.dictionaries(
    st.sampled_from(ZONES["yard"]), st.tuples(st.floats(0, 0.9), st.floats(0.1, 20)), min_size=1
)


@given(st.lists(STREAMS_OF_A_SOUND, min_size=1, max_size=4), st.randoms(use_true_random=True))
@settings(max_examples=30, deadline=None)
def test_sounds_that_are_apart_do_not_depend_on_which_shard_was_first(clusters, chance):
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "o.db", zones=ZONES, fusion_ms=1000, clock=Clock())
        expected = []
        for number, streams in enumerate(clusters):
            start_s = 100.0 * number
            heard = [sound(name, start_s + on, start_s + on + length) for name, (on, length) in streams.items()]
            for events in interleave(heard, chance):
                hear(outbox, *events)
            by_onset = sorted((onset for onset, _ in heard), key=lambda event: (event.onset_time, event.stream))
            last = max(offset.offset_time for _, offset in heard)
            expected.append((tuple(onset.stream for onset in by_onset), last))
        outbox.settle(is_last=True)
        offsets = check_in_turn(told(outbox))
        outbox.close()
    assert [fused.heard_by for fused in offsets] == [streams for streams, _ in expected]
    for fused, (_, last) in zip(offsets, expected, strict=True):
        assert abs((fused.offset_time - last).total_seconds()) <= 1 / 16_000


# Crashes, and shards at work at once.

_CHILD = """
import sys
from pathlib import Path
from earmark.outbox import Outbox, StreamCommit
from tests.outbox.hearing import ZONES, script
outbox = Outbox(Path(sys.argv[1]), zones=ZONES, fusion_ms=1000, clock=lambda: 0)
print("ready", flush=True)
for stream, number, events in script():
    if outbox.load(stream).revision == number:
        assert not outbox.commit([StreamCommit(stream, number, None, events)])
        print("committed", flush=True)
outbox.settle(is_last=True)
"""


def _essence(events):
    return [event.model_dump(exclude={"seq", "decided_at", "delay_ms"}) for event in events]


def test_killed_between_any_two_commits_nothing_is_lost_or_told_twice(tmp_path):
    chance = random.Random()  # noqa: S311 -- no secret
    whole = Outbox(tmp_path / "whole.db", zones=ZONES, fusion_ms=1000, clock=lambda: 0)
    for _, _, events in script():
        hear(whole, *events)
    whole.settle(is_last=True)
    path = tmp_path / "killed.db"
    for n_lives in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        )
        n_commits = chance.randint(1, 120) if n_lives < 5 else 10**9
        for _ in range(n_commits):
            if not child.stdout.readline():
                break
        else:
            child.kill()
        code = child.wait(DEADLINE_S)
        child.stdout.close()
    assert code == 0
    killed = Outbox(path)
    for stream in ("yard", *ZONES["yard"]):
        assert _essence(told(killed, stream)) == _essence(told(whole, stream))
    assert len(check_in_turn(told(killed))) == 150
    killed.close()
    whole.close()


def test_shards_that_commit_at_once_share_one_event(tmp_path):
    path, n_sounds = tmp_path / "o.db", 60
    together = threading.Barrier(len(ZONES["yard"]))
    failures = []

    def run(stream):
        try:
            outbox = Outbox(path, zones=ZONES, fusion_ms=1000, clock=lambda: 0)
            for n in range(n_sounds):
                onset = begins(stream, 10 * n + ZONES["yard"].index(stream) / 10)
                together.wait(DEADLINE_S)
                hear(outbox, onset)
                outbox.settle()
                hear(outbox, ends(onset, 10 * n + 2))
            outbox.close()
        except BaseException as error:
            failures.append(error)
            together.abort()
            raise

    threads = [threading.Thread(target=run, args=(stream,)) for stream in ZONES["yard"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    outbox = Outbox(path, zones=ZONES, fusion_ms=1000)
    outbox.settle(is_last=True)
    offsets = check_in_turn(told(outbox))
    assert [event.heard_by for event in offsets] == [ZONES["yard"]] * n_sounds
    outbox.close()
