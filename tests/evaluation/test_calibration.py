import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.calibration import Reliability, active_frames


def test_the_curve_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    scores = rng.uniform(size=(500, 4)).astype(np.float32)
    truth = rng.uniform(size=scores.shape) < scores**2
    curve = Reliability.empty(10).add(scores[:200], truth[:200]).add(scores[200:], truth[200:])
    true_share, mean_score = calibration_curve(truth.ravel(), scores.ravel(), n_bins=10)
    assert curve.true_share == pytest.approx(true_share, abs=1e-9)
    assert curve.mean_score == pytest.approx(mean_score, abs=1e-6)
    weights = curve.counts / scores.size
    assert curve.expected_error == pytest.approx(float(weights @ np.abs(true_share - mean_score)), abs=1e-6)
    assert curve.counts.sum() == scores.size


def test_empty_bins_and_the_ends_of_the_scale():
    curve = Reliability.empty(4).add(np.array([0.0, 1.0], np.float32), np.array([False, True]))
    assert curve.counts.tolist() == [1, 0, 0, 1]
    assert curve.expected_error == 0
    assert np.isnan(curve.true_share[1])
    assert math.isnan(Reliability.empty().expected_error)


def test_a_frame_is_on_where_an_event_covers_its_middle():
    events = [LabelledEvent(0.05, 0.2, "dog"), LabelledEvent(0.349, 9.0, "cat"), LabelledEvent(0.0, 1.0, "unknown")]
    active = active_frames(events, 5, 0.1, ("cat", "dog"))
    assert active.T.tolist() == [[False, False, False, True, True], [True, True, False, False, False]]


def test_touching_events_share_no_frame():
    active = active_frames([LabelledEvent(0, 0.25, "a"), LabelledEvent(0.25, 0.5, "b")], 5, 0.1, ("a", "b"))
    assert active.sum(axis=1).tolist() == [1] * 5
