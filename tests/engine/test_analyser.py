"""The whole engine without its sockets."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from earmark.contracts.bundle import load_bundle
from earmark.contracts.clock import SampleClock
from earmark.contracts.streams import AudioBlock, GapReason
from earmark.outbox import StoredStream
from earmark.telemetry.metrics import GAP_SAMPLES, REGISTRY
from engine.analyser import Analyser
from engine.coverage import Coverage
from engine.runtimes.onnxruntime import OnnxRuntime
from streamer.feed import Feed
from streamer.ring import Ring
from tests.support.audio import tones
from tests.support.simulation import (
    RATE_HZ,
    Engine,
    essence,
    make_records,
    run_disturbed,
    run_undisturbed,
    stored_events,
)
from tests.support.tiny_bundle import write_tiny_bundle

HOP = 640


def of(events, phase="offset"):
    return [event for event in events if event.phase == phase]


@given(blocks=st.lists(st.integers(1, 9000), min_size=1, max_size=3), seed=st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_chunking_never_changes_events(tiny_bundle, tmp_path_factory, blocks, seed):
    folder = tmp_path_factory.mktemp("chunks")
    pcm = tones(seed, 12)
    runs = [
        essence(run_undisturbed(tiny_bundle, folder / f"{block}.db", make_records(pcm, block=block)))
        for block in {1000, *blocks}
    ]
    assert len(runs[0]) > 20
    assert all(run == runs[0] for run in runs)


def test_many_streams_equal_each_alone(tiny_bundle, tmp_path):
    records = {name: make_records(tones(seed, 8), stream=name) for seed, name in enumerate(["a", "b", "c", "d", "e"])}
    together = Engine(tiny_bundle, tmp_path / "together.db")
    for index in range(max(map(len, records.values()))):
        for own in records.values():
            if index < len(own):
                together.deliver(own[index])
        together.commit()
    together.die()
    alone = [
        event for name, own in records.items() for event in run_undisturbed(tiny_bundle, tmp_path / f"{name}.db", own)
    ]
    assert essence(stored_events(tmp_path / "together.db")) == essence(alone)


@given(seed=st.integers(0, 10_000), block=st.sampled_from([320, 1000, 4096]), with_gaps=st.booleans())
@settings(max_examples=25, deadline=None)
def test_killed_and_replayed_equals_uninterrupted(tiny_bundle, tmp_path_factory, seed, block, with_gaps):
    folder = tmp_path_factory.mktemp("crashes")
    rng = np.random.default_rng(seed)
    pcm = tones(seed, 20)
    gaps = []
    if with_gaps:
        starts = np.sort(rng.choice(np.arange(1, 19), 4, replace=False)) * RATE_HZ
        gaps = [(int(at + rng.integers(0, 5000)), int(rng.integers(1, 11_000))) for at in starts]
    records = make_records(pcm, block=block, gaps=gaps)
    options = {"checkpoint_s": 0.5, "max_fill_s": 0.3}
    expected = run_undisturbed(tiny_bundle, folder / "reference.db", records, **options)
    got = run_disturbed(tiny_bundle, folder / "crashed.db", records, rng, crashes=8, **options)
    assert len(expected) > 20
    assert essence(got) == essence(expected)


@given(seed=st.integers(0, 100_000), max_lag_s=st.sampled_from([None, 6.0]))
@example(seed=268, max_lag_s=6.0)  # streams far behind, while others fill their buffers
@settings(max_examples=30, deadline=None)
def test_records_taken_together_equal_those_taken_one_by_one(tiny_bundle, tmp_path_factory, seed, max_lag_s):
    """Of several streams at once, with gaps, losses, repeats, foreign rates, new epochs and streams far behind."""
    folder = tmp_path_factory.mktemp("together")
    rng = np.random.default_rng(seed)
    waiting = []
    for stream in ("a", "b", "c"):
        gaps = [(int(at), int(rng.integers(1, 12_000))) for at in (20_000, 50_000) if rng.random() < 0.5]
        block = int(rng.choice([320, 640, 1000, 5000]))
        records = make_records(tones(seed % 5, 6), stream=stream, block=block, gaps=gaps)
        records += make_records(tones(seed % 7, 2), stream=stream, epoch=8, block=block)
        for record in records:
            record.can_wait = bool(rng.random() < 0.5)
            record.newest_sample += int(rng.choice([0, 10 * RATE_HZ], p=[0.99, 0.01]))
            if rng.random() < 0.01:
                record.sample_rate_hz = 44_100
        waiting.append([record for record in records for _ in range(rng.choice([0, 1, 2], p=[0.004, 0.98, 0.016]))])
    together, alone = (Engine(tiny_bundle, folder / name, max_lag_s=max_lag_s) for name in ("together.db", "alone.db"))
    while any(waiting):
        arriving = []
        for own in waiting:
            n_now = int(rng.integers(0, 30))
            arriving += own[:n_now]
            del own[:n_now]
        if not arriving:
            continue
        together.deliver_together(arriving)
        for record in arriving:
            alone.deliver(record)
        for name, stream in alone.analyser.streams.items():
            other = together.analyser.streams[name]
            assert (other.epoch, other.needed, other.gap_start) == (stream.epoch, stream.needed, stream.gap_start)
            assert (other.resend_from, other.end) == (stream.resend_from, stream.end)
        if rng.random() < 0.6:
            together.commit()
            alone.commit()
            assert together.keep == alone.keep
    events = [essence(stored_events(folder / name)) for name in ("together.db", "alone.db")]
    assert events[0] == events[1]


def test_records_that_repeat_or_skip_are_refused_and_asked_for(tiny_bundle, tmp_path):
    engine = Engine(tiny_bundle, tmp_path / "outbox.db")
    records = make_records(tones(0, 2))
    assert [engine.deliver(record) for record in (records[0], records[0], records[1])] == [None, "repeated", None]
    assert engine.deliver(records[4]) == "hole"
    assert engine.analyser.streams["gate"].resend_from == 2000
    assert engine.deliver(records[2]) is None
    assert engine.analyser.streams["gate"].resend_from == -1


def test_another_sample_rate_is_refused(tiny_bundle, tmp_path):
    engine = Engine(tiny_bundle, tmp_path / "outbox.db")
    record = make_records(tones(0, 1))[0]
    record.sample_rate_hz = 44_100
    assert engine.deliver(record) == "sample_rate"


def test_a_dead_epoch_is_refused_and_its_end_is_known(tiny_bundle, tmp_path):
    records = make_records(tones(0, 3))
    run_undisturbed(tiny_bundle, tmp_path / "outbox.db", records)
    engine = Engine(tiny_bundle, tmp_path / "outbox.db")
    assert engine.deliver(records[3]) == "dead_epoch"
    assert engine.keep["gate"] == 3 * RATE_HZ


def test_the_end_closes_what_is_open(tiny_bundle, tmp_path):
    tone = np.round(6000 * np.sin(2 * np.pi * 900 * np.arange(RATE_HZ * 2) / RATE_HZ)).astype(np.int16)
    events = run_undisturbed(tiny_bundle, tmp_path / "outbox.db", make_records(tone))
    (offset,) = of(events)
    assert (offset.label, offset.reason, offset.offset_sample) == ("mid", "end", 2 * RATE_HZ)
    assert (offset.offset_time - offset.onset_time).total_seconds() == pytest.approx(
        (offset.offset_sample - offset.onset_sample) / RATE_HZ, abs=1e-6
    )


def long_tone(seconds):
    return np.round(6000 * np.sin(2 * np.pi * 900 * np.arange(round(RATE_HZ * seconds)) / RATE_HZ)).astype(np.int16)


@pytest.mark.parametrize("rest", [1, 700, 3_000])
def test_the_rest_of_a_gap_that_was_too_long_is_no_silence(tiny_bundle, tmp_path, rest):
    """A gap that comes in two parts, the first of which was too long already, is what it is in one."""
    pcm = tones(3, 6)
    whole, parts = (
        run_undisturbed(tiny_bundle, tmp_path / f"{len(gaps)}.db", make_records(pcm, gaps=gaps), max_fill_s=0.3)
        for gaps in ([(30_000, 9_000 + rest)], [(30_000, 9_000), (39_000, rest)])
    )
    assert len(whole) > 10
    assert essence(parts) == essence(whole)


@pytest.mark.parametrize("cuts", [[(16_000, 8_800)], [(16_000, 4_400), (20_400, 4_400)]])
def test_a_long_gap_ends_events_and_touching_gaps_are_one(tiny_bundle, tmp_path, cuts):
    events = run_undisturbed(tiny_bundle, tmp_path / "o.db", make_records(long_tone(4), gaps=cuts), max_fill_s=0.5)
    first, second = of(events)
    assert (first.reason, second.reason) == ("gap", "end")
    assert 15_360 <= first.offset_sample <= 16_000
    assert second.onset_sample >= 24_800


@pytest.mark.parametrize("cuts", [[(16_100, 9_333)], [(16_100, 8_801), (24_901, 533), (25_434, 7)]])
def test_a_gap_is_counted_with_the_hops_that_it_cuts(tiny_bundle, tmp_path, cuts):
    """Nobody analyses a part of a hop: what came is either analysed or counted as lost, to the sample."""
    engine = Engine(tiny_bundle, tmp_path / "o.db")
    lost = GAP_SAMPLES.labels("cut", GapReason.DEVICE.name.lower())
    *records, _end = make_records(long_tone(4), stream="cut", gaps=cuts)
    for record in records:
        engine.deliver(record)
    engine.analyser.advance()
    analysed = engine.analyser.measure("cut", Coverage(RATE_HZ, 0.0), 0.0)
    assert analysed + lost._value.get() == 4 * RATE_HZ
    lost.reset()


def test_a_short_gap_is_silence_and_time_goes_on(tiny_bundle, tmp_path):
    events = run_undisturbed(tiny_bundle, tmp_path / "o.db", make_records(long_tone(4), gaps=[(16_000, 1_600)]))
    (offset,) = of(events)
    assert offset.reason == "end"
    assert offset.offset_sample == 4 * RATE_HZ


def test_a_new_epoch_ends_the_old_one_for_good(tiny_bundle, tmp_path):
    engine = Engine(tiny_bundle, tmp_path / "o.db")
    for record in make_records(long_tone(2), epoch=1)[:-1]:
        engine.deliver(record)
    assert engine.deliver(make_records(long_tone(2), epoch=2)[0]) is None
    engine.commit()
    (offset,) = of(stored_events(tmp_path / "o.db"))
    assert (offset.reason, offset.offset_sample, offset.epoch) == ("interrupted", 2 * RATE_HZ, f"{1:016x}")
    assert engine.deliver(make_records(long_tone(2), epoch=1)[0]) == "dead_epoch"


def test_another_bundle_ends_what_is_open(tiny_bundle, tmp_path):
    records = make_records(long_tone(4))
    engine = Engine(tiny_bundle, tmp_path / "o.db", checkpoint_s=0.1)
    for record in records[:32]:
        engine.deliver(record)
    engine.commit()
    engine.die()
    other = load_bundle(write_tiny_bundle(tmp_path / "other", version="2", labels=["a", "b", "c", "d"]))
    engine = Engine(other, tmp_path / "o.db")
    for record in records:
        engine.deliver(record)
    engine.commit()
    old, new = of(stored_events(tmp_path / "o.db"))
    assert (old.label, old.reason, old.offset_sample) == ("mid", "model_changed", 32_000)
    assert (new.label, new.reason) == ("b", "end")
    assert new.onset_sample >= 32_000
    assert old.model.startswith("tiny@1+")
    assert new.model.startswith("tiny@2+")


def test_silence_of_the_source_ends_what_is_open(tiny_bundle, tmp_path):
    engine = Engine(tiny_bundle, tmp_path / "o.db")
    records = make_records(long_tone(4))
    for record in records[:20]:
        engine.deliver(record)
    engine.analyser.interrupt("gate")
    engine.commit()
    (offset,) = of(stored_events(tmp_path / "o.db"))
    assert offset.reason == "interrupted"
    engine.analyser.drop("gate")
    for record in records[20:]:
        engine.deliver(record)
    engine.commit()
    assert [event.reason for event in of(stored_events(tmp_path / "o.db"))] == ["interrupted", "end"]


def test_what_was_decided_is_never_decided_again(tiny_bundle, tmp_path):
    """An engine starts again, hears one block, and then nothing for as long as the ring holds."""
    records = make_records(tones(2, 12))
    first = Engine(tiny_bundle, tmp_path / "o.db", checkpoint_s=0.1)
    for record in records[:100]:
        first.deliver(record)
        first.commit()
    decided = first.outbox.load("gate").checkpoint.decided_sample
    first.die()
    second = Engine(tiny_bundle, tmp_path / "o.db", checkpoint_s=0.1)
    second.deliver(records[100])
    second.analyser.interrupt("gate")
    second.commit()
    assert second.outbox.load("gate").checkpoint.decided_sample >= decided
    second.analyser.drop("gate")
    for record in records:
        second.deliver(record)
    second.commit()
    ids = [(event.event_id, event.phase) for event in stored_events(tmp_path / "o.db")]
    assert len(ids) == len(set(ids)) > 20


def test_a_replay_that_the_ring_lost_and_a_gap_behind_it_end_what_is_open(tiny_bundle, tmp_path):
    records = make_records(long_tone(4))
    first = Engine(tiny_bundle, tmp_path / "o.db", checkpoint_s=0.1)
    for record in records[:32]:
        first.deliver(record)
    first.commit()
    checkpoint = first.outbox.load("gate").checkpoint
    first.die()
    second = Engine(tiny_bundle, tmp_path / "o.db")
    template = make_records(long_tone(4), gaps=[(16_000, 1_600)])[16]
    for at, n_samples in ((checkpoint.row_start, checkpoint.decided_sample - checkpoint.row_start), (32_000, 160_000)):
        second.deliver(
            dataclasses.replace(template, first_sample=at, n_samples=n_samples, newest_sample=at + n_samples)
        )
    second.commit()
    (offset,) = of(stored_events(tmp_path / "o.db"))
    assert (offset.label, offset.reason, offset.offset_sample) == ("mid", "gap", 32_000)


def test_what_is_counted_is_never_negative(tiny_bundle, tmp_path):
    """Silence for a gap waits for the rest of its hop, while the count of what was heard is asked for."""
    engine = Engine(tiny_bundle, tmp_path / "o.db")
    coverage = Coverage(RATE_HZ, 0.0)
    counts = []
    for record in make_records(long_tone(2), block=320, gaps=[(640, 200), (1_500, 300)]):
        engine.deliver(record)
        engine.analyser.advance()
        counts.append(engine.analyser.measure("gate", coverage, 1.0))
    assert min(counts) == 0
    assert sum(counts) == 2 * RATE_HZ - 500


def test_a_device_that_was_away_while_the_engine_was_restarted_is_not_taken_for_a_lag(tiny_bundle, tmp_path):
    """The ring's head lies far ahead then, but there is hardly any audio to catch up with: nothing may be skipped."""
    ring = Ring(60 * RATE_HZ)
    feed = Feed("cam", 7, ring, SampleClock(RATE_HZ), sample_rate_hz=RATE_HZ, can_wait=False)
    first = Engine(tiny_bundle, tmp_path / "o.db", max_lag_s=10.0)

    def pump(engine):
        while (record := feed.next_record()) is not None:
            if engine.deliver(record) is not None:
                feed.take(engine.analyser.ack(engine.analyser.streams["cam"]))
            engine.commit()
            feed.take(engine.analyser.ack(engine.analyser.streams["cam"]))

    ring.append(long_tone(20))
    pump(first)
    first.die()
    second = Engine(tiny_bundle, tmp_path / "o.db", max_lag_s=10.0)
    ring.append_gap(100 * RATE_HZ, GapReason.DEVICE)
    ring.append(long_tone(1))
    counters = [GAP_SAMPLES.labels("cam", reason)._value for reason in ("device", "shed")]
    before = [counter.get() for counter in counters]
    pump(second)
    device, shed = (counter.get() - old for counter, old in zip(counters, before, strict=True))
    assert shed == 0
    assert 100 * RATE_HZ <= device < 100 * RATE_HZ + 2 * HOP, "and the parts of output hops on either side"
    assert second.analyser.streams["cam"].needed == 121 * RATE_HZ


def test_a_stream_that_is_taken_up_late_is_not_shed(tiny_bundle, tmp_path):
    """Its ring holds 5 s of an hour: what is lost counts once, what is there is analysed."""
    engine = Engine(tiny_bundle, tmp_path / "o.db", max_lag_s=10.0)
    hour = 3600 * RATE_HZ
    records = make_records(long_tone(5), stream="late")
    for record in records:
        record.first_sample += hour
        record.newest_sample, record.can_wait = hour + 5 * RATE_HZ, False
    assert engine.deliver(records[0]) == "hole"
    assert engine.analyser.streams["late"].resend_from == 0
    gap = make_records(long_tone(1), stream="late", gaps=[(0, 1_600)])[0]
    engine.deliver(dataclasses.replace(gap, n_samples=hour, newest_sample=hour + 5 * RATE_HZ, can_wait=False))
    for record in records:
        assert engine.deliver(record) is None
    engine.analyser.advance()
    coverage = Coverage(RATE_HZ, 0.0)
    assert engine.analyser.measure("late", coverage, 5.0) == 5 * RATE_HZ
    assert coverage.ratio(5.0) == pytest.approx(5 / (5 + 59 * 60))  # of the last hour


def test_two_engines_never_both_decide(tiny_bundle, tmp_path):
    records = make_records(tones(3, 10))
    sleeper, heir = Engine(tiny_bundle, tmp_path / "o.db"), Engine(tiny_bundle, tmp_path / "o.db")
    for record in records[:40]:
        sleeper.deliver(record)
    sleeper.analyser.mark("gate")
    assert sleeper.commit() == set()
    for record in records:
        heir.deliver(record)
        heir.commit()
    for record in records[40:80]:
        sleeper.deliver(record)
    sleeper.analyser.mark("gate")
    assert sleeper.commit() == {"gate"}
    expected = run_undisturbed(tiny_bundle, tmp_path / "reference.db", records)
    assert essence(stored_events(tmp_path / "o.db")) == essence(expected)


def test_one_streams_refusal_never_rolls_back_others(tiny_bundle, tmp_path):
    sleeper, heir = Engine(tiny_bundle, tmp_path / "o.db"), Engine(tiny_bundle, tmp_path / "o.db")
    for engine in (sleeper, heir):
        for record in make_records(tones(3, 4), stream="taken")[:-1]:
            engine.deliver(record)
        engine.analyser.mark("taken")
    for record in make_records(tones(4, 4), stream="mine"):
        sleeper.deliver(record)
    assert heir.commit() == set()
    assert sleeper.commit() == {"taken"}
    assert {event.stream for event in stored_events(tmp_path / "o.db")} == {"taken", "mine"}


def test_overload_skips_whole_stretches_with_exact_counts(tiny_bundle, tmp_path):
    engine = Engine(tiny_bundle, tmp_path / "o.db", max_lag_s=6.0, checkpoint_s=0.1)
    records = make_records(long_tone(20), stream="busy")
    for record in records:
        record.can_wait, record.newest_sample = False, 0
    for record in records[:32]:
        engine.deliver(record)
    engine.commit()
    records[32].newest_sample = 15 * RATE_HZ
    engine.deliver(records[32])
    stream = engine.analyser.streams["busy"]
    target = stream.needed
    assert 12 * RATE_HZ <= target <= 15 * RATE_HZ
    assert stream.resend_from == target
    lost = GAP_SAMPLES.labels("busy", GapReason.SHED.name.lower())._value.get()
    heard = 51 * HOP  # whole hops of the 33 records that came
    assert lost == target - heard
    for record in records[33:]:
        engine.deliver(record)
    engine.commit()
    first, second = of(stored_events(tmp_path / "o.db"))
    assert (first.reason, first.offset_sample, second.reason) == ("gap", heard, "end")
    assert second.onset_sample >= target


def test_nothing_is_asked_for_before_what_is_kept(tiny_bundle, tmp_path):
    """A row's start is what `keep_sample` follows: a window back at most, and moving on."""
    engine = Engine(tiny_bundle, tmp_path / "o.db", checkpoint_s=0.5)
    keeps = []
    for record in make_records(tones(5, 20))[:-1]:
        engine.deliver(record)
        engine.commit()
        stream = engine.analyser.streams["gate"]
        keeps.append(stream.keep_sample)
        assert stream.needed - stream.keep_sample <= (3 + 1 + 0.5 + 0.2) * RATE_HZ
    assert keeps == sorted(keeps)
    assert len(set(keeps)) > 5


def test_a_score_is_a_function_of_the_audio_since_its_row_began(tiny_bundle):
    """The same audio, heard from any earlier point, has the same scores once the rows began at the same place."""
    pcm = tones(6, 12)

    def scores_from(first):
        parts = {}

        def observe(_names, starts, scores, _audio):
            parts.update({int(starts[0]) + HOP * t: scores[0, t] for t in range(scores.shape[1])})

        analyser = Analyser(OnnxRuntime(tiny_bundle))
        analyser.observe(observe)
        stream = analyser.open("gate", 1, StoredStream(0, None))
        stream.needed = first
        analyser._start(stream)
        analyser.accept(AudioBlock("gate", 1, first, 0, RATE_HZ, len(pcm), pcm[first:], can_wait=True), 0.0)
        analyser.advance()
        return parts

    whole, part = scores_from(0), scores_from(50 * HOP)
    settled = 50 * HOP + 4 * RATE_HZ
    later = [sample for sample in whole if sample >= settled]
    np.testing.assert_allclose([part[s] for s in later], [whole[s] for s in later], atol=1e-5)
    assert not np.allclose(part[50 * HOP], whole[50 * HOP], atol=1e-5)


class Faulty(OnnxRuntime):
    """Its scores of a row are NaN from a sample of full scale on, until the row begins afresh."""

    def __init__(self, bundle):
        super().__init__(bundle)
        self.broken = set()

    def reset(self, rows):
        super().reset(rows)
        self.broken -= set(rows.tolist())

    def step(self, rows, audio):
        scores = super().step(rows, audio)
        self.broken |= set(rows[(audio == -1).any(axis=1)].tolist())
        scores[np.isin(rows, list(self.broken))] = np.nan
        return scores


def events_of(analyser, pcm, stream="gate"):
    analyser.open(stream, 7, StoredStream(0, None))
    events = []
    for record in make_records(pcm, stream=stream, block=640):
        analyser.accept(record, 0.0)
        for commit in analyser.collect():
            events += commit.events
            analyser.committed(commit)
    return events


@pytest.mark.parametrize("at_s", [2.0, 2.9, 3.5, 9.0])
def test_a_stream_whose_scores_become_nan_goes_on_with_a_fresh_row(tiny_bundle, at_s):
    """At 2.9 s a second row warms up beside the first one, wherever the stream's grid lies."""
    pcm, restarts = long_tone(12), REGISTRY.get_sample_value
    pcm[round(at_s * RATE_HZ)] = -32768
    before = restarts("earmark_model_restarts_total", {"stream": "gate"}) or 0.0
    with capture_logs() as logs:
        events = events_of(Analyser(Faulty(tiny_bundle)), pcm)
    assert restarts("earmark_model_restarts_total", {"stream": "gate"}) == before + 1
    assert [log["stream"] for log in logs if log["log_level"] == "error"] == ["gate"]
    cut, *_ = [event for event in of(events) if event.reason == "gap"]
    assert at_s - 0.08 <= cut.offset_sample / RATE_HZ <= at_s
    again, *_ = [event for event in of(events, "onset") if event.onset_sample > cut.offset_sample]
    assert at_s <= again.onset_sample / RATE_HZ <= at_s + 1.0
    assert of(events)[-1].reason == "end"


def test_one_streams_nan_leaves_others_alone(tiny_bundle):
    broken, whole = long_tone(6), tones(3, 6)
    broken[3 * RATE_HZ] = -32768
    expected = events_of(Analyser(OnnxRuntime(tiny_bundle)), whole, "whole")
    analyser, events = Analyser(Faulty(tiny_bundle)), []
    for name in ("broken", "whole"):
        analyser.open(name, 7, StoredStream(0, None))
    both = zip(
        make_records(broken, stream="broken", block=640), make_records(whole, stream="whole", block=640), strict=True
    )
    for records in both:
        for record in records:
            analyser.accept(record, 0.0)
        for commit in analyser.collect():
            events += commit.events
            analyser.committed(commit)
    assert essence([event for event in events if event.stream == "whole"]) == essence(expected)
    assert any(event.reason == "gap" for event in events if event.stream == "broken")


def test_a_stream_that_is_never_scored_is_not_covered(tiny_bundle):
    pcm = np.full(10 * RATE_HZ, -32768, np.int16)
    analyser, coverage = Analyser(Faulty(tiny_bundle)), Coverage(RATE_HZ, 0.0)
    analyser.open("gate", 7, StoredStream(0, None))
    with capture_logs() as logs:
        for record in make_records(pcm, block=640)[:-1]:
            analyser.accept(record, 0.0)
            for commit in analyser.collect():
                assert not commit.events
                analyser.committed(commit)
    analyser.measure("gate", coverage, 10.0)
    assert coverage.ratio(10.0) == 0.0
    assert len([log for log in logs if log["log_level"] == "error"]) == 1, "once a minute"
