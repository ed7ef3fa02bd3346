"""A teacher of everyday sounds: YAMNet, which knows 521 classes of AudioSet, hears our scenes (Hershey et al., 2017).

It is an int8 TFLite file. Its embedding, which the last layer reads its scores from, says more than the scores, most of
which are too small for 8 bits. Nothing of it ships: a head that predicts it is dropped at export.
"""

import warnings
from pathlib import Path
from typing import Self

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError

WINDOW = 15_600
"""Samples at 16 kHz that the teacher hears at once."""
HOP = 7_680
"""Samples from one window to the next: 12 scores of ours."""
_EMBEDDING = "layer28/reduce_mean"


class Teacher:
    """The teacher; another process opens the file for itself.

    Args:
        path: ``yamnet.tflite``.

    Raises:
        ConfigError: There is no such file, or it is another model.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ConfigError(
                f"expected YAMNet in {path}, found no such file; set teacher: in the config, or leave it out"
            )
        self.path = path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that keeping all tensors is for debugging: it takes memory
            try:
                self._interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise ConfigError(f"expected YAMNet in {path}, found no TFLite model: {error}") from error
        found = [each for each in self._interpreter.get_tensor_details() if each["name"].endswith(_EMBEDDING)]
        if not found:
            raise ConfigError(f"expected YAMNet in {path}, found a model without the tensor {_EMBEDDING!r}")
        self._embedding = found[0]["index"]
        self._scale, self._zero = found[0]["quantization"]

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.path,)

    def __call__(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of the windows in ``audio [n]``, square roots, float32 ``[1 + (n - WINDOW) // HOP, 1024]``.

        Rectified activations are skewed; their square roots are less so.
        """
        starts = range(0, len(audio) - WINDOW + 1, HOP)
        return np.stack([self._embed(audio[start : start + WINDOW]) for start in starts])

    def _embed(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(0, np.ascontiguousarray(window))
        self._interpreter.invoke()
        activations = self._interpreter.get_tensor(self._embedding).reshape(-1).astype(np.float32) - self._zero
        return np.sqrt(np.maximum(activations * np.float32(self._scale), 0))
