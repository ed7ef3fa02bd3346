import warnings

import numpy as np
import pytest

from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.events import Counts
from earmark.evaluation.segments import count_segments
from tests.evaluation.made import LABELS, make_found, make_truth
from tests.evaluation.test_events import as_theirs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sed_eval


@pytest.mark.parametrize("seed", range(12))
def test_counts_agree_with_sed_eval(seed: int):
    rng = np.random.default_rng(seed)
    truth = make_truth(rng)
    found = make_found(rng, truth)
    durations_s = {name: float(rng.uniform(8, 12)) for name in truth}
    metrics = sed_eval.sound_event.SegmentBasedMetrics(list(LABELS), time_resolution=1.0)
    for name, events in truth.items():
        metrics.evaluate(
            as_theirs(name, events), as_theirs(name, found[name]), evaluated_length_seconds=durations_s[name]
        )
    tally = count_segments(truth, found, durations_s, LABELS)
    theirs = metrics.results()
    for name, value in (("f_measure", tally.micro.f1), ("recall", tally.micro.recall)):
        assert value == pytest.approx(theirs["overall"]["f_measure"][name], abs=1e-9, nan_ok=True)
    for label, counts in tally.by_label.items():
        of_class = metrics.class_wise[label]
        assert counts == Counts(of_class["Ntp"], of_class["Nfp"], of_class["Nfn"])


def test_an_event_is_in_each_segment_that_it_touches():
    truth = {"a": [LabelledEvent(0.9, 1.1, "dog"), LabelledEvent(2.0, 3.0, "dog")]}
    found = {"a": [LabelledEvent(1.0, 2.0, "dog"), LabelledEvent(3.2, 9.0, "dog")]}
    assert count_segments(truth, found, {"a": 3.5}, ["dog"]).by_label == {"dog": Counts(1, 1, 2)}


def test_nothing_at_all():
    assert count_segments({"a": []}, {}, {"a": 3.5}, LABELS).total == Counts(0, 0, 0)
