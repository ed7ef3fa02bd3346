"""`WindowModel` as an ONNX graph: from ``features [B, T, n_mels]`` of one window to ``scores [B, 1, C]``, no state."""

import numpy as np
import onnx
import torch

from earmark.training.onnx_graph import FEATURES, Graph
from earmark.training.window_model import Block, ConvNorm, WindowModel


def onnx_window_model(model: WindowModel) -> onnx.ModelProto:
    """The graph of ``model``, batch norms folded, normalisation inside; it has passed ONNX's checker."""
    graph = Graph()
    with torch.no_grad():
        graph.add("Sub", [FEATURES, graph.constant("mean", model.mean)], ["centred"])
        graph.add("Mul", ["centred", graph.constant("scale", model.scale)], ["normalised"])
        graph.add("Unsqueeze", ["normalised", graph.integers("channel_axis", 1)], ["image"])
        graph.add("Relu", [_conv(graph, model.stem, "stem", "image")], ["stem_relu"])
        graph.integers("spatial_axes", 2, 3)
        x = "stem_relu"
        for number, block in enumerate(model.blocks, start=1):
            x = _block(graph, block, f"block{number}", x)
        graph.add("ReduceMean", [x], ["by_time"], axes=[3], keepdims=0)
        graph.add("ReduceMean", ["by_time"], ["average"], axes=[2], keepdims=0)
        graph.add("ReduceMax", ["by_time"], ["largest"], axes=[2], keepdims=0)
        graph.add("Concat", ["average", "largest"], ["pooled"], axis=1)
        weight = graph.constant("head_weight", np.ascontiguousarray(model.head.weight.numpy().T))
        graph.add("MatMul", ["pooled", weight], ["head_product"])
        graph.add("Add", ["head_product", graph.constant("head_bias", model.head.bias)], ["logits"])
        graph.add("Sigmoid", ["logits"], ["window_scores"])
        graph.add("Unsqueeze", ["window_scores", "channel_axis"], ["scores"])
    return graph.finish(model.n_mels, model.n_labels, ())


def _conv(graph: Graph, layer: ConvNorm, name: str, source: str) -> str:
    norm = layer.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    inputs = [
        source,
        graph.constant(f"{name}_weight", layer.conv.weight * scale[:, None, None, None]),
        graph.constant(f"{name}_bias", norm.bias - norm.running_mean * scale),
    ]
    size, pad = list(layer.conv.kernel_size), list(layer.conv.padding)
    graph.add("Conv", inputs, [f"{name}_out"], kernel_shape=size, strides=list(layer.conv.stride), pads=[*pad, *pad])
    return f"{name}_out"


def _block(graph: Graph, block: Block, name: str, source: str) -> str:
    graph.add("Relu", [_conv(graph, block.first, f"{name}_first", source)], [f"{name}_first_relu"])
    second = _conv(graph, block.second, f"{name}_second", f"{name}_first_relu")
    graph.add("ReduceMean", [second], [f"{name}_mean"], axes=[2, 3], keepdims=0)
    graph.add("Gemm", [f"{name}_mean", *_linear(graph, block.squeeze, f"{name}_squeeze")], [f"{name}_few"], transB=1)
    graph.add("Relu", [f"{name}_few"], [f"{name}_few_relu"])
    excite = _linear(graph, block.excite, f"{name}_excite")
    graph.add("Gemm", [f"{name}_few_relu", *excite], [f"{name}_many"], transB=1)
    graph.add("Sigmoid", [f"{name}_many"], [f"{name}_gate"])
    graph.add("Unsqueeze", [f"{name}_gate", "spatial_axes"], [f"{name}_gates"])
    graph.add("Mul", [second, f"{name}_gates"], [f"{name}_excited"])
    same = source if block.short_cut is None else _conv(graph, block.short_cut, f"{name}_short_cut", source)
    graph.add("Add", [f"{name}_excited", same], [f"{name}_sum"])
    graph.add("Relu", [f"{name}_sum"], [f"{name}_relu"])
    return f"{name}_relu"


def _linear(graph: Graph, layer: torch.nn.Linear, name: str) -> list[str]:
    return [graph.constant(f"{name}_weight", layer.weight), graph.constant(f"{name}_bias", layer.bias)]
