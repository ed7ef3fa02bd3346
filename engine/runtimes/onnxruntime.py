"""The runtime without a GPU: ONNX Runtime on the CPU, states in arrays.

Inputs and outputs are bound to buffers that are kept from step to step, which saves ONNX Runtime's own allocations and
copies. A step gathers the rows' states into them and scatters the new ones back.
"""

from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import BundleError, ShapeError
from engine.frontend import LogMel
from engine.runtimes import Audio, Rows, Scores

_Array: TypeAlias = NDArray[np.float32]
_ort: Any = onnxruntime
"""It has no types."""


class OnnxRuntime:
    """See `engine.runtimes.Runtime`.

    Args:
        bundle: What to run.
        threads: Threads of one step.

    Raises:
        BundleError: The model cannot be loaded, or its inputs and outputs are not what ``bundle.json`` says.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        self._session = _load(bundle, threads)
        self._binding: Any = self._session.io_binding()
        self._front_end = LogMel(bundle.spec.front_end)
        self._tails = np.zeros((0, self._front_end.tail_length), np.float32)
        self._bank = {state.name: np.zeros((0, *state.shape), np.float32) for state in bundle.spec.states}
        self._inputs: dict[str, _Array] = {}
        self._outputs: dict[str, _Array] = {}

    @property
    def n_rows(self) -> int:
        """Rows that the bank has."""
        return len(self._tails)

    def reserve(self, n_rows: int) -> None:
        """Make the bank hold at least ``n_rows``; rows that are there keep their state."""
        more = n_rows - self.n_rows
        if more > 0:
            self._tails = _grown(self._tails, more)
            self._bank = {name: _grown(states, more) for name, states in self._bank.items()}

    def reset(self, rows: Rows) -> None:
        """Make these rows as if they had never heard anything."""
        self._tails[rows] = 0
        for states in self._bank.values():
            states[rows] = 0

    def step(self, rows: Rows, audio: Audio) -> Scores:
        """Advance some rows by whole output hops; see `engine.runtimes.Runtime.step`."""
        spec = self.bundle.spec
        if audio.ndim != 2 or len(audio) != len(rows) or not audio.size or audio.shape[1] % spec.output_hop:
            raise ShapeError(f"expected audio of [{len(rows)}, T * {spec.output_hop}], got {list(audio.shape)}")
        heard = np.concatenate([self._tails[rows], audio], axis=1)
        self._tails[rows] = heard[:, heard.shape[1] - self._front_end.tail_length :]
        scores = np.empty((len(rows), audio.shape[1] // spec.output_hop, len(spec.labels)), np.float32)
        self._run(rows, self._front_end(heard), scores)
        return scores

    def _run(self, rows: Rows, features: _Array, scores: _Array) -> None:
        self._make_buffers(len(rows))
        self._bind_input("features", features)
        self._bind_output("scores", scores)
        for name, states in self._bank.items():
            inputs = self._inputs[name][: len(rows)]
            np.take(states, rows, axis=0, out=inputs)
            self._bind_input(name, inputs)
            self._bind_output(f"new_{name}", self._outputs[name][: len(rows)])
        self._session.run_with_iobinding(self._binding)
        for name, states in self._bank.items():
            states[rows] = self._outputs[name][: len(rows)]

    def _make_buffers(self, n: int) -> None:
        if self._inputs and len(next(iter(self._inputs.values()))) >= n:
            return
        for name, states in self._bank.items():
            self._inputs[name] = np.empty((n, *states.shape[1:]), np.float32)
            self._outputs[name] = np.empty((n, *states.shape[1:]), np.float32)

    def _bind_input(self, name: str, array: _Array) -> None:
        self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def _bind_output(self, name: str, array: _Array) -> None:
        self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)


def _grown(array: _Array, more: int) -> _Array:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), np.float32)])


def _load(bundle: Bundle, threads: int) -> Any:
    options = _ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = _ort.InferenceSession(str(bundle.model_path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class of its own for each status
        reason = str(error).splitlines()[0]
        raise BundleError(f"{bundle.model_path}: ONNX Runtime cannot load it: {reason}; export it again") from error
    _check_shapes(bundle, session)
    return session


def _check_shapes(bundle: Bundle, session: Any) -> None:
    spec = bundle.spec
    expected: dict[str, tuple[int, ...]] = {state.name: state.shape for state in spec.states}
    inputs = {"features": (spec.front_end.n_mels,), **expected}
    outputs = {"scores": (len(spec.labels),), **{f"new_{name}": shape for name, shape in expected.items()}}
    for kind, wanted, nodes in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        found = {node.name: tuple(node.shape) for node in nodes}
        if found.keys() != wanted.keys():
            raise BundleError(
                f"{bundle.model_path}: expected the {kind}s {sorted(wanted)}, got {sorted(found)}; export it again"
            )
        for name, shape in wanted.items():
            fixed = found[name][-len(shape) :]
            if fixed != shape:
                raise BundleError(
                    f"{bundle.model_path}: {kind} {name!r} should end in the shape {list(shape)} of bundle.json, "
                    f"got {list(found[name])}; export it again"
                )
