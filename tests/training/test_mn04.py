"""Our loader of mn04_as against what the original computes, and how its columns are pooled."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.contracts.errors import ConfigError
from earmark.training.mn04 import COLUMN_S, N_CLASSES, N_FEATURES, Mn04, moving_mean

SHARED = Path(__file__).parents[3] / "shared"
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def network() -> Mn04:
    path = SHARED / "peers" / "mn04" / "mn04_as_mAP_432.pt"
    if not path.is_file():
        pytest.skip("mn04 is not beside this checkout")
    return Mn04(path)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(3 * RATE_HZ)).astype(np.float32)


@pytest.mark.data
@pytest.mark.parametrize("file", ["1-100032-A-0.ogg", "1-104089-A-22.ogg", "1-12653-A-15.ogg"])
def test_agrees_with_the_original(network: Mn04, file: str):
    audio, rate_hz = soundfile.read(SHARED / "data" / "esc50" / file, dtype="float32")
    assert rate_hz == RATE_HZ
    with np.load(SHARED / "peers" / "mn04" / "reference.npz") as reference:
        columns = network.columns(audio)
        np.testing.assert_allclose(columns.T, reference[f"{file}:frames"], atol=1e-3)
        np.testing.assert_allclose(network.logits(columns.mean(axis=0)), reference[f"{file}:logits"], atol=1e-2)


@pytest.mark.data
def test_a_row_for_each_column(network: Mn04, noise: np.ndarray):
    heard = network(noise)
    n_columns = int(len(noise) / RATE_HZ / COLUMN_S) + 1
    assert heard.features.shape == (n_columns, N_FEATURES)
    assert heard.logits.shape == (n_columns, N_CLASSES)
    assert np.isfinite(heard.logits).all()


@pytest.mark.data
def test_another_process_gets_the_same_network(network: Mn04, noise: np.ndarray):
    other = pickle.loads(pickle.dumps(network))  # noqa: S301 -- our own
    np.testing.assert_array_equal(other(noise).logits, network(noise).logits)


@pytest.mark.parametrize("width", [1, 3, 5])
def test_moving_means_are_means_of_the_rows_around(width: int):
    columns = np.random.default_rng(1).standard_normal((7, 4)).astype(np.float32)
    means = moving_mean(columns, width)
    for row in range(len(columns)):
        around = columns[max(0, row - width // 2) : row + width // 2 + 1]
        np.testing.assert_allclose(means[row], around.mean(axis=0), atol=1e-6)


def test_rejects_a_missing_file(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"expected the checkpoint of mn04_as at .*none\.pt"):
        Mn04(tmp_path / "none.pt")


def test_rejects_a_file_that_is_no_checkpoint(tmp_path: Path):
    path = tmp_path / "other.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match=r"expected the checkpoint of mn04_as in .*other\.pt"):
        Mn04(path)
