"""What runs a judge: whole windows of audio in, scores out, nothing remembered in between."""

import numpy as np

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import BundleError
from earmark.telemetry import metrics
from engine.runtimes import Audio, Scores
from engine.runtimes.onnxruntime import OnnxRuntime

MOST_WINDOWS = 8
"""Windows of one step of the model: more save hardly any time, and each keeps its features in memory."""


class Judge:
    """A bundle that scores windows, each from a fresh state. It runs on the CPU, by ONNX Runtime.

    Args:
        bundle: What to run.
        window: Samples of a window, whole output hops of the bundle.
        threads: Threads of one step of the model.

    Raises:
        BundleError: The model cannot be loaded, is not what ``bundle.json`` says, or does not score a window.
    """

    def __init__(self, bundle: Bundle, window: int, threads: int = 1) -> None:
        self.bundle = bundle
        self._runtime = OnnxRuntime(bundle, threads, MOST_WINDOWS)
        self._runtime.reserve(MOST_WINDOWS)
        try:
            self._step(np.zeros((1, window), np.float32))
        except Exception as error:  # ONNX Runtime raises a class of its own for each status
            reason = str(error).splitlines()[0]
            raise BundleError(
                f"{bundle.model_path}: expected scores of a window of {window / bundle.spec.sample_rate_hz:g} s, got: "
                f"{reason}; export it again"
            ) from error

    def __call__(self, windows: Audio) -> Scores:
        """Score windows.

        Args:
            windows: float32 ``[K, window]`` in [-1, 1]; borrowed.

        Returns:
            Scores in [0, 1], float32 ``[K, T, C]``, a frame for each output hop of the judge.
        """
        with metrics.JUDGE_SECONDS.time():
            parts = [
                self._step(windows[first : first + MOST_WINDOWS]) for first in range(0, len(windows), MOST_WINDOWS)
            ]
        metrics.JUDGED_WINDOWS.inc(len(windows))
        return np.concatenate(parts)

    def _step(self, windows: Audio) -> Scores:
        rows = np.arange(len(windows), dtype=np.int32)
        self._runtime.reset(rows)
        return self._runtime.step(rows, windows)
