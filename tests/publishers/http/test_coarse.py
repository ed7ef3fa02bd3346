"""A coarse picture shows too little to rebuild speech, however often and from wherever somebody looks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.contracts.monitor import Frames
from publishers.http.coarse import BANDS, CoarsePicture, without_picture

HOP, RATE_HZ, CELL = 640, 16_000, 13
FEATURES = 2


def make_frames(n, seed=0, n_mels=64):
    """From sample 0 on."""
    rng = np.random.default_rng(seed)
    features = rng.uniform(-14, 6, (n * FEATURES, n_mels)).astype(np.float32)
    level_db = rng.uniform(-90, 0, n).astype(np.float32)
    return Frames("gate", "0" * 16, 0, 5_000_000_000, HOP, RATE_HZ, level_db, features, rng.random((n, 3), np.float32))


def part(frames, first, end):
    return replace(
        frames,
        first_sample=first * HOP,
        first_ns=frames.first_ns + first * 40_000_000,
        level_db=frames.level_db[first:end],
        features=frames.features[first * FEATURES : end * FEATURES],
        scores=frames.scores[first:end],
    )


def shown(frames, edges):
    picture = CoarsePicture()
    return [told for a, b in pairwise(edges) if (told := picture.take(part(frames, a, b)))]


@given(st.lists(st.integers(1, 5 * CELL - 1), max_size=12))
def test_however_frames_come_the_picture_is_the_same(cuts):
    frames = make_frames(5 * CELL)
    told = shown(frames, sorted({0, *cuts, 5 * CELL}))
    (whole,) = shown(frames, [0, 5 * CELL])
    for name in ("level_db", "features", "scores"):
        np.testing.assert_array_equal(np.concatenate([getattr(each, name) for each in told]), getattr(whole, name))
    for each in told:
        assert each.first_sample % (CELL * HOP) == 0
        assert each.first_ns == 5_000_000_000 + each.first_sample * 62_500


@given(st.integers(1, 3 * CELL))
def test_whoever_looks_later_sees_the_same_cells(first):
    """Cells at other places would show, by their differences, what happened between two of them."""
    frames = make_frames(5 * CELL)
    (whole,) = shown(frames, [0, 5 * CELL])
    (later,) = shown(frames, [first, 5 * CELL])
    begin = -(-first // CELL) * CELL
    assert later.first_sample == begin * HOP
    np.testing.assert_array_equal(later.features, whole.features[begin * FEATURES :])


def test_a_cell_is_the_mean_power_of_eight_bands_over_half_a_second():
    frames = make_frames(CELL)
    (told,) = shown(frames, [0, CELL])
    powers = np.exp(frames.features.astype(np.float64)).reshape(CELL * FEATURES, BANDS, -1).mean(axis=(0, 2))
    np.testing.assert_allclose(told.features, np.tile(np.log(powers), (CELL * FEATURES, 1)), rtol=1e-5)
    level_db = 10 * np.log10(np.mean(10 ** (frames.level_db.astype(np.float64) / 10)))
    np.testing.assert_allclose(told.level_db, np.full(CELL, level_db), rtol=1e-5)
    np.testing.assert_array_equal(told.scores, frames.scores)


@pytest.mark.parametrize("change", [{"epoch": "1" * 16}, {"first_sample": (CELL + 1) * HOP}])
def test_a_cell_never_joins_what_does_not_touch(change):
    picture, frames = CoarsePicture(), make_frames(2 * CELL)
    assert picture.take(part(frames, 0, 5)) is None
    assert picture.take(replace(part(frames, 5, CELL), **change)) is None


def test_without_a_picture_scores_and_levels_stay():
    frames = make_frames(4)
    told = without_picture(frames)
    assert told.features.shape == (0, 0)
    np.testing.assert_array_equal(told.scores, frames.scores)
    np.testing.assert_array_equal(told.level_db, frames.level_db)
