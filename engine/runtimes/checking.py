"""Whether a model's scores are probabilities: a dry run when a bundle is loaded, and a look at each step."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import BundleError
from engine.frontend import LogMel
from engine.runtimes import Scores

_ROUNDING = 1e-5
"""A mean of probabilities may be this much outside [0, 1]."""
_DRY_ROWS, _DRY_SCORES = 2, (1, 3)
"""Rows of the dry run, and how many scores each of its steps gives a row."""

_Arrays: TypeAlias = dict[str, NDArray[np.generic]]


class _Wanted(NamedTuple):
    """What an output of a step should be."""

    shape: tuple[int, ...]
    dtype: str


def unusable_rows(scores: Scores) -> NDArray[np.bool_] | None:
    """Which rows have scores that are no probabilities; rounding errors are corrected in place.

    Args:
        scores: float32 ``[B, T, C]``; clipped to [0, 1].

    Returns:
        bool ``[B]``; None where all rows are usable.
    """
    lowest, highest = float(scores.min(initial=0.0)), float(scores.max(initial=0.0))
    if lowest >= 0.0 and highest <= 1.0:  # false for NaN
        return None
    flat = scores.reshape(len(scores), -1)
    is_usable = np.logical_and.reduce((flat >= -_ROUNDING) & (flat <= 1 + _ROUNDING), axis=1)
    np.clip(scores, 0.0, 1.0, out=scores)
    return None if is_usable.all() else np.logical_not(is_usable)


def check_step(bundle: Bundle, session: Any) -> None:
    """Run a model on silence and on noise at full scale, from fresh states and from those that it returned.

    Args:
        bundle: What is run.
        session: ONNX Runtime's, with the inputs and outputs that ``bundle.json`` names.

    Raises:
        BundleError: The model fails, or an output has another shape or type or values that it must not have.
    """
    spec = bundle.spec
    front_end = LogMel(spec.front_end)
    counts = _DRY_SCORES if spec.states else _DRY_SCORES[:1]  # a model without states may take one window alone
    noise = np.random.default_rng(0).uniform(-1, 1, (_DRY_ROWS, max(counts) * spec.output_hop))
    for audio in (np.zeros_like(noise, np.float32), noise.astype(np.float32)):
        states: _Arrays = {state.name: np.zeros((_DRY_ROWS, *state.shape), state.dtype) for state in spec.states}
        for n_scores in counts:
            heard = np.pad(audio[:, : n_scores * spec.output_hop], ((0, 0), (front_end.tail_length, 0)))
            outputs = _run(bundle, session, {"features": front_end(heard), **states})
            _check_outputs(bundle, outputs, n_scores)
            states = {state.name: outputs[f"new_{state.name}"] for state in spec.states}


def _run(bundle: Bundle, session: Any, inputs: _Arrays) -> _Arrays:
    names = [node.name for node in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:  # ONNX Runtime raises a class of its own for each status
        reason = str(error).splitlines()[0]
        raise BundleError(f"{bundle.model_path}: expected to run one step, got: {reason}; export it again") from error


def _check_outputs(bundle: Bundle, outputs: _Arrays, n_scores: int) -> None:
    spec = bundle.spec
    wanted = {f"new_{state.name}": _Wanted((_DRY_ROWS, *state.shape), state.dtype) for state in spec.states}
    wanted["scores"] = _Wanted((_DRY_ROWS, n_scores, len(spec.labels)), "float32")
    for name, (shape, dtype) in wanted.items():
        found, n_hops = outputs[name], n_scores * spec.hops_per_score
        if (found.shape, found.dtype.name) != (shape, dtype):
            raise BundleError(
                f"{bundle.model_path}: expected output {name!r} of {dtype} {list(shape)} from {n_hops} "
                f"hops of {_DRY_ROWS} rows, got {found.dtype.name} {list(found.shape)}; export it again"
            )
        if not np.isfinite(found).all():
            raise BundleError(
                f"{bundle.model_path}: expected finite values in output {name!r}, got others; train it again"
            )
    scores = np.asarray(outputs["scores"], np.float32)
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest < -_ROUNDING or highest > 1 + _ROUNDING:
        raise BundleError(
            f"{bundle.model_path}: expected scores from 0 to 1, got {lowest:g} to {highest:g}; "
            "end the model with a sigmoid and export it again"
        )
