"""Runs an exported step with ONNX Runtime, hop by hop from fresh state, to measure what ships and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from earmark.contracts.bundle import StateSpec
from earmark.training.onnx_graph import HIDDEN

Features = NDArray[np.float32]


class StreamedModel:
    """An exported step.

    Args:
        model: The ONNX file, or its bytes.
        states: What it carries from step to step.
        threads: Of ONNX Runtime.
    """

    def __init__(self, model: Path | bytes, states: Sequence[StateSpec], threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        source = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._states = states

    def scores(self, features: Features, hops_per_step: int) -> NDArray[np.float32]:
        """Feed ``features [B, T, n_mels]`` in steps of ``hops_per_step`` (the last may be shorter).

        Returns:
            Scores in [0, 1], float32 ``[B, T / hops_per_score, C]``.
        """
        return np.concatenate(self._run("scores", features, hops_per_step), axis=1)

    def hidden(self, features: Features) -> NDArray[np.float32]:
        """What the GRU of a step `with_hidden` heard, float32 ``[B, T / hops_per_score, hidden]``, in one step."""
        return self._run(HIDDEN, features, features.shape[1])[0].swapaxes(0, 1)

    def _run(self, output: str, features: Features, hops_per_step: int) -> list[NDArray[np.float32]]:
        outputs = [output, *(f"new_{spec.name}" for spec in self._states)]
        state = {spec.name: np.zeros((len(features), *spec.shape), spec.dtype) for spec in self._states}
        parts: list[NDArray[np.float32]] = []
        for start in range(0, features.shape[1], hops_per_step):
            step = np.ascontiguousarray(features[:, start : start + hops_per_step])
            part, *after = self._session.run(outputs, {"features": step, **state})
            state = dict(zip(state, after, strict=True))
            parts.append(part)
        return parts
