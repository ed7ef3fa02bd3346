"""The model as an ONNX graph of plain operators: one streaming step, batch norm folded, normalisation inside.

It is written out here node by node, which needs no tracing, keeps names and axes under control and lets ONNX Runtime
fuse what it can.
"""

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from earmark.contracts.errors import BundleError
from earmark.training.model import CausalConv, Crnn

OPSET = 17
IR_VERSION = 9
"""What ONNX Runtime 1.20 reads, and older ones."""
HIDDEN = "hidden"
_HEAD = ("head_weight", "head_bias")


def onnx_model(model: Crnn) -> onnx.ModelProto:
    """One streaming step of ``model``.

    Returns:
        A graph from ``features [B, T, n_mels]`` and each state ``[B, *shape]`` to ``scores [B, T / 2, C]`` in [0, 1]
        and each ``new_<state>``, all float32, B and T dynamic. It has passed ONNX's checker.
    """
    graph = _Graph()
    with torch.no_grad():
        _front(graph, model)
        last = "x0"
        for i, conv in enumerate(model.convs):
            last = _conv(graph, conv, f"conv{i + 1}", last)
        _recurrent(graph, model, last)
        _head(graph, model)
    states = [(spec.name, spec.shape) for spec in model.state_specs()]
    inputs = [_value("features", ["B", "T", model.n_mels])]
    inputs += [_value(name, ["B", *shape]) for name, shape in states]
    outputs = [_value("scores", ["B", "frames", model.n_labels])]
    outputs += [_value(f"new_{name}", ["B", *shape]) for name, shape in states]
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "crnn", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="earmark",
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


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


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))

    def constant(self, name: str, value: torch.Tensor | NDArray[np.generic]) -> str:
        array = value.numpy() if isinstance(value, torch.Tensor) else value
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))


def _front(graph: _Graph, model: Crnn) -> None:
    graph.add("Sub", ["features", graph.constant("mean", model.mean)], ["centred"])
    graph.add("Mul", ["centred", graph.constant("scale", model.scale)], ["normalised"])
    graph.add("Unsqueeze", ["normalised", graph.integers("channel_axis", 1)], ["x0"])


def _conv(graph: _Graph, conv: CausalConv, name: str, source: str) -> str:
    weight, bias = conv.folded()
    graph.add("Concat", [name, source], [f"{name}_seen"], axis=2)
    bounds = [
        graph.integers(f"{name}_{bound}", value)
        for bound, value in (("first", -conv.cache_frames), ("last", np.iinfo(np.int64).max), ("axis", 2))
    ]
    graph.add("Slice", [f"{name}_seen", *bounds], [f"new_{name}"])
    parameters = [graph.constant(f"{name}_weight", weight), graph.constant(f"{name}_bias", bias)]
    graph.add(
        "Conv",
        [f"{name}_seen", *parameters],
        [f"{name}_out"],
        kernel_shape=[3, 3],
        strides=list(conv.conv.stride),
        pads=[0, 1, 0, 1],
    )
    graph.add("Relu", [f"{name}_out"], [f"{name}_relu"])
    return f"{name}_relu"


def _recurrent(graph: _Graph, model: Crnn, source: str) -> None:
    gru = model.gru
    graph.add("Transpose", [source], ["by_time"], perm=[2, 0, 1, 3])
    graph.add("Reshape", ["by_time", graph.integers("flat", 0, 0, gru.input_size)], ["sequence"])
    graph.add("Unsqueeze", ["gru", graph.integers("direction_axis", 0)], ["gru_before"])
    bias = torch.cat([_onnx_gates(gru.bias_ih_l0), _onnx_gates(gru.bias_hh_l0)])
    weights = [
        graph.constant("gru_input", _onnx_gates(gru.weight_ih_l0)[None]),
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


def _head(graph: _Graph, model: Crnn) -> None:
    weight, bias = _HEAD
    graph.add("MatMul", [HIDDEN, graph.constant(weight, model.head.weight.T)], ["head_product"])
    graph.add("Add", ["head_product", graph.constant(bias, model.head.bias)], ["logits"])
    graph.add("Sigmoid", ["logits"], ["scores_by_time"])
    graph.add("Transpose", ["scores_by_time"], ["scores"], perm=[1, 0, 2])


def _onnx_gates(gates: torch.Tensor) -> torch.Tensor:
    """From torch's order of gates (reset, update, new) to ONNX's (update, reset, new), along axis 0."""
    reset, update, new = gates.chunk(3)
    return torch.cat([update, reset, new])


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
