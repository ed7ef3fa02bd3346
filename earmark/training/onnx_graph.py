"""The model as an ONNX graph of plain operators: one streaming step, batch norm folded, normalisation inside.

It is written out here node by node, which needs no tracing, keeps names and axes under control and lets ONNX Runtime
fuse what it can.
"""

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from earmark.training.model import CausalConv, Crnn

OPSET = 17
IR_VERSION = 9
"""What ONNX Runtime 1.20 reads, and older ones."""


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
    graph.add("Squeeze", ["gru_all", "channel_axis"], ["hidden"])


def _head(graph: _Graph, model: Crnn) -> None:
    graph.add("MatMul", ["hidden", graph.constant("head_weight", model.head.weight.T)], ["head_product"])
    graph.add("Add", ["head_product", graph.constant("head_bias", model.head.bias)], ["logits"])
    graph.add("Sigmoid", ["logits"], ["scores_by_time"])
    graph.add("Transpose", ["scores_by_time"], ["scores"], perm=[1, 0, 2])


def _onnx_gates(gates: torch.Tensor) -> torch.Tensor:
    """From torch's order of gates (reset, update, new) to ONNX's (update, reset, new), along axis 0."""
    reset, update, new = gates.chunk(3)
    return torch.cat([update, reset, new])


def _value(name: str, shape: list[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
