"""A bundle's step as TensorRT gets it: audio instead of features, and one row of numbers instead of many states.

The graph goes from ``audio [B, T * output_hop]`` and ``state [B, S]`` to ``scores [B, T, C]`` and ``new_state [B, S]``,
all float32, B and T dynamic. So a step needs one copy to the GPU and one back, and the bank is one array whose rows
move as a whole. A row holds the newest audio that the next frame sees too, then every state of the bundle.

Framing is a reshape and the spectrum a matrix product, which a GPU does better than ONNX's STFT.
"""

import math
import warnings
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle, BundleSpec, FrontEnd
from earmark.contracts.errors import BundleError
from engine.config import Precision
from engine.frontend import mel_filters

GRAPH_VERSION = 1
"""Raise it when the graph or the layout of a row changes, so that older engines are refused."""
_MODEL = "model/"
"""Before every name of the bundle's own graph, so that ours cannot clash with them."""
_ELEMENTWISE = ("Add", "Div", "Mul", "Sigmoid", "Sub")
"""Stay float32: normalising features in float16 would cost more precision than the convolutions do."""


def n_kept_hops(front_end: FrontEnd) -> int:
    """Hops of old audio at the begin of a row: what a frame sees beyond its own hop, at least one."""
    return max(1, math.ceil(front_end.win_length / front_end.hop_length) - 1)


def row_length(spec: BundleSpec) -> int:
    """Numbers of one row of the bank."""
    states = sum(math.prod(state.shape) for state in spec.states)
    return n_kept_hops(spec.front_end) * spec.front_end.hop_length + states


def step_graph(bundle: Bundle, precision: Precision) -> bytes:
    """The whole step as a serialised ONNX model.

    Args:
        bundle: Its model is taken over as it is, or with float16 inside.
        precision: Of convolutions, recurrences and matrix products; features, states and scores are always float32.

    Raises:
        BundleError: The model cannot be read, does not hold together with ``bundle.json``, or is in int8.
    """
    if any(state.dtype != "float32" for state in bundle.spec.states):
        raise BundleError(
            f"{bundle.folder}: expected a bundle in float32, got one in int8, which is for CPUs; "
            "use the one that it was made from"
        )
    onnx: Any = import_module("onnx")
    compose: Any = import_module("onnx.compose")
    try:
        model = onnx.load(str(bundle.model_path))
    except Exception as error:  # protobuf's own class
        raise BundleError(f"{bundle.model_path}: expected an ONNX model, got: {error}; export it again") from error
    if precision == "fp16":
        model = _in_float16(model)
    graph = _Graph(compose.add_prefix(model, _MODEL), bundle.spec)
    graph.split_row()
    graph.front_end()
    graph.join_row()
    return graph.finish()


def _in_float16(model: Any) -> Any:
    convert: Any = import_module("onnxruntime.transformers.float16").convert_float_to_float16
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for float16 become its smallest
        converted: Any = convert(model, keep_io_types=True, op_block_list=list(_ELEMENTWISE))
    nodes = _sorted(converted.graph)
    del converted.graph.node[:]
    converted.graph.node.extend(nodes)
    return converted


def _sorted(graph: Any) -> list[Any]:
    """The nodes, each behind those that it hears.

    The conversion adds its casts at the end, and one that several nodes hear once for each of them, always the same.
    """
    known = {each.name for each in (*graph.input, *graph.initializer)} | {""}
    waiting, done = list({tuple(node.output): node for node in graph.node}.values()), list[Any]()
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise BundleError(f"expected a graph without a cycle, {waiting[0].name!r} is in one; export it again")
        known.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
        done += ready
    return done


class _Graph:
    """Writes nodes around the bundle's own graph."""

    def __init__(self, model: Any, spec: BundleSpec) -> None:
        self._onnx: Any = import_module("onnx")
        self._model = model
        self._spec = spec
        self._before: list[Any] = []
        self._after: list[Any] = []
        self._constants: list[Any] = []

    def split_row(self) -> None:
        """From ``state`` to the old audio and the bundle's states."""
        spec = self._spec
        n_kept = n_kept_hops(spec.front_end) * spec.front_end.hop_length
        lengths = [n_kept, *(math.prod(state.shape) for state in spec.states)]
        parts = ["kept", *(f"flat_{state.name}" for state in spec.states)]
        self._add("Split", ["state", self._integers("lengths", *lengths)], parts, axis=1)
        for state in spec.states:
            self._reshape(f"flat_{state.name}", f"{_MODEL}{state.name}", -1, *state.shape)

    def front_end(self) -> None:
        """From ``kept`` and ``audio`` to the bundle's features; the same as `engine.frontend.LogMel`."""
        spec = self._spec.front_end
        self._add("Concat", ["kept", "audio"], ["heard"], axis=1)
        self._reshape("heard", "hops", 0, -1, spec.hop_length)
        self._add("Concat", self._frame_parts(), ["frames"], axis=2)
        self._add("MatMul", ["frames", self._constant("dft", windowed_dft(spec))], ["spectrum"])
        self._add("Mul", ["spectrum", "spectrum"], ["squares"])
        filters = mel_filters(spec).T
        # Squares of real and imaginary parts lie side by side, and the bands sum both.
        self._add("MatMul", ["squares", self._constant("mel", np.concatenate([filters, filters]))], ["bands"])
        self._add("Add", ["bands", self._constant("log_offset", np.float32(spec.log_offset))], ["above_zero"])
        self._add("Log", ["above_zero"], [f"{_MODEL}features"])

    def _frame_parts(self) -> list[str]:
        """Each frame's samples, hop by hop: of the first hop only what the window reaches."""
        spec = self._spec.front_end
        n_kept = n_kept_hops(spec)
        unseen = (n_kept + 1) * spec.hop_length - spec.win_length
        parts: list[str] = []
        for index in range(n_kept + 1):
            last = index - n_kept if index < n_kept else np.iinfo(np.int64).max
            first_sample = unseen if index == 0 else 0
            if first_sample >= spec.hop_length:
                continue
            bounds = [("first", (index, first_sample)), ("last", (last, np.iinfo(np.int64).max)), ("axes", (1, 2))]
            names = [self._integers(f"part{index}_{name}", *values) for name, values in bounds]
            self._add("Slice", ["hops", *names], [f"part{index}"])
            parts.append(f"part{index}")
        return parts

    def join_row(self) -> None:
        """From the newest audio and the bundle's new states to ``new_state``."""
        spec = self._spec
        n_kept = n_kept_hops(spec.front_end) * spec.front_end.hop_length
        bounds = [("first", -n_kept), ("last", np.iinfo(np.int64).max), ("axis", 1)]
        names = [self._integers(f"kept_{name}", value) for name, value in bounds]
        self._add("Slice", ["heard", *names], ["new_kept"])
        parts = ["new_kept"]
        for state in spec.states:
            parts.append(f"new_flat_{state.name}")
            self._reshape(f"{_MODEL}new_{state.name}", parts[-1], -1, math.prod(state.shape), after=True)
        self._add("Concat", parts, ["new_state"], after=True, axis=1)
        self._add("Identity", [f"{_MODEL}scores"], ["scores"], after=True)

    def finish(self) -> bytes:
        """The checked model."""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        length, n_labels = row_length(self._spec), len(self._spec.labels)
        model = self._model
        graph = helper.make_graph(
            [*self._before, *model.graph.node, *self._after],
            "step",
            [
                helper.make_tensor_value_info("audio", kind, ["B", "samples"]),
                helper.make_tensor_value_info("state", kind, ["B", length]),
            ],
            [
                helper.make_tensor_value_info("scores", kind, ["B", "T", n_labels]),
                helper.make_tensor_value_info("new_state", kind, ["B", length]),
            ],
            [*self._constants, *model.graph.initializer],
        )
        whole = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        try:
            self._onnx.checker.check_model(whole, full_check=True)
        except Exception as error:  # its own class, from C++
            raise BundleError(
                f"bundle {self._spec.name!r}: expected a model with the inputs and outputs of {self._spec.name!r}'s "
                f"bundle.json, got: {str(error).splitlines()[0]}; export it again"
            ) from error
        serialised: bytes = whole.SerializeToString()
        return serialised

    def _add(
        self, operator: str, inputs: list[str], outputs: list[str], *, after: bool = False, **attributes: int
    ) -> None:
        node = self._onnx.helper.make_node(operator, inputs, outputs, name=f"earmark/{outputs[0]}", **attributes)
        (self._after if after else self._before).append(node)

    def _reshape(self, source: str, target: str, *shape: int, after: bool = False) -> None:
        self._add("Reshape", [source, self._integers(f"shape_of_{target}", *shape)], [target], after=after)

    def _constant(self, name: str, array: NDArray[Any] | np.generic) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _integers(self, name: str, *values: int) -> str:
        return self._constant(name, np.array(values, np.int64))


def windowed_dft(spec: FrontEnd) -> NDArray[np.float32]:
    """Hann window and real DFT as one matrix, float32 ``[win_length, 2 * (n_fft // 2 + 1)]``: real, then imaginary."""
    window = np.hanning(spec.win_length + 1)[:-1]
    turns = np.outer(np.arange(spec.win_length), np.arange(spec.n_fft // 2 + 1)) % spec.n_fft / spec.n_fft
    waves = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)], axis=1)
    return (window[:, None] * waves).astype(np.float32)
