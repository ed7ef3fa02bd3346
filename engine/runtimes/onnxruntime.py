"""The runtime without a GPU: ONNX Runtime on the CPU, states in arrays.

A step reads and writes 17 KiB of state a row of the bundle `urban`, and to gather and scatter them takes a sixth of it.
So there are two banks: where most rows of a range are asked for, the model reads its states straight out of one bank
and writes the new ones into the other, and a row's side says where its state is now. Rows of the range that were not
asked for keep theirs: nobody reads what was written for them. A few rows far apart are gathered and scattered.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import BundleError, ShapeError
from engine.frontend import LogMel
from engine.runtimes import Audio, Rows, Scores
from engine.runtimes.checking import check_step

_Features: TypeAlias = NDArray[np.float32]
_States: TypeAlias = dict[str, NDArray[np.generic]]
_Number = TypeVar("_Number", bound=np.generic)
_ort: Any = onnxruntime
"""It has no types."""
_DENSE = 0.8
"""Share of a range's rows from which on it is cheaper to step all of it than to gather those that are asked for."""
_Where: TypeAlias = tuple[int, int, int]
"""Which side of the bank, or `_GATHERED`; the first row there, and how many."""
_GATHERED = 2
_Binding: TypeAlias = tuple[Any, _Features, Scores]
"""What ONNX Runtime calls one, and the features and scores that are bound."""
_MOST_BINDINGS = 128
_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


class OnnxRuntime:
    """See `engine.runtimes.Runtime`.

    Args:
        bundle: What to run.
        threads: Threads of one step of the model.
        max_batch: Rows of one step of the model; more are cut.

    Raises:
        BundleError: The model cannot be loaded, its inputs and outputs are not what ``bundle.json`` says, or its scores
            are no probabilities.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, max_batch: int = 128) -> None:
        self.bundle = bundle
        self._max_batch = max_batch
        self._session = _load(bundle, threads)
        self._bindings: dict[tuple[_Where, int], _Binding] = {}
        self._front_end = LogMel(bundle.spec.front_end)
        self._tails = np.zeros((0, self._front_end.tail_length), np.float32)
        self._banks: tuple[_States, ...] = tuple(_rows_of(bundle, 0) for _ in range(2))
        self._side = np.zeros(0, np.int8)
        self._gathered: tuple[_States, ...] = tuple(_rows_of(bundle, 0) for _ in range(2))
        self._n_gathered = 0

    @property
    def n_rows(self) -> int:
        """Rows that the bank has."""
        return len(self._tails)

    def reserve(self, n_rows: int) -> None:
        """Make the bank hold at least ``n_rows``; rows that are there keep their state."""
        more = n_rows - self.n_rows
        if more > 0:
            self._tails, self._side = _grown(self._tails, more), _grown(self._side, more)
            self._banks = tuple({name: _grown(each, more) for name, each in bank.items()} for bank in self._banks)
            self._bindings.clear()

    def reset(self, rows: Rows) -> None:
        """Make these rows as if they had never heard anything."""
        self._tails[rows] = 0
        self._side[rows] = 0
        for states in self._banks[0].values():
            states[rows] = 0

    def step(self, rows: Rows, audio: Audio) -> Scores:
        """Advance some rows by whole output hops; see `engine.runtimes.Runtime.step`."""
        spec = self.bundle.spec
        if audio.ndim != 2 or len(audio) != len(rows) or not audio.size or audio.shape[1] % spec.output_hop:
            raise ShapeError(f"expected audio of [{len(rows)}, T * {spec.output_hop}], got {list(audio.shape)}")
        scores = np.empty((len(rows), audio.shape[1] // spec.output_hop, len(spec.labels)), np.float32)
        order = np.argsort(rows)
        for part in self._parts(rows[order]):
            places = order[part]
            scores[places] = self._step(rows[places], audio[places])
        return scores

    def _parts(self, rows: Rows) -> Iterator[slice]:
        """Cut sorted rows into steps: a range of the bank where most of it is asked for, else the next rows."""
        first = 0
        while first < len(rows):
            end = int(np.searchsorted(rows, int(rows[first]) + self._max_batch))
            if not self._is_dense(rows[first:end]):
                end = min(len(rows), first + self._max_batch)
            yield slice(first, end)
            first = end

    def _step(self, rows: Rows, audio: Audio) -> Scores:
        heard = np.concatenate([self._tails[rows], audio], axis=1)
        self._tails[rows] = heard[:, heard.shape[1] - self._front_end.tail_length :]
        features = self._front_end(heard)
        return self._run_range(rows, features) if self._is_dense(rows) else self._run_gathered(rows, features)

    def _is_dense(self, rows: Rows) -> bool:
        """Whether sorted rows are most of the range from the first to the last, which makes one step."""
        n = int(rows[-1] - rows[0]) + 1
        return n <= self._max_batch and len(rows) >= _DENSE * n

    def _run_range(self, rows: Rows, features: _Features) -> Scores:
        """Step all rows from the first to the last, and count the new states of ``rows``."""
        first, n = int(rows[0]), int(rows[-1] - rows[0]) + 1
        where = slice(first, first + n)
        side = self._on_one_side(where, rows)
        states, new_states = ({name: each[where] for name, each in self._banks[i].items()} for i in (side, 1 - side))
        scores = self._run((side, first, n), rows - first, features, states, new_states)
        self._side[rows] = 1 - side
        return scores

    def _on_one_side(self, where: slice, rows: Rows) -> int:
        """Bring the states of a range of rows to the side that most of ``rows`` are on."""
        side = int(2 * np.count_nonzero(self._side[rows]) > len(rows))
        others = np.flatnonzero(self._side[where] != side) + where.start
        if len(others):
            for name, states in self._banks[side].items():
                states[others] = self._banks[1 - side][name][others]
            self._side[others] = side
        return side

    def _run_gathered(self, rows: Rows, features: _Features) -> Scores:
        n = len(rows)
        if self._n_gathered < n:
            self._gathered, self._n_gathered = tuple(_rows_of(self.bundle, n) for _ in range(2)), n
            self._bindings.clear()
        states, new_states = ({name: each[:n] for name, each in buffers.items()} for buffers in self._gathered)
        is_other = self._side[rows] == 1
        for name, gathered in states.items():
            np.take(self._banks[0][name], rows, axis=0, out=gathered, mode="clip")  # else numpy fills a copy of out
        if is_other.any():
            for name, gathered in states.items():
                gathered[is_other] = self._banks[1][name][rows[is_other]]
        scores = self._run((_GATHERED, 0, n), np.arange(n), features, states, new_states)
        for name, gathered in new_states.items():
            self._banks[0][name][rows] = gathered
        self._side[rows] = 0
        return scores

    def _run(
        self, where: _Where, places: NDArray[np.integer], features: _Features, states: _States, new_states: _States
    ) -> Scores:
        """Run the model where the states lie, with ``features`` at some of its ``places``; their scores."""
        n_hops = features.shape[1]
        bound = self._bindings.get((where, n_hops)) or self._bind(where, n_hops, states, new_states)
        binding, heard, scores = bound
        heard[places] = features
        self._session.run_with_iobinding(binding)
        return scores[places]

    def _bind(self, where: _Where, n_hops: int, states: _States, new_states: _States) -> _Binding:
        """Tell ONNX Runtime where inputs and outputs lie, which takes as long as the arithmetic of a few rows.

        That is kept for steps of one output hop, live ones: the others are large, and of many sizes.
        """
        spec, n = self.bundle.spec, where[-1]
        features = np.zeros((n, n_hops, spec.front_end.n_mels), np.float32)
        scores = np.empty((n, n_hops // spec.hops_per_score, len(spec.labels)), np.float32)
        binding: Any = self._session.io_binding()
        for name, array in {"features": features, **states}.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in {"scores": scores, **{f"new_{name}": each for name, each in new_states.items()}}.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        if n_hops == spec.hops_per_score:
            if len(self._bindings) >= _MOST_BINDINGS:
                self._bindings.clear()
            self._bindings[where, n_hops] = binding, features, scores
        return binding, features, scores


def _rows_of(bundle: Bundle, n: int) -> _States:
    """The states of ``n`` fresh rows."""
    return {state.name: np.zeros((n, *state.shape), state.dtype) for state in bundle.spec.states}


def _grown(array: NDArray[_Number], more: int) -> NDArray[_Number]:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])


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
    check_step(bundle, session)
    return session


def _check_shapes(bundle: Bundle, session: Any) -> None:
    spec = bundle.spec
    states = {state.name: (state.dtype, state.shape) for state in spec.states}
    inputs = {"features": ("float32", (spec.front_end.n_mels,)), **states}
    outputs = {"scores": ("float32", (len(spec.labels),)), **{f"new_{name}": each for name, each in states.items()}}
    for kind, wanted, nodes in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        found = {node.name: (_DTYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes}
        if sorted(wanted) != (names := sorted(node.name for node in nodes)):
            raise BundleError(
                f"{bundle.model_path}: expected the {kind}s {sorted(wanted)}, got {names}; export it again"
            )
        for name, (dtype, shape) in wanted.items():
            is_dtype, is_shape = found[name]
            if (is_dtype, is_shape[-len(shape) :]) != (dtype, shape):
                raise BundleError(
                    f"{bundle.model_path}: {kind} {name!r} should be {dtype} and end in the shape {list(shape)} of "
                    f"bundle.json, got {is_dtype} {list(is_shape)}; export it again"
                )
