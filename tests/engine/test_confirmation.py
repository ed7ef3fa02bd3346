"""Onsets that a second network confirms: the rules, whatever the chunks, the batches, the crashes and the gaps."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import OutboxError
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.candidates import close_published, split_candidates
from engine.confirmation import open_confirmation
from engine.detector import Detector
from engine.groups import GroupConfig, with_groups
from engine.judging import ConfirmConfig, plan_judging
from engine.runtimes.judge import Judge
from engine.runtimes.onnxruntime import OnnxRuntime
from tests.engine.test_reload import changed
from tests.support.audio import tones
from tests.support.judge_bundle import write_judge_bundle
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
WINDOW = 9_600
CRASHING = {"checkpoint_s": 0.5, "max_fill_s": 0.3}


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    return str(write_judge_bundle(tmp_path_factory.mktemp("judge")))


@pytest.fixture(scope="module")
def confirm(judge_folder):
    """Of what it is asked about it refuses half, ends some events and confirms some onsets late."""
    return ConfirmConfig(bundle=judge_folder, after_s=0.2, again_s=0.2)


def sounds_of(bundle, pcm):
    """What the smoother decides on: ``(label, onset, decided, offset, ended)``; the last are None where it is open."""
    analyser, told = Analyser(OnnxRuntime(bundle)), []
    analyser._publish = told.append
    stream = analyser.open("gate", 7, StoredStream(0, None))
    for record in make_records(pcm)[:-1]:
        analyser.accept(record, 0.0)
        analyser.advance()
    assert stream.needed == len(pcm)
    sounds = []
    for each in told:
        if each.offset is None:
            sounds.append([each.label, each.onset, each.decided, None, None])
        else:
            next(s for s in sounds if s[0] == each.label and s[3] is None)[3:] = each.offset, each.decided
    return sounds


def expected_events(bundle, pcm, confirm):
    """Extents by the definition, a sound at a time: ``(label, onset, offset, reason)``."""
    judging = plan_judging(bundle, confirm)
    judge, end = Judge(judging.bundle, judging.window), len(pcm) // HOP * HOP
    padded = np.concatenate([np.zeros(WINDOW, np.float32), pcm.astype(np.float32) / 32768])
    events = []
    for label, onset, decided, offset, ended in sounds_of(bundle, pcm):
        begun, at, first, published, confirmed = onset, decided + judging.after, True, None, None
        while first or at < (ended or end + 1):
            at = min(at, end)
            (scores,) = judge(padded[None, at : at + WINDOW])
            if scores[0, judging.bundle.spec.labels.index(label)] >= 0.5:
                if published is None:
                    published = begun if first else max(begun, at - WINDOW)
                confirmed = at
            elif published is not None:
                events.append((label, published, confirmed, None))
                begun, published = confirmed, None
            first = False
            if at == end:
                break
            at += judging.again
        if published is not None:
            events.append((label, published, offset or end, None if offset else "end"))
    return sorted(events)


def extents(events):
    return sorted((e.label, e.onset_sample, e.offset_sample, e.reason) for e in events if e.phase == "offset")


@pytest.mark.parametrize(("after_s", "again_s"), [(0.2, 0.2), (0.0, 0.4), (0.48, 1.0), (0.4, 3.0)])
def test_events_are_those_of_the_rules(tiny_bundle, judge_folder, tmp_path, after_s, again_s):
    confirm = ConfirmConfig(bundle=judge_folder, after_s=after_s, again_s=again_s)
    pcm = tones(3, 12)
    events = run_undisturbed(tiny_bundle, tmp_path / "o.db", make_records(pcm), confirm=confirm)
    expected = expected_events(tiny_bundle, pcm, confirm)
    assert extents(events) == expected
    assert 5 < len(expected) < len(sounds_of(tiny_bundle, pcm))
    assert sorted(e.event_id for e in events if e.phase == "onset") == sorted(
        e.event_id for e in events if e.phase == "offset"
    )


def test_every_rule_is_at_work(tiny_bundle, confirm, tmp_path):
    """Else the other tests would prove little."""
    sounds = {(label, onset): offset for label, onset, _, offset, _ in sounds_of(tiny_bundle, tones(3, 20))}
    events = extents(run_undisturbed(tiny_bundle, tmp_path / "o.db", make_records(tones(3, 20)), confirm=confirm))
    exact = [each for each in events if each[:2] in sounds]
    assert len(sounds) - len(exact) > 10, "some are refused for good"
    assert len(events) - len(exact) > 2, "some are confirmed so late that their onset is not exact"
    assert sum(sounds[label, onset] != offset for label, onset, offset, _ in exact) > 5, "some are ended by the judge"


def test_scores_and_levels_are_those_of_the_event(tiny_bundle, confirm, tmp_path):
    """What is confirmed at once and ends by itself is told as without a judge."""
    records, confirm = make_records(tones(3, 25)), confirm.model_copy(update={"again_s": 3.0})
    plain = {
        (e.event_id, e.offset_sample): (e.score_peak, e.score_mean, e.level_db, e.onset_time, e.offset_time)
        for e in run_undisturbed(tiny_bundle, tmp_path / "plain.db", records)
        if e.phase == "offset"
    }
    judged = run_undisturbed(tiny_bundle, tmp_path / "judged.db", records, confirm=confirm)
    same = [e for e in judged if (e.event_id, e.offset_sample) in plain]
    assert len(same) > 5
    for e in same:
        told = (e.score_peak, e.score_mean, e.level_db, e.onset_time, e.offset_time)
        assert told == plain[e.event_id, e.offset_sample]


@given(blocks=st.lists(st.integers(1, 9000), min_size=1, max_size=3), seed=st.integers(0, 3))
@settings(max_examples=6, deadline=None)
def test_chunking_never_changes_events(tiny_bundle, confirm, tmp_path_factory, blocks, seed):
    folder = tmp_path_factory.mktemp("chunks")
    pcm = tones(seed, 8)
    runs = [
        essence(run_undisturbed(tiny_bundle, folder / f"{block}.db", make_records(pcm, block=block), confirm=confirm))
        for block in {1000, *blocks}
    ]
    assert len(runs[0]) > 10
    assert all(run == runs[0] for run in runs)


@pytest.mark.parametrize("most_questions", [None, 1])
def test_many_streams_equal_each_alone(tiny_bundle, confirm, tmp_path, most_questions):
    """Even where most of them wait for the judge, because it is asked about one at a time."""
    records = {name: make_records(tones(seed, 6), stream=name) for seed, name in enumerate(["a", "b", "c", "d", "e"])}
    together = Engine(tiny_bundle, tmp_path / "together.db", confirm=confirm, most_questions=most_questions)
    for index in range(max(map(len, records.values()))):
        for own in records.values():
            if index < len(own):
                together.deliver(own[index])
        together.commit()
    while together.analyser.streams:
        together.commit()
    together.die()
    alone = [
        event
        for name, own in records.items()
        for event in run_undisturbed(tiny_bundle, tmp_path / f"{name}.db", own, confirm=confirm)
    ]
    assert essence(stored_events(tmp_path / "together.db")) == essence(alone)


def test_a_stream_that_waits_for_the_judge_holds_up_no_other(tiny_bundle, confirm, tmp_path):
    """All hear the same, so all questions are due at once."""
    names = [f"s{i}" for i in range(6)]
    engine = Engine(tiny_bundle, tmp_path / "o.db", confirm=confirm, most_questions=1)
    for name in [*names, "quiet"]:
        for record in make_records(tones(3, 3) if name in names else np.zeros(3 * RATE_HZ, np.int16), stream=name)[:-1]:
            engine.deliver(record)
    positions, n_waiting = [], []
    for _ in range(40):
        engine.commit()
        n_waiting.append(sum(engine.analyser._waits_for_judge(engine.analyser.streams[name].slot) for name in names))
        positions.append(int(engine.analyser._decided[engine.analyser.streams["quiet"].slot]))
    assert positions[0] == 3 * RATE_HZ // HOP * HOP
    assert n_waiting[0] >= 5
    assert engine.analyser.has_questions == (n_waiting[-1] > 0)
    while engine.analyser.has_questions:
        engine.commit()
    slots = [engine.analyser.streams[name].slot for name in names]
    assert set(engine.analyser._decided[slots].tolist()) == {3 * RATE_HZ // HOP * HOP}


@given(
    seed=st.integers(0, 10_000),
    block=st.sampled_from([320, 1000, 4096]),
    with_gaps=st.booleans(),
    most_questions=st.sampled_from([None, 1]),
    again_s=st.sampled_from([0.2, 0.44]),
)
@settings(max_examples=10, deadline=None)
def test_killed_and_replayed_equals_uninterrupted(  # noqa: PLR0917 -- drawn
    tiny_bundle, confirm, tmp_path_factory, seed, block, with_gaps, most_questions, again_s
):
    folder = tmp_path_factory.mktemp("crashes")
    rng = np.random.default_rng(seed)
    pcm = tones(seed, 16)
    gaps = []
    if with_gaps:
        starts = np.sort(rng.choice(np.arange(1, 15), 4, replace=False)) * RATE_HZ
        gaps = [(int(at + rng.integers(0, 5000)), int(rng.integers(1, 11_000))) for at in starts]
    records = make_records(pcm, block=block, gaps=gaps)
    options = {**CRASHING, "confirm": confirm.model_copy(update={"again_s": again_s})}
    expected = run_undisturbed(tiny_bundle, folder / "reference.db", records, **options)
    got = run_disturbed(
        tiny_bundle, folder / "crashed.db", records, rng, crashes=8, most_questions=most_questions, **options
    )
    assert len(expected) > 10
    assert essence(got) == essence(expected)


def test_what_the_judge_refuses_is_counted_once_when_it_is_durable(tiny_bundle, confirm, tmp_path):
    records = make_records(tones(3, 12))
    counted = []
    for name, planned in (("whole", ()), ("crashed", (60, 61, 90, 140))):
        crashes = set(planned)
        engine, counts, i = Engine(tiny_bundle, tmp_path / f"{name}.db", confirm=confirm, checkpoint_s=0.1), [], 0
        while i < len(records):
            engine.deliver(records[i])
            if i in crashes:
                engine.analyser.advance()  # decided, and lost
                crashes.remove(i)
                counts += engine.refused
                engine.die()
                engine, i = Engine(tiny_bundle, tmp_path / f"{name}.db", confirm=confirm, checkpoint_s=0.1), 0
                continue
            engine.commit()
            i += 1
        counts += engine.refused
        engine.die()
        counted.append(sorted(counts))
    verdicts = []
    detector = Detector(tiny_bundle.folder, confirm=confirm)
    detector._analyser.observe_verdicts(lambda _stream, verdict: verdicts.append(verdict))
    detector.feed(tones(3, 12))
    detector.end()
    assert counted[0] == counted[1] == sorted(("gate", each.label) for each in verdicts if each.is_first_refusal)
    assert len(counted[0]) > 5


def test_thresholds_that_change_and_a_crash_after_it(tiny_bundle, confirm, tmp_path):
    records, at = make_records(tones(36, 12)), 100
    for change in ({"onset_threshold": 0.9}, {"offset_threshold": 0.05}, {"min_gap_s": 1.0}):
        smoothing, runs = changed(tiny_bundle, **change), []
        for crash in (None, at + 1, at + 7):
            path = tmp_path / f"{change}-{crash}.db"
            engine = Engine(tiny_bundle, path, confirm=confirm)
            for i, record in enumerate(records):
                if i == at:
                    engine.analyser.set_smoothing(smoothing)
                engine.deliver(record)
                engine.commit()
                if i == crash:
                    engine.die()
                    engine = Engine(tiny_bundle, path, confirm=confirm, smoothing=smoothing)
                    for again in records[: i + 1]:
                        engine.deliver(again)
            engine.die()
            runs.append(essence(stored_events(path)))
        assert runs[0] == runs[1] == runs[2]
        assert len(runs[0]) > 10


# Labels and groups.


def of(events, *labels):
    return [event for event in events if event.label in labels]


def test_labels_that_are_exempt_or_unknown_to_the_judge_pass(tiny_bundle, confirm, tmp_path):
    records = make_records(tones(3, 12))
    plain = run_undisturbed(tiny_bundle, tmp_path / "plain.db", records)
    judged = run_undisturbed(tiny_bundle, tmp_path / "judged.db", records, confirm=confirm)
    other = write_judge_bundle(tmp_path / "other", labels=("low", "mid", "never", "top"))
    exempt = confirm.model_copy(update={"bundle": str(other), "exempt": ("low",)})
    mixed = run_undisturbed(tiny_bundle, tmp_path / "mixed.db", records, confirm=exempt)

    def extent(events):
        return sorted((e.label, e.phase, e.onset_sample, e.offset_sample or 0) for e in events)

    assert extent(of(mixed, "low", "high")) == extent(of(plain, "low", "high")) != extent(of(judged, "low", "high"))
    assert extent(of(mixed, "mid", "top")) == extent(of(judged, "mid", "top")) != extent(of(plain, "mid", "top"))


def test_a_group_is_confirmed_by_any_of_its_members(tiny_bundle, tmp_path):
    grouped = with_groups(
        tiny_bundle, {"ends": GroupConfig(labels=("low", "top")), "all": GroupConfig(labels=("low", "high"))}
    )
    judge = write_judge_bundle(tmp_path / "judge", labels=("low", "mid", "other", "top"))
    spec = load_bundle(judge).spec
    config = ConfirmConfig(bundle=str(judge), after_s=0.2)
    judging = plan_judging(grouped, config)
    assert set(judging.asked) == {"low", "mid", "top", "ends"}, "'high' is unknown to the judge, and so is 'all'"
    for scores, answer in (
        ([[0.4, 0.9, 0.9, 0.49]], (0.49, False)),
        ([[0.5, 0.0, 0.0, 0.1]], (0.5, True)),
        ([[0.1, 0.0, 0.0, 0.6]], (0.6, True)),
    ):
        assert judging.answer("ends", np.float32(scores), 0, 0)[:2] == (pytest.approx(answer[0]), answer[1])
    assert judging.answer("ends", np.float32([[0.1, 0.5, 0.5, 0.47]]), 0, 0).margin == pytest.approx(0.03)
    own = {"smoothing_by_label": {"low": {**spec.smoothing.model_dump(), "onset_threshold": 0.7}}}
    tuned = plan_judging(grouped, ConfirmConfig(bundle=str(write_judge_bundle(tmp_path / "tuned", **own)), after_s=0.2))
    assert tuned.answer("ends", np.float32([[0.6, 0, 0, 0.4]]), 0, 0)[1] is False
    exempt = plan_judging(grouped, config.model_copy(update={"exempt": ("top",)}))
    assert set(exempt.asked) == {"low", "mid"}, "a member that passes lets its group pass"


def test_a_judge_with_states_counts_what_it_hears_after_the_onset(tiny_bundle, tmp_path):
    """Its fresh state hears the whole window; scores of before the onset are of another sound."""
    folder = write_tiny_bundle(tmp_path / "second", name="second", delay_frames=2)
    judging = plan_judging(tiny_bundle, ConfirmConfig(bundle=str(folder), window_s=0.9, after_s=0.2))
    assert judging.window == 22 * HOP
    scores = np.zeros((22, 4), np.float32)
    scores[9, 0] = 0.9
    assert judging.answer("low", scores, 100 * HOP, 107 * HOP)[:2] == (pytest.approx(0.9), True)
    assert judging.answer("low", scores, 100 * HOP, 108 * HOP - 1)[:2] == (pytest.approx(0.9), True)
    assert judging.answer("low", scores, 100 * HOP, 108 * HOP)[:2] == (0.0, False)
    assert judging.answer("low", scores, 100 * HOP, 0)[:2] == (pytest.approx(0.9), True)
    scores[-1, 0] = 0.8
    assert judging.answer("low", scores, 100 * HOP, 500 * HOP)[:2] == (pytest.approx(0.8), True)
    audio = np.random.default_rng(0).normal(0, 0.1, (3, judging.window)).astype(np.float32)
    judge = Judge(judging.bundle, judging.window)
    runtime = OnnxRuntime(judging.bundle)
    runtime.reserve(3)
    np.testing.assert_allclose(judge(audio), runtime.step(np.arange(3, dtype=np.int32), audio), atol=1e-6)
    np.testing.assert_array_equal(judge(audio), judge(audio), "nothing is remembered")


def test_events_with_a_judge_with_states_survive_crashes(tiny_bundle, tmp_path):
    folder = write_tiny_bundle(tmp_path / "second", name="second")
    confirm = ConfirmConfig(bundle=str(folder), window_s=0.9, after_s=0.2, again_s=0.3, threshold=0.97)
    records = make_records(tones(5, 12))
    plain = run_undisturbed(tiny_bundle, tmp_path / "plain.db", records, **CRASHING)
    expected = run_undisturbed(tiny_bundle, tmp_path / "whole.db", records, confirm=confirm, **CRASHING)
    rng = np.random.default_rng(1)
    got = run_disturbed(tiny_bundle, tmp_path / "crashed.db", records, rng, crashes=8, confirm=confirm, **CRASHING)
    assert essence(got) == essence(expected)
    assert 10 < len(expected) < len(plain)


def test_more_windows_than_one_step_takes(judge_folder):
    judge = Judge(load_bundle(judge_folder), WINDOW)
    audio = np.random.default_rng(0).normal(0, 0.01, (21, WINDOW)).astype(np.float32)
    together = judge(audio)
    assert together.shape == (21, 1, 4)
    np.testing.assert_allclose(together, np.concatenate([judge(row[None]) for row in audio]), atol=1e-6)


# Ends.


def tone(seconds, hz=900, level=6000):
    return np.round(level * np.sin(2 * np.pi * hz * np.arange(round(RATE_HZ * seconds)) / RATE_HZ)).astype(np.int16)


def always(tmp_path, *, agrees, **settings):
    """A judge that always agrees, or never."""
    folder = write_judge_bundle(tmp_path / f"judge-{agrees}", bias=30.0 if agrees else -30.0)
    return ConfirmConfig(bundle=str(folder), **{"after_s": 0.4, **settings})


def short_of_a_question(tiny_bundle):
    """Audio that ends between a tone's onset and the first question about it."""
    (sound,) = sounds_of(tiny_bundle, tone(2))
    return tone((sound[2] + 3 * HOP) / RATE_HZ)


@pytest.mark.parametrize("agrees", [True, False])
def test_what_the_judge_was_not_asked_about_is_judged_at_the_end(tiny_bundle, tmp_path, agrees):
    pcm = short_of_a_question(tiny_bundle)
    (plain,) = extents(run_undisturbed(tiny_bundle, tmp_path / "plain.db", make_records(pcm)))
    engine = Engine(tiny_bundle, tmp_path / "o.db", confirm=always(tmp_path, agrees=agrees))
    for record in make_records(pcm):
        engine.deliver(record)
    engine.commit()
    assert engine.refused == ([] if agrees else [("gate", "mid")])
    assert extents(stored_events(tmp_path / "o.db")) == ([plain] if agrees else [])
    assert not engine.analyser.streams


@pytest.mark.parametrize("agrees", [True, False])
def test_and_before_a_long_gap(tiny_bundle, tmp_path, agrees):
    pcm = short_of_a_question(tiny_bundle)
    records = make_records(np.concatenate([pcm, np.zeros(32_000, np.int16)]), gaps=[(len(pcm), 16_000)])
    confirm = always(tmp_path, agrees=agrees)
    events = extents(run_undisturbed(tiny_bundle, tmp_path / "o.db", records, confirm=confirm))
    assert [event[3] for event in events] == (["gap"] if agrees else [])


def test_what_is_interrupted_unconfirmed_is_never_published(tiny_bundle, tmp_path):
    """Whether its audio is still there or not: by a new epoch, by silence, and by another engine after a crash."""
    pcm, confirm = short_of_a_question(tiny_bundle), always(tmp_path, agrees=True)
    for how in ("epoch", "interrupt", "crash"):
        engine = Engine(tiny_bundle, tmp_path / f"{how}.db", confirm=confirm, checkpoint_s=0.01)
        for record in make_records(pcm)[:-1]:
            engine.deliver(record)
        engine.commit()
        if how == "crash":
            engine.die()
            engine = Engine(tiny_bundle, tmp_path / f"{how}.db", confirm=confirm)
            engine.analyser.open("gate", 7, engine.outbox.load("gate"))
        if how == "epoch":
            engine.deliver(make_records(pcm, epoch=8)[0])
        else:
            engine.analyser.interrupt("gate")
        engine.commit()
        engine.die()
        assert stored_events(tmp_path / f"{how}.db") == []


def test_what_is_interrupted_confirmed_ends(tiny_bundle, tmp_path):
    confirm = always(tmp_path, agrees=True)
    engine = Engine(tiny_bundle, tmp_path / "o.db", confirm=confirm)
    for record in make_records(tone(2))[:-1]:
        engine.deliver(record)
    engine.commit()
    engine.deliver(make_records(tone(2), epoch=8)[0])
    engine.commit()
    assert [(e.phase, e.reason) for e in stored_events(tmp_path / "o.db")] == [
        ("onset", None),
        ("offset", "interrupted"),
    ]


def test_an_onset_is_published_when_its_window_has_come_and_not_before(tiny_bundle, tmp_path):
    (sound,) = sounds_of(tiny_bundle, tone(2))
    engine = Engine(tiny_bundle, tmp_path / "o.db", confirm=always(tmp_path, agrees=True), checkpoint_s=0.01)
    came = {}
    for record in make_records(tone(2), block=HOP)[:-1]:
        engine.deliver(record)
        engine.commit()
        came.setdefault(len(stored_events(tmp_path / "o.db")), record.end_sample)
    assert came[1] == sound[2] + 10 * HOP, "after_s after the decision"
    (onset,) = stored_events(tmp_path / "o.db")
    assert onset.onset_sample == sound[1]
    assert onset.delay_ms is not None


def test_another_judge_ends_what_is_open_and_forgets_what_it_was_not_asked(tiny_bundle, tmp_path):
    for pcm, phases in ((tone(3), ["onset", "offset"]), (short_of_a_question(tiny_bundle), [])):
        path = tmp_path / f"{len(pcm)}.db"
        first = Engine(tiny_bundle, path, confirm=always(tmp_path, agrees=True), checkpoint_s=0.01)
        for record in make_records(pcm)[:-1]:
            first.deliver(record)
        first.commit()
        first.die()
        for confirm in (None, always(tmp_path, agrees=False)):
            second = Engine(tiny_bundle, path, confirm=confirm)
            for record in make_records(pcm)[:-1]:
                second.deliver(record)
            second.commit()
            second.die()
            events = stored_events(path)
            assert [event.phase for event in events] == phases
            assert all(event.reason == "model_changed" for event in events if event.phase == "offset")


def test_a_late_confirmation_begins_no_earlier_than_its_window(tiny_bundle, tmp_path):
    """The tone gets louder while it lasts: the judge refuses it first."""
    pcm = np.concatenate([tone(1.2, level=900), tone(1.5, level=16_000)])
    confirm = ConfirmConfig(bundle=str(write_judge_bundle(tmp_path / "judge", bias=9.6)), after_s=0.2, again_s=0.4)
    ((_, onset, decided, _, _),) = sounds_of(tiny_bundle, pcm)
    ((label, begun, _, reason),) = extents(
        run_undisturbed(tiny_bundle, tmp_path / "o.db", make_records(pcm), confirm=confirm)
    )
    questions = [decided + 5 * HOP + n * 10 * HOP for n in range(8)]
    assert (label, reason) == ("mid", "end")
    assert begun in [at - WINDOW for at in questions]
    assert begun > onset


# Checkpoints.


def test_a_checkpoint_without_candidates_is_as_it_was(tiny_bundle, tmp_path, confirm):
    quiet = make_records(np.zeros(2 * RATE_HZ, np.int16))[:-1]
    saved = []
    for name, judge in (("plain", None), ("judged", confirm)):
        engine = Engine(tiny_bundle, tmp_path / f"{name}.db", confirm=judge, checkpoint_s=0.01)
        for record in quiet:
            engine.deliver(record)
        engine.commit()
        saved.append(engine.outbox.load("gate").checkpoint)
        engine.die()
    assert saved[0].state == saved[1].state
    assert saved[0].bundle == tiny_bundle.identity
    assert saved[1].bundle.startswith(f"{tiny_bundle.identity}/judge@1+")


def test_a_damaged_checkpoint_is_refused(tiny_bundle, tmp_path):
    engine = Engine(tiny_bundle, tmp_path / "o.db", confirm=always(tmp_path, agrees=True), checkpoint_s=0.01)
    for record in make_records(tone(2))[:-1]:
        engine.deliver(record)
    engine.commit()
    checkpoint = engine.outbox.load("gate").checkpoint
    candidates, state = split_candidates(checkpoint.state)
    assert [each.label for each in candidates] == ["mid"]
    assert [told.offset for told in close_published(checkpoint.state, 0, 31_360)] == [31_360]
    for damaged in (b"", b"{}", checkpoint.state.replace(b'"onset"', b'"onsat"'), checkpoint.state[:40]):
        with pytest.raises(OutboxError, match="expected a checkpoint"):
            close_published(damaged, 0, 0)
    analyser = Analyser(
        OnnxRuntime(tiny_bundle), confirmation=open_confirmation(tiny_bundle, always(tmp_path, agrees=True))
    )
    other = dataclasses.replace(checkpoint, bundle=analyser.model, state=b"[]\n" + state)
    with pytest.raises(OutboxError, match="expected a checkpoint"):
        analyser.open("gate", 7, StoredStream(1, other))
