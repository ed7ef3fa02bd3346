"""The runtime without a GPU: ONNX Runtime on the CPU, states in arrays.

A step reads and writes 17 KiB of state a row of the shipped bundle, and to gather and scatter them takes a sixth of it.
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

_Array: TypeAlias = NDArray[np.float32]
_States: TypeAlias = dict[str, _Array]
_Number = TypeVar("_Number", bound=np.generic)
_ort: Any = onnxruntime
"""It has no types."""
_DENSE = 0.8
"""Share of a range's rows from which on it is cheaper to step all of it than to gather those that are asked for."""


class OnnxRuntime:
    """See `engine.runtimes.Runtime`.

    Args:
        bundle: What to run.
        threads: Threads of one step of the model.
        max_batch: Rows of one step of the model; more are cut.

    Raises:
        BundleError: The model cannot be loaded, or its inputs and outputs are not what ``bundle.json`` says.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, max_batch: int = 128) -> None:
        self.bundle = bundle
        self._max_batch = max_batch
        self._session = _load(bundle, threads)
        self._binding: Any = self._session.io_binding()
        self._front_end = LogMel(bundle.spec.front_end)
        self._tails = np.zeros((0, self._front_end.tail_length), np.float32)
        self._banks: tuple[_States, ...] = tuple(_rows_of(bundle, 0) for _ in range(2))
        self._side = np.zeros(0, np.int8)
        self._gathered: tuple[_States, ...] = tuple(_rows_of(bundle, 0) for _ in range(2))

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
            if not _is_dense(rows[first:end]):
                end = min(len(rows), first + self._max_batch)
            yield slice(first, end)
            first = end

    def _step(self, rows: Rows, audio: Audio) -> Scores:
        heard = np.concatenate([self._tails[rows], audio], axis=1)
        self._tails[rows] = heard[:, heard.shape[1] - self._front_end.tail_length :]
        features = self._front_end(heard)
        return self._run_range(rows, features) if _is_dense(rows) else self._run_gathered(rows, features)

    def _run_range(self, rows: Rows, features: _Array) -> Scores:
        """Step all rows from the first to the last, and count the new states of ``rows``."""
        n, places = int(rows[-1] - rows[0]) + 1, rows - rows[0]
        where = slice(int(rows[0]), int(rows[0]) + n)
        side = self._on_one_side(where, rows)
        if len(rows) < n:
            features = _spread(features, places, n)
        states, new_states = ({name: each[where] for name, each in self._banks[i].items()} for i in (side, 1 - side))
        scores = self._run(features, states, new_states)
        self._side[rows] = 1 - side
        return scores[places]

    def _on_one_side(self, where: slice, rows: Rows) -> int:
        """Bring the states of a range of rows to the side that most of ``rows`` are on."""
        side = int(2 * np.count_nonzero(self._side[rows]) > len(rows))
        others = np.flatnonzero(self._side[where] != side) + where.start
        if len(others):
            for name, states in self._banks[side].items():
                states[others] = self._banks[1 - side][name][others]
            self._side[others] = side
        return side

    def _run_gathered(self, rows: Rows, features: _Array) -> Scores:
        n = len(rows)
        if len(next(iter(self._gathered[0].values()))) < n:
            self._gathered = tuple(_rows_of(self.bundle, n) for _ in range(2))
        states, new_states = ({name: each[:n] for name, each in buffers.items()} for buffers in self._gathered)
        is_other = self._side[rows] == 1
        for name, gathered in states.items():
            np.take(self._banks[0][name], rows, axis=0, out=gathered)
            gathered[is_other] = self._banks[1][name][rows[is_other]]
        scores = self._run(features, states, new_states)
        for name, gathered in new_states.items():
            self._banks[0][name][rows] = gathered
        self._side[rows] = 0
        return scores

    def _run(self, features: _Array, states: _States, new_states: _States) -> Scores:
        spec = self.bundle.spec
        scores = np.empty((len(features), features.shape[1] // spec.hops_per_score, len(spec.labels)), np.float32)
        for name, array in {"features": features, **states}.items():
            self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in {"scores": scores, **{f"new_{name}": each for name, each in new_states.items()}}.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(self._binding)
        return scores


def _is_dense(rows: Rows) -> bool:
    """Whether sorted rows are most of the range from the first to the last."""
    return len(rows) >= _DENSE * (rows[-1] - rows[0] + 1)


def _rows_of(bundle: Bundle, n: int) -> _States:
    """The states of ``n`` fresh rows."""
    return {state.name: np.zeros((n, *state.shape), np.float32) for state in bundle.spec.states}


def _spread(features: _Array, places: Rows, n: int) -> _Array:
    """Features ``[n, T, n_mels]`` that are 0 but at ``places``."""
    spread = np.zeros((n, *features.shape[1:]), np.float32)
    spread[places] = features
    return spread


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
