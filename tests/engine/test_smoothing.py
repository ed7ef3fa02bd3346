"""Smoothing against a reference that is written for reading: one class, one frame at a time."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from earmark.contracts.bundle import Smoothing, load_bundle
from earmark.contracts.errors import OutboxError
from engine.smoothing import CHECKPOINT_FORMAT, ONSET_REACH_S, Smoother, close_all
from tests.support.tiny_bundle import write_tiny_bundle

HOP = 640
RATE_HZ = 16_000


def smoother(spec, n_slots=3, smoothing=None):
    made = Smoother(spec)
    made.grow(n_slots)
    for slot in range(n_slots):
        made.configure(slot, smoothing or {})
    return made


def run(made, slot, scores, chunks=None, first=0):
    """Feed scores [T, C] to one slot; the transitions as tuples."""
    told, position = [], first * HOP
    for part in np.split(scores, np.cumsum(chunks or [])):
        if len(part):
            powers = np.full((1, len(part)), 0.01)
            told += made.update(np.array([slot]), np.array([position]), part[None].astype(np.float32), powers)
            position += len(part) * HOP
    return [(t.label, t.onset // HOP, None if t.offset is None else t.offset // HOP) for t in told]


def reference(scores, smoothing, label):
    """Events of one class by the definition: ``(label, onset, None)`` and ``(label, onset, offset)`` in frames."""
    half = smoothing.median_frames // 2
    padded = np.concatenate([np.zeros(half), scores])
    smoothed = [float(np.median(padded[t : t + 2 * half + 1])) for t in range(len(scores) - half)]
    min_duration, min_gap = smoothing.min_duration_s * RATE_HZ / HOP, smoothing.min_gap_s * RATE_HZ / HOP
    reach = round(ONSET_REACH_S * RATE_HZ / HOP)
    limit = np.inf if smoothing.max_unproven_s is None else smoothing.max_unproven_s * RATE_HZ / HOP
    told, onset, last_on, last_proof, is_high, is_open = [], None, None, None, False, False
    for frame, score in enumerate(smoothed):
        if onset is None:
            if score < smoothing.offset_threshold:
                continue
            onset, is_high, is_open = frame, False, False
        if score >= smoothing.onset_threshold:
            last_proof = frame
            if not is_high:
                onset, is_high = max(onset, frame - reach), True
        if score >= smoothing.offset_threshold and not (is_high and frame - last_proof > limit):
            last_on = frame
            if is_high and not is_open and frame + 1 - onset >= min_duration:
                is_open = True
                told.append((label, onset, None))
        elif frame - last_on >= min_gap:
            if is_open:
                told.append((label, onset, last_on + 1))
            onset = None
    return told


SMOOTHINGS = st.builds(
    lambda low, extra, median, duration, gap, limit: Smoothing(
        onset_threshold=np.float32(low + extra).item(),
        offset_threshold=np.float32(low).item(),
        median_frames=median,
        min_duration_s=duration * HOP / RATE_HZ,
        min_gap_s=gap * HOP / RATE_HZ,
        max_unproven_s=None if limit is None else limit * HOP / RATE_HZ,
    ),
    st.sampled_from([0.2, 0.3, 0.45]),
    st.sampled_from([0, 0.1, 0.3]),
    st.sampled_from([1, 3, 5, 7, 13, 25]),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from([None, 0, 1, 3, 10]),
)
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.33, 0.5, 0.7, 0.9]), min_size=5, max_size=60)


@given(seed=st.integers(0, 10**6), median=st.sampled_from([1, 3, 9]), delay=st.integers(1, 12), cuts=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_a_delayed_bundle_tells_of_what_was_earlier(tiny_bundle, seed, median, delay, cuts):
    """Scores that come later give the very events of scores in time; of what lies before the begin none is told."""
    rng = np.random.default_rng(seed)
    scores, quiet = rng.random((60, 4)), np.zeros((60, 4))
    spec = tiny_bundle.spec.model_copy(update={"smoothing": Smoothing(median_frames=median, min_gap_s=0.1)})
    in_time = run(smoother(spec), 1, np.concatenate([scores, quiet]))
    before = rng.random((delay, 4)) if median == 1 else np.zeros((delay, 4))
    chunks = sorted(rng.integers(1, 30, cuts).tolist())
    delayed = run(
        smoother(spec.model_copy(update={"delay_frames": delay})), 1, np.concatenate([before, scores, quiet]), chunks
    )
    assert in_time
    assert sorted(delayed, key=str) == sorted(in_time, key=str)


@given(smoothings=st.lists(SMOOTHINGS, min_size=4, max_size=4), scores=st.lists(SCORES, min_size=4, max_size=4))
@settings(max_examples=150, deadline=None)
def test_follows_the_definition(tiny_bundle, smoothings, scores):
    spec = tiny_bundle.spec.model_copy(
        update={"smoothing_by_label": dict(zip(tiny_bundle.spec.labels, smoothings, strict=True))}
    )
    n_frames = min(map(len, scores))
    table = np.array([column[:n_frames] for column in scores], np.float32).T
    told = run(smoother(spec), 1, table)
    expected = [
        event
        for index, label in enumerate(spec.labels)
        for event in reference(table[:, index].astype(float), smoothings[index], label)
    ]
    assert sorted(told, key=str) == sorted(expected, key=str)


def with_medians(spec, medians):
    """The spec with a median of its own for each class."""
    by_label = {label: Smoothing(median_frames=m) for label, m in zip(spec.labels, medians, strict=True)}
    return spec.model_copy(update={"smoothing_by_label": by_label})


MEDIANS = st.sampled_from([(3, 3, 3, 3), (1, 1, 1, 1), (1, 3, 5, 7), (25, 1, 13, 3)])


@given(scores=SCORES, medians=MEDIANS, chunks=st.lists(st.integers(1, 10), max_size=6))
@settings(max_examples=60, deadline=None)
def test_chunking_never_changes_events(tiny_bundle, scores, medians, chunks):
    spec = with_medians(tiny_bundle.spec, medians)
    table = np.repeat(np.array(scores, np.float32)[:, None], 4, axis=1)
    assert run(smoother(spec), 0, table, chunks) == run(smoother(spec), 0, table)


@pytest.mark.parametrize("n_frames", [0, 2, 24, 27])
def test_a_median_has_a_middle_and_an_end(n_frames):
    with pytest.raises(ValidationError, match="median_frames"):
        Smoothing(median_frames=n_frames)


def test_a_batch_equals_its_singles(tiny_bundle):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (3, 50, 4)).astype(np.float32)
    powers = rng.uniform(0, 1, (3, 50))
    slots, position = np.array([2, 0, 1]), np.array([0, HOP, 7 * HOP])
    batch = smoother(tiny_bundle.spec).update(slots, position, scores, powers)
    alone = smoother(tiny_bundle.spec)
    singles = [
        t
        for b in range(3)
        for t in alone.update(slots[b : b + 1], position[b : b + 1], scores[b : b + 1], powers[b : b + 1])
    ]
    assert sorted(map(repr, batch)) == sorted(map(repr, singles))
    assert len(batch) > 10


@given(smoothings=st.lists(SMOOTHINGS, min_size=4, max_size=4), seed=st.integers(0, 10**6), cut=st.integers(0, 90))
@settings(max_examples=150, deadline=None)
def test_saved_and_restored_equals_uninterrupted(tiny_bundle, smoothings, seed, cut):
    """To the last bit of the means, though the scores of classes that are far from an event are not saved."""
    spec = tiny_bundle.spec.model_copy(
        update={"smoothing_by_label": dict(zip(tiny_bundle.spec.labels, smoothings, strict=True))}
    )
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random((15, 1, 4)) < 0.4, 6, axis=1).reshape(1, 90, 4)
    scores = (rng.random((1, 90, 4)) * np.where(loud, 1.0, 0.3)).astype(np.float32)
    powers = rng.random((1, 90))

    def hear(made, slot, begin, end):
        position = np.array([begin * HOP])
        return made.update(np.array([slot]), position, scores[:, begin:end], powers[:, begin:end])

    first, second, whole = smoother(spec), smoother(spec), smoother(spec)
    told = hear(first, 2, 0, cut)
    second.restore(2, first.save(2))
    assert second.save(2) == first.save(2)
    assert told + hear(second, 2, cut, 90) == hear(whole, 2, 0, 90)


def header_of(saved):
    return json.loads(saved.partition(b"\n")[0])


def test_only_what_is_near_an_event_is_saved(tiny_bundle):
    made = smoother(tiny_bundle.spec)
    run(made, 0, np.full((40, 4), [0.9, 0.0, 0.01, 0.0]))
    run(made, 0, np.full((1, 4), [0.9, 0.0, 0.01, 0.9]), first=40)
    assert header_of(made.save(0)) == {"format": CHECKPOINT_FORMAT, "active": ["low"], "near": ["top"]}
    run(made, 0, np.zeros((40, 4)), first=41)
    assert header_of(made.save(0)) == {"format": CHECKPOINT_FORMAT, "active": [], "near": []}


def test_no_onset_before_a_reset(tiny_bundle):
    made = smoother(tiny_bundle.spec)
    run(made, 0, np.full((10, 4), 0.9))
    made.clear(0)
    assert run(made, 0, np.full((10, 4), 0.9), first=100)[0] == ("low", 100, None)


def test_overrides_are_of_one_slot_and_label(tiny_bundle):
    made = smoother(tiny_bundle.spec)
    made.configure(1, {"mid": Smoothing(onset_threshold=0.95, offset_threshold=0.2)})
    loud = np.full((20, 4), 0.9)
    assert {label for label, *_ in run(made, 1, loud)} == {"low", "high", "top"}
    assert {label for label, *_ in run(made, 0, loud)} == {"low", "mid", "high", "top"}


def test_an_event_without_fresh_proof_ends(tiny_bundle):
    """A score that stays between the thresholds keeps it open no longer than the limit; later proof begins another."""
    limited = Smoothing(median_frames=1, max_unproven_s=10 * HOP / RATE_HZ, min_gap_s=5 * HOP / RATE_HZ)
    spec = tiny_bundle.spec.model_copy(update={"smoothing": limited})
    scores = np.zeros((100, 4))
    scores[10:90, 0] = 0.4
    scores[[20, 29, 60], 0] = 0.9
    assert run(smoother(spec), 0, scores) == [
        ("low", 10, None),
        ("low", 10, 40),
        ("low", 45, None),
        ("low", 45, 71),
    ]


def test_proof_within_the_gap_after_the_limit_continues_the_event(tiny_bundle):
    limited = Smoothing(median_frames=1, max_unproven_s=10 * HOP / RATE_HZ, min_gap_s=5 * HOP / RATE_HZ)
    spec = tiny_bundle.spec.model_copy(update={"smoothing": limited})
    scores = np.full((60, 4), [0.4, 0, 0, 0])
    scores[[5, 20], 0] = 0.9
    assert run(smoother(spec), 0, scores) == [("low", 0, None), ("low", 0, 31)]


def test_sums_are_of_the_event_alone(tiny_bundle):
    spec = tiny_bundle.spec.model_copy(update={"smoothing": Smoothing(median_frames=1, min_gap_s=0.1)})
    made = smoother(spec)
    column = np.array([0.1, 0.6, 0.8, 0.1, 0.7, 0.1, 0.1, 0.1, 0.1])
    scores = np.zeros((1, 9, 4), np.float32)
    scores[0, :, 2] = column
    told = made.update(np.array([0]), np.array([0]), scores, np.arange(9.0)[None])
    assert [t.offset for t in told] == [None, 5 * HOP]
    assert told[1].score_peak == pytest.approx(0.8)
    assert told[1].score_mean == pytest.approx(np.mean(column[1:5]))
    assert told[1].power == pytest.approx(np.mean([1, 2, 3, 4]))


def test_a_sound_that_lasts_for_years_has_a_mean(tiny_bundle):
    made = smoother(tiny_bundle.spec)
    frames = np.zeros((80, len(tiny_bundle.spec.labels)))
    frames[:60, 0] = 0.9
    run(made, 0, frames[:20])
    open_frames = made._state[0, 0]["n_frames"]
    for name in ("n_frames", "score_sum", "power_sum"):
        made._state[name][0, 0] *= (2**31 - 10) // open_frames
    powers = np.full((1, 60), 0.01)
    (told,) = made.update(np.array([0]), np.array([20 * HOP]), frames[None, 20:].astype(np.float32), powers)
    assert (told.score_mean, told.power) == (pytest.approx(0.9, abs=1e-3), pytest.approx(0.01))


def test_what_is_open_can_be_closed_from_its_bytes(tiny_bundle):
    made = smoother(tiny_bundle.spec)
    run(made, 0, np.full((20, 4), [0.9, 0.0, 0.9, 0.0]))
    closed = close_all(made.save(0), 5, 20 * HOP)
    assert [(t.label, t.slot, t.onset, t.offset) for t in closed] == [("low", 5, 0, 20 * HOP), ("high", 5, 0, 20 * HOP)]


def test_another_bundles_state_is_refused(tiny_bundle, tmp_path):
    made = smoother(tiny_bundle.spec)
    run(made, 0, np.full((20, 4), [0.9, 0.0, 0.9, 0.0]))
    saved = made.save(0)
    other = load_bundle(write_tiny_bundle(tmp_path / "other", labels=["low", "mid", "top", "more"]))
    with pytest.raises(OutboxError, match=r"this bundle's 4 classes, got \d+ bytes with low, high; delete the outbox"):
        smoother(other.spec).restore(0, saved)
    longer = with_medians(tiny_bundle.spec, (25, 25, 25, 25))
    with pytest.raises(OutboxError, match=r"this bundle's 4 classes, got \d+ bytes with none"):
        smoother(longer).restore(0, smoother(tiny_bundle.spec).save(0))


@pytest.mark.parametrize("level", [0.0, 0.9])
def test_a_damaged_state_is_refused(tiny_bundle, level):
    made = smoother(tiny_bundle.spec)
    run(made, 0, np.full((20, 4), [level, 0.0, 0.0, 0.0]))
    saved = made.save(0)
    for end in range(len(saved)):
        with pytest.raises(OutboxError):
            smoother(tiny_bundle.spec).restore(0, saved[:end])
    _, _, body = saved.partition(b"\n")
    for active, near in (
        ("low", []),
        (1, []),
        (["low", "low"], []),
        (["low"], ["low"]),
        ([1], []),
        ([[1]], []),
        (None, []),
    ):
        header = {"format": CHECKPOINT_FORMAT, "active": active, "near": near}
        with pytest.raises(OutboxError):
            smoother(tiny_bundle.spec).restore(0, json.dumps(header).encode() + b"\n" + body)
    for garbage in (b"garbage", b"[]\n", b"{}\n"):
        with pytest.raises(OutboxError, match="expected a checkpoint"):
            close_all(garbage, 0, 0)
