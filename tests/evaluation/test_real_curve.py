"""The curve over thresholds, against the engine's own smoother."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.contracts.bundle import Smoothing
from earmark.evaluation.decisions import decide
from earmark.evaluation.real import RealRecording, measure_real
from earmark.evaluation.real_curve import at_threshold, real_curve
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.simulation import decided_events
from tests.evaluation.test_tuning import FRAME_S, SMOOTHINGS, smoothed, wavering
from tests.support.tiny_bundle import LABELS

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
LENGTHS = st.lists(st.integers(0, 120), min_size=1, max_size=4)


def recordings_of(scored: ScoredFiles, seed: int) -> list[RealRecording]:
    """Random rows for the files, in an order of their own; the first label is a class that no row names."""
    rng = np.random.default_rng(seed)
    rows = [
        RealRecording(
            file,
            str(rng.choice(["", *LABELS[1:]])),
            frozenset(str(label) for label in rng.choice(LABELS[1:], rng.integers(0, 3))),
            "event",
            "",
            scored.durations_s[file] or 1.0,
        )
        for file in scored.scores
    ]
    return [rows[place] for place in rng.permutation(len(rows))]


@given(seed=st.integers(0, 10**6), lengths=LENGTHS, smoothing=SMOOTHINGS, delay=st.sampled_from([0, 0, 1, 3]))
@settings(max_examples=60, deadline=None)
def test_each_point_is_what_the_engine_would_detect(tiny_bundle, seed, lengths, smoothing, delay):
    spec = tiny_bundle.spec.model_copy(update={"delay_frames": delay})
    scored = wavering(seed, lengths)
    recordings = recordings_of(scored, seed)
    for point in real_curve(recordings, scored, spec, smoothing, THRESHOLDS):
        detected = decide(scored, smoothed(spec, at_threshold(smoothing, point.threshold)))
        expected = measure_real(recordings, detected, scored.durations_s, LABELS).total
        assert (point.counts.asked, point.counts.found) == (expected.asked, expected.found)
        assert point.counts.wrong.n_events == expected.wrong.n_events
        assert point.counts.wrong.seconds == pytest.approx(expected.wrong.seconds)
        assert point.counts.duration_s == pytest.approx(expected.duration_s)


@given(seed=st.integers(0, 10**6), lengths=LENGTHS, smoothing=SMOOTHINGS)
@settings(max_examples=40, deadline=None)
def test_decided_events_are_the_engines(tiny_bundle, seed, lengths, smoothing):
    scored = wavering(seed, lengths)
    told = decide(scored, smoothed(tiny_bundle.spec, smoothing))
    expected = {name: [(e.onset_s, e.offset_s, e.label) for e in events] for name, events in told.items()}
    found = decided_events(scored, tiny_bundle.spec, lambda _: smoothing)
    assert {name: [(e.onset_s, e.offset_s, e.label) for e in events] for name, events in found.items()} == expected


def test_a_higher_threshold_finds_less_and_is_wrong_less_often(tiny_bundle):
    scored = wavering(3, [400] * 5)
    curve = real_curve(recordings_of(scored, 3), scored, tiny_bundle.spec, Smoothing(min_gap_s=0), THRESHOLDS)
    found, wrong = [point.counts.found for point in curve], [point.counts.wrong.seconds for point in curve]
    assert found == sorted(found, reverse=True)
    assert wrong == sorted(wrong, reverse=True)
    assert wrong[0] > wrong[-1] > 0


def test_files_that_the_list_does_not_name_do_not_count(tiny_bundle):
    scored = wavering(1, [100, 100])
    recordings = recordings_of(scored, 1)[:1]
    (point,) = real_curve(recordings, scored, tiny_bundle.spec, Smoothing(), (0.5,))
    assert point.counts.duration_s == pytest.approx(100 * FRAME_S + 0.011)


def test_the_offset_threshold_keeps_its_share():
    smoothing = at_threshold(Smoothing(onset_threshold=0.5, offset_threshold=0.3, median_frames=5), 0.8)
    assert smoothing.offset_threshold == pytest.approx(0.48)
    assert (smoothing.onset_threshold, smoothing.median_frames) == (0.8, 5)
