"""A judge small enough to reason about: it hears one window and scores each band by its mean log-mel there."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from earmark.contracts.bundle import BundleSpec, FrontEnd, Smoothing, Training
from tests.support.tiny_bundle import LABELS, N_MELS

WINDOW_HOPS = 30
"""0.6 s, less than any tiny bundle's warm-up."""


def write_judge_bundle(
    folder: Path, *, labels: tuple[str, ...] = LABELS, bias: float = 10.8, **changes: object
) -> Path:
    """Write the judge into ``folder``.

    Args:
        folder: Where to.
        labels: Its label i is the i-th band of the tiny bundle, whatever its name.
        bias: A band scores 0.5 where the mean of its log-mel is ``-bias``.
        changes: Replace fields of its spec.

    Returns:
        ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_model(len(labels), bias), folder / "model.onnx")
    spec = BundleSpec(
        format=1,
        name="judge",
        version="1",
        description="For tests.",
        front_end=FrontEnd(),
        hops_per_score=WINDOW_HOPS,
        labels=labels,
        states=(),
        receptive_field_s=0.6,
        smoothing=Smoothing(onset_threshold=0.5),
        training=Training(data="none", licences={}, recipe="set by hand"),
    )
    (folder / "bundle.json").write_text(json.dumps({**spec.model_dump(mode="json"), **changes}))
    return folder


def _model(n_labels: int, bias: float) -> onnx.ModelProto:
    bands = np.zeros((N_MELS, n_labels), np.float32)
    for index in range(n_labels):
        bands[16 * index : 16 * (index + 1), index] = 1 / 16
    nodes = [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["mean", "bands"], ["band"]),
        helper.make_node("Add", ["band", "bias"], ["above"]),
        helper.make_node("Mul", ["above", "gain"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", N_MELS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", "K", n_labels])],
        [
            numpy_helper.from_array(bands, "bands"),
            numpy_helper.from_array(np.float32(bias), "bias"),
            numpy_helper.from_array(np.float32(4), "gain"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
