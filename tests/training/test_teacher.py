"""What the teacher says of a scene, and of files that may hold more than they are listed with."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.errors import ConfigError
from earmark.evaluation.audioset import AUDIOSET, AudioSetMap, read_names
from earmark.training.cache import AudioCache
from earmark.training.hearing import doubts
from earmark.training.index import read_index
from earmark.training.mn04 import N_CLASSES, N_FEATURES
from earmark.training.teacher import COLUMN, Teacher

SHARED = Path(__file__).parents[3] / "shared"
RATE_HZ = 16_000
LABELS = ("dog", "mouse_click", "speech")
_OTHERS = (("ambience", "yard"), ("unlabelled", "thing"), ("event", "speech"))


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    path = SHARED / "peers" / "mn04" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip("mn04 is not beside this checkout")
    return Teacher(path, LABELS)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(3 * RATE_HZ)).astype(np.float32)


@pytest.mark.data
def test_a_row_for_each_column(teacher: Teacher, noise: np.ndarray):
    taught = teacher(noise)
    n_columns = len(noise) // COLUMN + 1
    assert taught.targets.shape == (n_columns, N_FEATURES + N_CLASSES)
    assert taught.targets[:, N_FEATURES:].min() >= -9
    assert taught.scores.shape == (n_columns, len(LABELS))
    assert (taught.scores[:, 1] == 0).all()  # AudioSet lacks it
    assert 0 < taught.scores[:, [0, 2]].min() < taught.scores[:, [0, 2]].max() < 1


@pytest.mark.data
def test_another_process_gets_the_same_teacher(teacher: Teacher, noise: np.ndarray):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(teacher))(noise).targets, teacher(noise).targets)  # noqa: S301 -- our own


@pytest.mark.data
def test_both_networks_have_every_class_that_ours_are_made_of():
    for path in ("mn04/class_labels_indices.csv", "yamnet/yamnet_class_map.csv"):
        names = SHARED / "peers" / path
        if not names.is_file():
            pytest.skip("the peers are not beside this checkout")
        AudioSetMap(read_names(names), tuple(AUDIOSET))


@pytest.mark.data
def test_a_file_may_hold_what_it_is_not_listed_with(teacher: Teacher, tmp_path: Path):
    """A labelled clip only what is clear, an unlabelled one what is likely; what it is listed with is no doubt."""
    data = SHARED / "data"
    dogs = [each for each in read_index(data) if each.label == "dog" and each.kind == "event"][:4]
    listed = [
        dogs[0],
        *(replace(each, kind=kind, label=label) for each, (kind, label) in zip(dogs[1:], _OTHERS, strict=True)),
    ]
    cache = AudioCache.build(data, listed, tmp_path, RATE_HZ)
    found = doubts(listed, cache, teacher, LABELS, tmp_path)
    assert "dog" not in found[dogs[0].file]
    assert all("dog" in found[each.file] for each in dogs[1:])
    assert doubts(listed, cache, teacher, LABELS, tmp_path) == found  # as it was kept


def test_audioset_scores_become_ours():
    names = sorted({name for of_label in AUDIOSET.values() for name in of_label})
    scores = np.zeros((2, len(names)), np.float32)
    scores[1, names.index("Bark")] = 0.7
    scores[1, names.index("Yip")] = 0.4
    mapped = AudioSetMap(names, LABELS)(scores)
    np.testing.assert_array_equal(mapped, np.float32([[0, 0, 0], [0.7, 0, 0]]))


def test_a_network_without_our_classes_is_refused():
    with pytest.raises(ConfigError, match="its list lacks Bark"):
        AudioSetMap(["Speech"], ("dog",))


def test_a_missing_list_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"expected a list of AudioSet's classes"):
        read_names(tmp_path / "none.csv")
