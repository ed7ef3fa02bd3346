"""What YAMNet says about our scenes; a file that is no YAMNet is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.errors import ConfigError
from earmark.training.teacher import HOP, WINDOW, Teacher


@pytest.fixture(scope="module")
def yamnet() -> Path:
    """The teacher's file beside the checkout."""
    path = Path(__file__).parents[3] / "shared" / "peers" / "yamnet" / "yamnet.tflite"
    if not path.is_file():
        pytest.skip("YAMNet is not beside this checkout")
    return path


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    chirp = np.sin(2 * np.pi * np.cumsum(np.linspace(100, 4000, WINDOW + 3 * HOP)) / 16_000)
    return (0.3 * chirp).astype(np.float32)


@pytest.mark.data
@pytest.mark.parametrize(("n_samples", "n_windows"), [(WINDOW, 1), (WINDOW + HOP - 1, 1), (WINDOW + 3 * HOP, 4)])
def test_an_embedding_for_each_whole_window(yamnet: Path, audio: np.ndarray, n_samples: int, n_windows: int):
    teacher = Teacher(yamnet)
    embeddings = teacher(audio[:n_samples])
    assert embeddings.shape == (n_windows, 1024)
    assert embeddings.dtype == np.float32
    assert embeddings.min() >= 0
    assert embeddings.max() > 0


@pytest.mark.data
def test_each_window_is_heard_on_its_own(yamnet: Path, audio: np.ndarray):
    teacher = Teacher(yamnet)
    together = teacher(audio)
    for i, embedding in enumerate(together):
        np.testing.assert_array_equal(teacher(audio[i * HOP : i * HOP + WINDOW])[0], embedding)
    assert np.abs(together[0] - together[-1]).max() > 0.1


@pytest.mark.data
def test_another_process_gets_the_same_teacher(yamnet: Path, audio: np.ndarray):
    teacher = Teacher(yamnet)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(teacher))(audio), teacher(audio))  # noqa: S301 -- our own


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"expected YAMNet in .*none\.tflite"):
        Teacher(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"not a model" * 100])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "text.tflite"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"expected YAMNet in .*text\.tflite"):
        Teacher(path)


@pytest.mark.data
def test_another_model_is_refused(yamnet: Path, tmp_path: Path):
    path = tmp_path / "other.tflite"
    path.write_bytes(yamnet.read_bytes().replace(b"layer28/reduce_mean", b"layer28/reduce_some"))
    with pytest.raises(ConfigError, match=r"other\.tflite.*without the tensor"):
        Teacher(path)
