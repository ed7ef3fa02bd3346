"""A bundle small enough to reason about: four classes that hear four bands, with the states of a real one.

Each class's score is a sigmoid of a leaky integral (a GRU with set weights) of its band's mean log-mel, averaged with
the frame before (a cache, as a convolution has).
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from earmark.contracts.bundle import BundleSpec, FrontEnd, Smoothing, StateSpec, Training

LABELS = ("low", "mid", "high", "top")
TONES_HZ = {"low": 250, "mid": 900, "high": 2100, "top": 5200}
N_MELS = 64


def write_tiny_bundle(folder: Path, **changes: object) -> Path:
    """Write the bundle into ``folder``; ``changes`` replace fields of its spec."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(), folder / "model.onnx")
    spec = BundleSpec(
        format=1,
        name="tiny",
        version="1",
        description="For tests.",
        front_end=FrontEnd(),
        hops_per_score=2,
        labels=LABELS,
        states=(StateSpec(name="previous", shape=(1, N_MELS)), StateSpec(name="integral", shape=(4,))),
        receptive_field_s=None,
        window_s=3.0,
        warmup_s=1.0,
        smoothing=Smoothing(min_gap_s=0.2, min_duration_s=0.12),
        training=Training(data="none", licences={}, recipe="set by hand"),
    )
    document = {**spec.model_dump(mode="json"), **changes}
    (folder / "bundle.json").write_text(json.dumps(document))
    return folder


def _model() -> onnx.ModelProto:
    bands = np.zeros((N_MELS, 4), np.float32)
    for index in range(4):
        bands[16 * index : 16 * (index + 1), index] = 1 / 16
    gru_w = np.concatenate([np.zeros((8, 4)), np.eye(4)])[None].astype(np.float32)
    constants = {
        "one": np.array([1]),
        "two": np.array([2]),
        "minus_one": np.array([-1]),
        "zero": np.array([0]),
        "end": np.array([2**31]),
        "half": np.float32(0.5),
        "bands": bands,
        "quiet": np.float32(11.0),
        "gru_w": gru_w,
        "gru_r": np.zeros((1, 12, 4), np.float32),
        "gain": np.float32(6.0),
        "bias": np.float32(0.0),
    }
    nodes = [
        helper.make_node("Concat", ["previous", "features"], ["heard"], axis=1),
        helper.make_node("Slice", ["heard", "minus_one", "end", "one"], ["new_previous"]),
        helper.make_node("Slice", ["heard", "zero", "minus_one", "one"], ["earlier"]),
        helper.make_node("Add", ["earlier", "features"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["mean"]),
        helper.make_node("Slice", ["mean", "one", "end", "one", "two"], ["hops"]),
        helper.make_node("MatMul", ["hops", "bands"], ["band"]),
        helper.make_node("Add", ["band", "quiet"], ["loud"]),
        helper.make_node("Transpose", ["loud"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node("Unsqueeze", ["integral", "zero"], ["h0"]),
        helper.make_node("GRU", ["by_time", "gru_w", "gru_r", "", "", "h0"], ["y", "y_h"], hidden_size=4),
        helper.make_node("Squeeze", ["y_h", "zero"], ["new_integral"]),
        helper.make_node("Squeeze", ["y", "one"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["by_row"], perm=[1, 0, 2]),
        helper.make_node("Mul", ["by_row", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", N_MELS]),
            helper.make_tensor_value_info("previous", TensorProto.FLOAT, ["B", 1, N_MELS]),
            helper.make_tensor_value_info("integral", TensorProto.FLOAT, ["B", 4]),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", "K", 4]),
            helper.make_tensor_value_info("new_previous", TensorProto.FLOAT, ["B", 1, N_MELS]),
            helper.make_tensor_value_info("new_integral", TensorProto.FLOAT, ["B", 4]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
