"""The model as an ONNX graph of plain operators: one streaming step, batch norm folded, normalisation inside.

It is written out here node by node, which needs no tracing, keeps names and axes under control and lets ONNX Runtime
fuse what it can.
"""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from earmark.contracts.bundle import StateSpec
from earmark.contracts.errors import BundleError
from earmark.training.model import CausalConv, Crnn

OPSET = 17
IR_VERSION = 9
"""What ONNX Runtime 1.20 reads, and older ones."""
FEATURES, HIDDEN = "features", "hidden"
_HEAD = ("head_weight", "head_bias")
Step = tuple[onnx.ModelProto, tuple[StateSpec, ...]]
"""An exported step, and what it carries from step to step."""


def onnx_model(model: Crnn) -> onnx.ModelProto:
    """One streaming step of ``model``.

    Returns:
        A graph from ``features [B, T, n_mels]`` and each state ``[B, *shape]`` to ``scores [B, T / 2, C]`` in [0, 1]
        and each ``new_<state>``, all float32, B and T dynamic. It has passed ONNX's checker.
    """
    graph = Graph()
    with torch.no_grad():
        last = add_front(graph, model)
        for i, conv in enumerate(model.convs):
            last = add_conv(graph, conv, f"conv{i + 1}", last)
        add_recurrent(graph, model, last, perm=(2, 0, 1, 3))
        add_head(graph, model.head.weight.numpy(), model.head.bias.numpy())
    return graph.finish(model.n_mels, model.n_labels, model.state_specs())


def with_hidden(step: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an exported step that also puts out `HIDDEN`, what the GRU heard: float32 ``[T / 2, B, hidden]``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(step)
    copy.graph.output.append(_value(HIDDEN, ["frames", "B", "hidden"]))
    return copy


def head_of(step: onnx.ModelProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight ``[C, hidden]`` and bias ``[C]`` of an exported step's last layer.

    Raises:
        BundleError: It is not a step that `onnx_model` made.
    """
    arrays = {each.name: numpy_helper.to_array(each) for each in step.graph.initializer if each.name in _HEAD}
    if len(arrays) != len(_HEAD):
        raise BundleError(f"expected a model with {' and '.join(_HEAD)}, as Earmark's training makes them, found none")
    weight, bias = (arrays[name].astype(np.float32) for name in _HEAD)
    return weight.T, bias


def with_head(step: onnx.ModelProto, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> onnx.ModelProto:
    """A copy of an exported step with another last layer, for as many classes as that has; see `head_of`."""
    copy = onnx.ModelProto()
    copy.CopyFrom(step)
    kept = [each for each in copy.graph.initializer if each.name not in _HEAD]
    new = [
        numpy_helper.from_array(np.ascontiguousarray(array), name)
        for array, name in zip((weight.T, bias), _HEAD, strict=True)
    ]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend([*kept, *new])
    copy.graph.output[0].type.tensor_type.shape.dim[2].dim_value = len(bias)
    onnx.checker.check_model(copy, full_check=True)
    return copy


class Graph:
    """Nodes and constants of a step that is being written."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        """Add a node."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))

    def constant(self, name: str, value: torch.Tensor | NDArray[np.generic]) -> str:
        """Add a constant; returns its name."""
        array = value.numpy() if isinstance(value, torch.Tensor) else value
        self._constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def integers(self, name: str, *values: int) -> str:
        """Add a constant int64 ``[n]``; returns its name."""
        return self.constant(name, np.array(values, np.int64))

    def add_cache(self, name: str, source: str, n_frames: int, axis: int) -> str:
        """Put the frames of the state ``name`` before those of ``source``, keep the last; returns what has both."""
        self.add("Concat", [name, source], [f"{name}_seen"], axis=axis)
        bounds = (("first", -n_frames), ("last", np.iinfo(np.int64).max), ("axis", axis))
        inputs = [self.integers(f"{name}_{bound}", value) for bound, value in bounds]
        self.add("Slice", [f"{name}_seen", *inputs], [f"new_{name}"])
        return f"{name}_seen"

    def take(self, step: onnx.ModelProto, suffix: str) -> None:
        """Add all of an exported step but its last layer, with ``suffix`` behind all names but that of `FEATURES`."""
        copy = onnx.ModelProto()
        copy.CopyFrom(step)
        last = next(i for i, node in enumerate(copy.graph.node) if HIDDEN in node.output)
        for node in copy.graph.node[: last + 1]:
            node.name = f"{node.name}{suffix}"
            node.input[:] = [f"{name}{suffix}" if name not in ("", FEATURES) else name for name in node.input]
            node.output[:] = [f"{name}{suffix}" if name else name for name in node.output]
            self._nodes.append(node)
        for constant in copy.graph.initializer:
            if constant.name not in _HEAD:
                constant.name = f"{constant.name}{suffix}"
                self._constants.append(constant)

    def finish(
        self, n_mels: int, n_labels: int, states: Sequence[StateSpec], domains: Sequence[tuple[str, int]] = ()
    ) -> onnx.ModelProto:
        """The step with these states, and operators of other domains than ONNX's own, checked by ONNX."""
        inputs = [_value(FEATURES, ["B", "T", n_mels])]
        inputs += [_value(state.name, ["B", *state.shape], state.dtype) for state in states]
        outputs = [_value("scores", ["B", "frames", n_labels])]
        outputs += [_value(f"new_{state.name}", ["B", *state.shape], state.dtype) for state in states]
        proto = helper.make_model(
            helper.make_graph(self._nodes, "crnn", inputs, outputs, self._constants),
            opset_imports=[helper.make_opsetid(*domain) for domain in (("", OPSET), *domains)],
            producer_name="earmark",
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(proto, full_check=True)
        return proto


def add_front(graph: Graph, model: Crnn) -> str:
    """From ``features`` to what the first convolution hears, ``[B, 1, T, n_mels]``; returns its name."""
    graph.add("Sub", [FEATURES, graph.constant("mean", model.mean)], ["centred"])
    graph.add("Mul", ["centred", graph.constant("scale", model.scale)], ["normalised"])
    graph.add("Unsqueeze", ["normalised", graph.integers("channel_axis", 1)], ["x0"])
    return "x0"


def add_conv(graph: Graph, conv: CausalConv, name: str, source: str) -> str:
    """A convolution over ``source [B, C, T, F]`` and the state ``name``; returns its output's name."""
    seen = graph.add_cache(name, source, conv.cache_frames, axis=2)
    parameters = [
        graph.constant(f"{name}_{kind}", value) for kind, value in zip(("weight", "bias"), conv.folded(), strict=True)
    ]
    graph.add("Conv", [seen, *parameters], [f"{name}_out"], **window_of(conv))
    graph.add("Relu", [f"{name}_out"], [f"{name}_relu"])
    return f"{name}_relu"


def window_of(conv: CausalConv) -> dict[str, object]:
    """Attributes of a convolution's node."""
    return {"kernel_shape": [3, 3], "strides": list(conv.conv.stride), "pads": [0, 1, 0, 1]}


def add_recurrent(
    graph: Graph, model: Crnn, source: str, perm: tuple[int, int, int, int], input_order: Sequence[int] | None = None
) -> None:
    """From ``source`` and the state ``gru`` to `HIDDEN`.

    Args:
        graph: Is added to.
        model: Whose GRU it is.
        source: What the convolutions made.
        perm: Brings its axes into the order of time, batch and two others, which become one.
        input_order: Where each number of these lies for the model's GRU; as it is without.
    """
    gru = model.gru
    graph.add("Transpose", [source], ["by_time"], perm=list(perm))
    graph.add("Reshape", ["by_time", graph.integers("flat", 0, 0, gru.input_size)], ["sequence"])
    graph.add("Unsqueeze", ["gru", graph.integers("direction_axis", 0)], ["gru_before"])
    bias = torch.cat([_onnx_gates(gru.bias_ih_l0), _onnx_gates(gru.bias_hh_l0)])
    of_input = _onnx_gates(gru.weight_ih_l0)
    weights = [
        graph.constant("gru_input", (of_input if input_order is None else of_input[:, list(input_order)])[None]),
        graph.constant("gru_recurrent", _onnx_gates(gru.weight_hh_l0)[None]),
        graph.constant("gru_bias", bias[None]),
    ]
    graph.add(
        "GRU",
        ["sequence", *weights, "", "gru_before"],
        ["gru_all", "gru_after"],
        hidden_size=gru.hidden_size,
        linear_before_reset=1,
    )
    graph.add("Squeeze", ["gru_after", "direction_axis"], ["new_gru"])
    graph.add("Squeeze", ["gru_all", "channel_axis"], [HIDDEN])


def add_head(graph: Graph, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """From `HIDDEN` to ``scores``, by a last layer as `head_of` gives it."""
    product, offset = (graph.constant(name, value) for name, value in zip(_HEAD, (weight.T, bias), strict=True))
    graph.add("MatMul", [HIDDEN, product], ["head_product"])
    graph.add("Add", ["head_product", offset], ["logits"])
    graph.add("Sigmoid", ["logits"], ["scores_by_time"])
    graph.add("Transpose", ["scores_by_time"], ["scores"], perm=[1, 0, 2])


def _onnx_gates(gates: torch.Tensor) -> torch.Tensor:
    """From torch's order of gates (reset, update, new) to ONNX's (update, reset, new), along axis 0."""
    reset, update, new = gates.chunk(3)
    return torch.cat([update, reset, new])


def _value(name: str, shape: Sequence[str | int], dtype: str = "float32") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
