"""The model's step with most of its convolutions in int8, which costs a CPU less than half.

The first convolution, which is cheap and hears numbers of a wide range, the GRU, which ONNX Runtime does not have in
int8, and the last layer stay float32. What lies between has 8 bits, caches too, with the channels last, so that a frame
of a cache is one piece of memory. Scales are fixed when the step is written and integers add up to the same in any
order, so nothing depends on what else is in a batch or where audio is cut.

Weights have 7 bits: a CPU that adds up pairs of products in 16 bits has no room for two of 255 times 127.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earmark.contracts.bundle import StateSpec
from earmark.training.model import CausalConv, Crnn
from earmark.training.onnx_graph import Graph, Step, add_conv, add_front, add_head, add_recurrent, window_of

_WEIGHT_LEVELS = 63
_LEVELS = 255
_MOST_BIAS = np.float32(1 << 30)
"""Biases have 32 bits, and products are added to them."""
_SHARES = np.geomspace(0.05, 1, 40)
"""Of the largest output, where 255 may lie."""
_N_LOOKED_AT = 200_000
_CONTRIB = "com.microsoft"
"""ONNX Runtime's own operators: ONNX's convolution cannot have its channels last."""


def quantised(model: Crnn, features: Tensor) -> Step:
    """One streaming step of ``model``, most of it in int8.

    Args:
        model: For inference, on the CPU.
        features: float32 ``[B, T, n_mels]`` of usual audio; what the convolutions make of it sets the scales.

    Returns:
        The step, as `onnx_model` gives it but for its states, and these.
    """
    with torch.inference_mode():
        scales = [_scale(outputs) for outputs in _outputs(model, features)]
        graph = Graph()
        graph.constant("zero", np.uint8(0))
        for i, scale in enumerate(scales):
            graph.constant(f"conv{i + 1}_scale", scale)
        first = add_conv(graph, model.convs[0], "conv1", add_front(graph, model))
        graph.add("QuantizeLinear", [first, "conv1_scale", "zero"], ["conv1_steps"])
        graph.add("Transpose", ["conv1_steps"], ["conv1_levels"], perm=[0, 2, 3, 1])
        for number, (conv, source_scale) in enumerate(zip(model.convs[1:], scales[:-1], strict=True), start=2):
            _add_conv(graph, conv, number, source_scale)
        last = f"conv{len(scales)}"
        graph.add("DequantizeLinear", [f"{last}_levels", f"{last}_scale", "zero"], [f"{last}_out"])
        n_channels = model.convs[-1].conv.out_channels
        in_order = np.arange(model.seen).reshape(n_channels, -1).T.reshape(-1)
        add_recurrent(graph, model, f"{last}_out", perm=(1, 0, 2, 3), input_order=in_order.tolist())
        add_head(graph, model.head.weight.numpy(), model.head.bias.numpy())
    states = _states(model)
    return graph.finish(model.n_mels, model.n_labels, states, domains=[(_CONTRIB, 1)]), states


def _outputs(model: Crnn, features: Tensor) -> list[NDArray[np.float32]]:
    """Some of what each convolution puts out, offline from fresh state, ``[n]`` each, of all bands and channels."""
    x, outputs = ((features - model.mean) * model.scale)[:, None], list[NDArray[np.float32]]()
    rng = np.random.default_rng(0)
    for conv, cache in zip(model.convs, model.fresh_state(len(features))[:-1], strict=True):
        x, _ = conv(x, cache)
        outputs.append(rng.choice(x.flatten().numpy(), _N_LOOKED_AT))
    return outputs


def _scale(outputs: NDArray[np.float32]) -> np.float32:
    """How much a level is worth, so that numbers in levels are as near to what they were as can be."""
    largest = max(float(outputs.max()), np.finfo(np.float32).tiny)
    scales = _SHARES * largest / _LEVELS
    errors = [np.square(np.clip(np.rint(outputs / scale), 0, _LEVELS) * scale - outputs).sum() for scale in scales]
    return np.float32(scales[int(np.argmin(errors))])


def _add_conv(graph: Graph, conv: CausalConv, number: int, source_scale: np.float32) -> None:
    """The convolution of this number, over the levels of the one before, each of which is worth ``source_scale``."""
    name, source = f"conv{number}", f"conv{number - 1}"
    weight, bias = (value.numpy() for value in conv.folded())
    scale = np.abs(weight).max(axis=(1, 2, 3)) / np.float32(_WEIGHT_LEVELS)
    scale = np.maximum(scale, np.abs(bias) / (source_scale * _MOST_BIAS))  # of hardly any weights, yet with a bias
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    seen = graph.add_cache(name, f"{source}_levels", conv.cache_frames, axis=1)
    parameters = [
        graph.constant(f"{name}_weight", np.rint(weight / scale[:, None, None, None]).astype(np.int8)),
        graph.constant(f"{name}_weight_scale", scale),
        graph.constant(f"{name}_weight_zero", np.zeros(len(scale), np.int8)),
    ]
    in_levels = graph.constant(f"{name}_bias", np.rint(bias / (scale * source_scale)).astype(np.int32))
    graph.add(
        "QLinearConv",
        [seen, f"{source}_scale", "zero", *parameters, f"{name}_scale", "zero", in_levels],
        [f"{name}_levels"],
        domain=_CONTRIB,
        channels_last=1,
        **window_of(conv),
    )


def _states(model: Crnn) -> tuple[StateSpec, ...]:
    first, *others, gru = model.state_specs()
    return first, *(_channels_last(state) for state in others), gru


def _channels_last(state: StateSpec) -> StateSpec:
    n_channels, n_frames, n_bands = state.shape
    return StateSpec(name=state.name, shape=(n_frames, n_bands, n_channels), dtype="uint8")
