"""A bundle teaches what it would tell of the same sound, and only a model of its own kind."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.bundle import BundleSpec, FrontEnd, load_bundle
from earmark.contracts.errors import BundleError, ConfigError
from earmark.training.soft_labels import SoftLabels
from engine.detector import Detector
from engine.frontend import LogMel

RATE = 16_000


@pytest.fixture(scope="module")
def own() -> BundleSpec:
    """A model like `urban`, before it is trained."""
    return load_bundle("urban").spec.model_copy(update={"name": "mine", "states": (), "quality": {}})


def test_what_it_teaches_is_what_it_would_tell(own: BundleSpec):
    """From a stream's beginning, and as late as the model answers."""
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 2 * RATE)).astype(np.float32)
    front_end = LogMel(own.front_end)
    taught = SoftLabels(Path("urban-large"), own)(front_end(np.pad(audio, ((0, 0), (front_end.tail_length, 0)))))
    assert taught.shape == (2, 2 * RATE // own.output_hop, len(own.labels))
    for of_row, heard in zip(taught, audio, strict=True):
        np.testing.assert_allclose(of_row, Detector("urban-large").scores(heard, RATE), atol=1e-5)


def test_another_process_gets_the_same(own: BundleSpec):
    features = np.random.default_rng(1).normal(-8, 2, (1, 40, own.front_end.n_mels)).astype(np.float32)
    soft_labels = SoftLabels(Path("urban"), own)
    again = pickle.loads(pickle.dumps(soft_labels))  # noqa: S301 -- our own
    np.testing.assert_array_equal(again(features), soft_labels(features))


def test_a_missing_bundle_is_refused(own: BundleSpec):
    with pytest.raises(BundleError, match="got 'nobody'"):
        SoftLabels(Path("nobody"), own)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": ("dog",)}, "the labels of"),
        ({"front_end": FrontEnd(n_mels=40), "delay_frames": 2}, "the front_end and delay_frames of"),
        ({"hops_per_score": 1}, "the hops_per_score of"),
    ],
)
def test_a_bundle_of_another_kind_is_refused(own: BundleSpec, changes: dict[str, object], told: str):
    with pytest.raises(ConfigError, match=f"expected teacher_bundle urban to have {told} the model that learns"):
        SoftLabels(Path("urban"), own.model_copy(update=changes))
