import math

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from earmark.evaluation.tagging import clip_score, confusions, count_tags, rank

LABELS = tuple("abcdefgh")


def clips(seed: int, n_clips: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 7, n_clips)
    scores = np.round(rng.uniform(size=(n_clips, 8)) + 0.4 * (np.arange(8) == classes[:, None]), 6)
    return scores / scores.max(), np.arange(8) == classes[:, None], classes


def test_a_clips_score_is_the_sigmoid_of_its_mean_logit():
    logits = np.array([[-2.0, 30.0], [1.0, 30.0], [4.0, -30.0]])
    score = clip_score((1 / (1 + np.exp(-logits))).astype(np.float32))
    assert score == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-math.log(1e7) / 3))], rel=1e-2)
    assert clip_score(np.zeros((0, 2), np.float32)).tolist() == [0, 0]
    assert clip_score(np.array([[0, 1]], np.float32)) == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_ranks_agree_with_scikit_learn(seed: int):
    scores, truth, classes = clips(seed)
    ranking = rank(scores, truth)
    assert ranking.accuracy == np.mean(scores.argmax(axis=1) == classes)
    assert ranking.top5 == pytest.approx(top_k_accuracy_score(classes, scores, k=5, labels=range(8)), abs=1e-9)


def lwlrap_of_the_paper(scores: np.ndarray, truth: np.ndarray) -> float:
    """The definition, word by word: precision down to the rank of each true class of each clip, and their mean."""
    precisions = []
    for of_clip, true in zip(scores, truth, strict=True):
        for label in np.flatnonzero(true):
            above = of_clip >= of_clip[label]
            precisions.append(true[above].mean())
    return float(np.mean(precisions))


def test_lwlrap_weighs_labels_and_not_clips():
    rng = np.random.default_rng(3)
    scores, truth = rng.uniform(size=(40, 8)), rng.uniform(size=(40, 8)) < 0.3
    truth[:, 0] |= ~truth.any(axis=1)
    ranking = rank(scores, truth)
    assert ranking.lwlrap == pytest.approx(lwlrap_of_the_paper(scores, truth), abs=1e-9)
    assert ranking.lwlrap != pytest.approx(
        np.mean([lwlrap_of_the_paper(s[None], t[None]) for s, t in zip(scores, truth, strict=True)])
    )


def test_average_precision_is_over_classes_that_are_true_somewhere():
    scores = np.array([[0.9, 0.1, 0.5], [0.8, 0.3, 0.9]])
    truth = np.array([[True, False, False], [False, True, False]])
    assert rank(scores, truth).mean_average_precision == 1
    assert rank(scores[:, ::-1], truth[:, ::-1]).mean_average_precision == 1


@pytest.mark.parametrize("seed", range(4))
def test_counts_agree_with_scikit_learn(seed: int):
    scores, truth, _ = clips(seed)
    found = scores >= 0.6
    tally = count_tags(found, truth, LABELS)
    for average, ours in (("micro", tally.micro), ("macro", tally.macro)):
        theirs = precision_recall_fscore_support(truth[:, :7], found[:, :7], average=average, zero_division=0)
        if average == "macro":
            assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3], abs=1e-9)
    theirs = precision_recall_fscore_support(truth, found, average="micro", zero_division=0)
    micro = tally.micro
    assert (micro.precision, micro.recall, micro.f1) == pytest.approx(theirs[:3], abs=1e-9)


def test_confusions_are_by_true_class():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    truth = np.array([[True, False], [True, False], [False, True]])
    assert confusions(scores, truth).tolist() == [[1, 1], [1, 0]]


def test_no_clips():
    empty = np.zeros((0, 8))
    assert math.isnan(rank(empty, empty.astype(bool)).accuracy)
    assert confusions(empty, empty.astype(bool)).sum() == 0
    assert math.isnan(count_tags(empty.astype(bool), empty.astype(bool), LABELS).micro.f1)
