import numpy as np
import pytest

from earmark.training.calibration import best_shift
from earmark.training.metrics import hysteresis, onsets, segment_score


def frames(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[None, :, None]


def test_hysteresis_holds_until_the_second_threshold():
    on = hysteresis(frames(0.4, 0.5, 0.3, 0.29, 0.4, 0.6))
    np.testing.assert_array_equal(on[0, :, 0], [0, 1, 1, 0, 0, 1])
    assert onsets(on) == 2


def test_an_onset_at_the_very_beginning_counts():
    assert onsets(hysteresis(frames(0.9, 0.9))) == 1


def test_segments_compare_any_active_frame():
    found, truth = (frames(*values) > 0 for values in ((1, 0, 0, 0, 1, 1), (0, 1, 1, 0, 0, 0)))
    score = segment_score(found, truth, 2)
    assert (score.precision, score.recall) == (0.5, 0.5)
    assert score.f_score() == pytest.approx(0.5)


def test_the_best_shift_brings_scores_to_the_threshold():
    rng = np.random.default_rng(0)
    labels = rng.random((4, 100, 3)) < 0.3
    logits = np.where(labels, -1.0, -3.0).astype(np.float32)
    assert 1.0 <= best_shift(1 / (1 + np.exp(-logits)), labels, 1) <= 2.0
