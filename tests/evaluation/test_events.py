import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.evaluation.annotations import Annotations, LabelledEvent
from earmark.evaluation.decisions import DetectedEvent
from earmark.evaluation.events import (
    Counts,
    FalseAlarms,
    count_events,
    count_false_alarms,
    largest_matching,
    match,
    measure_delays,
    overlap,
    within_collar,
)
from tests.evaluation.made import LABELS, make_found, make_truth

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dcase_util imports pkg_resources
    import sed_eval


def as_theirs(name: str, events: list[LabelledEvent]) -> list[dict[str, object]]:
    return [{"file": name, "onset": e.onset_s, "offset": e.offset_s, "event_label": e.label} for e in events]


def by_sed_eval(truth: Annotations, found: Annotations, *, offset: bool) -> dict[str, dict]:
    metrics = sed_eval.sound_event.EventBasedMetrics(
        list(LABELS),
        evaluate_offset=offset,
        t_collar=0.2,
        percentage_of_length=0.2,
        empty_system_output_handling="zero_score",
    )
    for name, events in truth.items():
        metrics.evaluate(as_theirs(name, events), as_theirs(name, found[name]))
    return metrics.results()


@pytest.mark.parametrize("share", [0.2, None])
@pytest.mark.parametrize("seed", range(12))
def test_counts_agree_with_sed_eval(seed: int, share: float | None):
    rng = np.random.default_rng(seed)
    truth = make_truth(rng)
    found = make_found(rng, truth)
    tally = count_events(truth, found, LABELS, within_collar(0.2, share))
    theirs = by_sed_eval(truth, found, offset=share is not None)
    ours = tally.micro
    for name, value in (("f_measure", ours.f1), ("precision", ours.precision), ("recall", ours.recall)):
        assert value == pytest.approx(theirs["overall"]["f_measure"][name], abs=1e-9, nan_ok=True)
    present = [label for label in LABELS if tally.by_label[label].n_true]
    for label in present:
        of_class, counts = theirs["class_wise"][label], tally.by_label[label]
        assert counts.f1 == pytest.approx(of_class["f_measure"]["f_measure"], abs=1e-9)
        assert counts.precision == pytest.approx(of_class["f_measure"]["precision"], abs=1e-9)
        assert counts.recall == pytest.approx(of_class["f_measure"]["recall"], abs=1e-9)
        assert counts.n_true == of_class["count"]["Nref"]
        assert counts.tp + counts.fp == of_class["count"]["Nsys"]
    f1 = [theirs["class_wise"][label]["f_measure"]["f_measure"] for label in present]
    assert tally.macro.f1 == pytest.approx(np.mean(f1), abs=1e-9)


def test_as_many_as_possible_are_matched():
    truth = [LabelledEvent(0.0, 1.0, "dog"), LabelledEvent(0.3, 1.0, "dog")]
    found = [LabelledEvent(0.15, 1.0, "dog"), LabelledEvent(0.2, 1.0, "dog"), LabelledEvent(0.9, 1.0, "dog")]
    assert match(truth, found, within_collar()) == [(0, 0), (1, 1)]
    assert len(match(truth[::-1], found[1:2] + found[:1], within_collar())) == 2


@given(st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4), max_size=5))
@settings(max_examples=100, deadline=None)
def test_the_largest_matching_is_the_largest(options: list[list[int]]):
    taken_by = largest_matching(options)
    assert len(set(taken_by.values())) == len(taken_by)
    assert all(option in options[one] for option, one in taken_by.items())
    choices = itertools.product(*([*of_one, None] for of_one in options))
    chosen = ([option for option in choice if option is not None] for choice in choices)
    assert len(taken_by) == max(len(each) for each in chosen if len(set(each)) == len(each))


def test_a_matching_that_shifts_everything_is_found():
    """As where each of thousands of ticks fits two detections and one detection is missing."""
    n = 5000
    assert len(largest_matching([*([i, i + 1] for i in range(n)), [0]])) == n + 1


def test_a_long_event_may_end_further_off():
    true = LabelledEvent(0.0, 10.0, "rain")
    assert within_collar()(true, LabelledEvent(0.0, 12.0, "rain"))
    assert not within_collar()(true, LabelledEvent(0.0, 12.1, "rain"))
    assert within_collar(offset_share=None)(true, LabelledEvent(0.0, 0.1, "rain"))


def test_touching_events_do_not_overlap():
    assert not overlap(LabelledEvent(0, 1, "dog"), LabelledEvent(1, 2, "dog"))
    assert overlap(LabelledEvent(0, 1, "dog"), LabelledEvent(0.99, 2, "dog"))


def test_nothing_to_find_and_nothing_found():
    none = count_events({"a": [], "b": []}, {}, LABELS, within_collar())
    assert none.total == Counts(0, 0, 0)
    assert math.isnan(none.micro.f1)
    assert math.isnan(none.macro.f1)
    missed = count_events({"a": [LabelledEvent(0, 1, "dog")]}, {}, LABELS, within_collar())
    assert missed.micro.f1 == missed.micro.precision == missed.micro.recall == missed.macro.f1 == 0
    false = count_events({"a": []}, {"a": [LabelledEvent(0, 1, "dog")]}, LABELS, within_collar())
    assert false.total == Counts(0, 1, 0)
    assert math.isnan(false.micro.f1)


def test_delays_are_of_events_that_overlap_one_with_one():
    truth = {"a": [LabelledEvent(1.0, 2.0, "dog"), LabelledEvent(3.0, 4.0, "dog"), LabelledEvent(8.0, 9.0, "cat")]}
    found = {
        "a": [
            DetectedEvent(1.1, 3.5, "dog", 1.3, 0.9),
            DetectedEvent(3.8, 3.9, "dog", 4.0, 0.9),
            DetectedEvent(8.0, 9.0, "dog", 8.2, 0.9),
        ]
    }
    delays = measure_delays(truth, found)
    assert delays.onset_errors_s == pytest.approx([0.1, 0.8])
    assert delays.decisions_s == pytest.approx([0.3, 1.0])


def test_events_without_a_decision_have_an_onset_error_only():
    delays = measure_delays({"a": [LabelledEvent(1.0, 2.0, "dog")]}, {"a": [LabelledEvent(0.5, 2.0, "dog")]})
    assert (delays.onset_errors_s, delays.decisions_s) == ([-0.5], [])


def test_false_alarms_are_counted_in_files_without_the_class():
    truth = {"a": [LabelledEvent(0, 1, "dog")], "b": [], "c": [LabelledEvent(0, 1, "cat")]}
    found = {name: [LabelledEvent(5, 6, "dog"), LabelledEvent(7, 8, "dog")] for name in truth}
    alarms = count_false_alarms(truth, found, {"a": 3600.0, "b": 1800.0, "c": 1800.0}, ["cat", "dog"])
    assert alarms == {"cat": FalseAlarms(0, 1.5), "dog": FalseAlarms(4, 1.0)}
    assert alarms["dog"].per_hour == 4
    assert math.isnan(FalseAlarms(0, 0).per_hour)
