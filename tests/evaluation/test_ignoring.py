"""What is ignored: which detections are dropped, and that every measure goes by it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.contracts.bundle import Bundle
from earmark.evaluation.annotations import Annotations, LabelledEvent
from earmark.evaluation.events import FalseAlarms, count_events, count_false_alarms, within_collar
from earmark.evaluation.figures import figures_of
from earmark.evaluation.ignoring import covered_s, drop_ignored
from earmark.evaluation.measures import Evaluation, SceneMeasures, measure_scenes
from earmark.evaluation.psds import PSDS1, PSDS2, measure_psds
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.segments import count_segments
from tests.evaluation.made import LABELS, make_found, make_truth

DOG = "dog"


def dogs(*extents: tuple[float, float], label: str = DOG) -> Annotations:
    return {"a": [LabelledEvent(onset_s, offset_s, label) for onset_s, offset_s in extents]}


CENTISECONDS = st.tuples(st.integers(0, 1000), st.integers(1, 300)).map(lambda both: (both[0], sum(both)))


@given(span=CENTISECONDS, extents=st.lists(CENTISECONDS, max_size=6))
def test_covered_time_is_that_of_the_union(span: tuple[int, int], extents: list[tuple[int, int]]):
    covered = set(range(*span)) & {place for extent in extents for place in range(*extent)}
    onset_s, offset_s = (np.array([place / 100]) for place in span)
    found = covered_s(onset_s, offset_s, np.array(extents, float).reshape(-1, 2) / 100)
    assert found == pytest.approx([len(covered) / 100], abs=1e-9)


@pytest.mark.parametrize(
    ("found", "truth", "ignored", "is_dropped"),
    [
        ((5, 6), [], [(4, 7)], True),
        ((5, 6), [], [(5.5, 7)], True),
        ((5, 6), [], [(5.51, 7)], False),
        ((5, 6), [], [(4.0, 5.25), (5.75, 8.0)], True),
        ((5, 6), [], [(6, 7)], False),
        ((5, 6), [(5.9, 6.5)], [(4, 7)], False),
        ((5, 6), [(4.0, 4.9)], [(4, 7)], False),
        ((5, 6), [(4.0, 4.7)], [(4, 7)], True),
        ((5, 6), [(6.1, 7.0)], [(4, 7)], False),
    ],
)
def test_a_detection_is_dropped_that_is_mostly_ignored_and_near_no_true_event(
    found: tuple[float, float], truth: list[tuple[float, float]], ignored: list[tuple[float, float]], is_dropped: bool
):
    kept = drop_ignored(dogs(found), dogs(*truth), dogs(*ignored))
    assert kept == ({"a": []} if is_dropped else dogs(found))


def test_another_class_or_file_ignores_nothing():
    assert drop_ignored(dogs((5, 6)), {}, dogs((4, 7), label="cat")) == dogs((5, 6))
    assert drop_ignored(dogs((5, 6)), {}, {"b": dogs((4, 7))["a"]}) == dogs((5, 6))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("offset_share", [0.2, None])
def test_what_is_dropped_is_false_detections_only(seed: int, offset_share: float | None):
    rng = np.random.default_rng(seed)
    truth = make_truth(rng)
    found, ignored = make_found(rng, truth), make_found(rng, truth)
    fits = within_collar(offset_share=offset_share)
    before = count_events(truth, found, LABELS, fits).total
    kept = drop_ignored(found, truth, ignored)
    after = count_events(truth, kept, LABELS, fits).total
    assert (after.tp, after.fn) == (before.tp, before.fn)
    assert before.fp - after.fp == sum(map(len, found.values())) - sum(map(len, kept.values()))


def test_ignored_segments_are_not_counted_and_true_ones_are():
    truth, found, ignored = dogs((0, 1)), dogs((0.5, 4.0)), dogs((0.0, 2.5))
    (counts,) = count_segments(truth, found, {"a": 5.0}, [DOG], ignored=ignored).by_label.values()
    assert (counts.tp, counts.fp, counts.fn) == (1, 1, 0)


def test_a_file_with_an_ignored_extent_is_not_one_without_the_class():
    found = {"a": dogs((5, 6))["a"], "b": dogs((5, 6))["a"]}
    alarms = count_false_alarms({"a": [], "b": []}, found, {"a": 3600.0, "b": 1800.0}, [DOG], dogs((0, 1)))
    assert alarms == {DOG: FalseAlarms(1, 0.5)}


@pytest.mark.parametrize("criteria", [PSDS1, PSDS2])
def test_an_ignored_detection_costs_no_psds(criteria: object):
    """A detection that scores above the true one is wrong, unless it is ignored; cross-triggers go with it."""
    scores = np.zeros((100, 2), np.float32)
    scores[10:15, 0] = 0.5
    scores[50:60, 0] = 0.9
    scores[45:65, 1] = 0.9
    scored = ScoredFiles((DOG, "cat"), 0.1, {"a": scores}, {"a": 10.0})
    truth = {"a": [LabelledEvent(1.0, 1.5, DOG), LabelledEvent(4.5, 6.5, "cat")]}
    strict = replace(criteria, max_fp_per_hour=300.0)
    assert measure_psds(truth, scored, strict).by_label[DOG] == 0
    assert measure_psds(truth, scored, strict, dogs((4.8, 6.0))).by_label[DOG] == 1
    assert measure_psds(truth, scored, strict, dogs((4.8, 6.0), label="cat")).by_label[DOG] == 0


def measured(bundle: Bundle, truth: Annotations, ignored: Annotations, seed: int = 0) -> SceneMeasures:
    scores = {name: np.zeros((250, len(bundle.spec.labels)), np.float32) for name in truth}
    rng = np.random.default_rng(seed)
    for of_file in scores.values():
        for first in rng.integers(0, 240, 8):
            of_file[first : first + rng.integers(5, 60), rng.integers(of_file.shape[1])] = rng.choice([0.4, 0.7, 0.95])
    frame_s = bundle.spec.output_hop / bundle.spec.sample_rate_hz
    scored = ScoredFiles(bundle.spec.labels, frame_s, scores, dict.fromkeys(truth, 250 * frame_s))
    return measure_scenes(truth, scored, bundle.spec, ignored)


def labelled(bundle: Bundle, seed: int) -> Annotations:
    rng = np.random.default_rng(seed)
    label = dict(zip(LABELS, bundle.spec.labels, strict=False))
    return {
        name: [replace(event, label=label[event.label]) for event in events]
        for name, events in make_truth(rng, n_files=6).items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_an_ignored_extent_in_true_events_changes_nothing(tiny_bundle: Bundle, seed: int):
    truth = labelled(tiny_bundle, seed)
    inside = {
        name: [replace(e, onset_s=0.7 * e.onset_s + 0.3 * e.offset_s) for e in events] for name, events in truth.items()
    }
    figures = [
        figures_of(Evaluation(tiny_bundle, "", measured(tiny_bundle, truth, ignored, seed), None))["scenes"]
        for ignored in ({}, inside)
    ]
    assert [each.pop("ignored") for each in figures] == [0, sum(map(len, truth.values()))]
    assert figures[0] == figures[1]
    assert 0 < figures[0]["segment"]["micro"]["f1"] < 1


def test_ignoring_whole_files_leaves_nothing_wrong(tiny_bundle: Bundle):
    truth = labelled(tiny_bundle, 0)
    everything = {name: [LabelledEvent(0.0, 20.0, label) for label in tiny_bundle.spec.labels] for name in truth}
    before, after = measured(tiny_bundle, truth, {}), measured(tiny_bundle, truth, everything)
    assert before.segment.total.fp > after.segment.total.fp == 0
    assert (before.segment.total.tp, before.segment.total.fn) == (after.segment.total.tp, after.segment.total.fn)
    assert before.false_alarms_per_hour > 0
    assert np.isnan(after.false_alarms_per_hour)
    n_true = after.reliability.true_sums.sum()
    assert after.reliability.counts.sum() == n_true == before.reliability.true_sums.sum()
    assert before.detected == after.detected
