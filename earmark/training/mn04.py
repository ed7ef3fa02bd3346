"""EfficientAT's ``mn04_as``, a network of 527 AudioSet classes, from its plain checkpoint to ONNX Runtime.

It is MobileNetV3-Large (Howard et al., "Searching for MobileNetV3", ICCV 2019) of width 0.4, distilled from
transformers (Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation", ICASSP 2023). It is not causal and needs context, so it hears a whole scene, and its last features are
pooled locally: every `COLUMN_S` it says what sounds within about a second. Nothing of it ships.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Self

import numpy as np
import onnx
import onnxruntime
import soxr
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from earmark.contracts.errors import ConfigError

Audio = NDArray[np.float32]
Floats = NDArray[np.float32]

RATE_HZ = 32_000
COLUMN_S = 0.32
"""From one column of the last features to the next."""
N_FEATURES, N_CLASSES = 384, 527
_HOP, _WIN, _N_FFT, _N_MELS, _FMAX_HZ = 320, 800, 1024, 128, 15_000.0
_PREEMPHASIS, _LOG_OFFSET = 0.97, 1e-5
_STEM, _LAST = "features.0", "features.16"
_BLOCKS = tuple(f"features.{i}.block" for i in range(1, 16))
_STRIDES = {2: 2, 4: 2, 7: 2, 13: 2}
"""Of the blocks counted from 1; the stem has 2 as well."""
_FIRST_HARD_SWISH = 7
"""The block from which on activations are hard-swish instead of ReLU."""
_FEATURE_COLUMNS, _LOGIT_COLUMNS = 3, 5
"""Columns that local features and logits are means of."""
_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Heard:
    """What the network makes of a recording, one row a column: its centre lies at ``i * COLUMN_S``.

    Attributes:
        features: The last features, means over frequency and 3 columns, float32 ``[W, 384]``.
        logits: Of all AudioSet classes, from the mean of 5 columns, float32 ``[W, 527]``.
    """

    features: Floats
    logits: Floats


class Mn04:
    """The network; another process opens the file for itself.

    Args:
        path: ``mn04_as_mAP_432.pt``.
        threads: Of ONNX Runtime.

    Raises:
        ConfigError: There is no such file, or it holds another network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise ConfigError(f"expected the checkpoint of mn04_as at {path}, found no such file")
        self.path, self._threads = path, threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        try:
            weights = torch.load(path, weights_only=True, map_location="cpu")
            arrays = {name: value.numpy() for name, value in weights.items()}
            model = _Trunk(arrays).onnx_model()
            self._head = [arrays[f"classifier.{layer}.{kind}"] for layer in (2, 5) for kind in ("weight", "bias")]
        except (UnpicklingError, RuntimeError, EOFError, KeyError, AttributeError, ValueError) as error:
            raise ConfigError(f"expected the checkpoint of mn04_as in {path}, got something else: {error!r}") from error
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int]]:
        return type(self), (self.path, self._threads)

    @property
    def digest(self) -> str:
        """Names the weights."""
        return hashlib.blake2b(self.path.read_bytes(), digest_size=8).hexdigest()

    def columns(self, audio: Audio) -> Floats:
        """The last features of ``audio [n]`` at 16 kHz, means over frequency, float32 ``[W, 384]``."""
        mel = log_mel(soxr.resample(audio, RATE_HZ // 2, RATE_HZ))
        return self._session.run(["columns"], {"mel": mel[None, None]})[0][0]

    def logits(self, columns: Floats) -> Floats:
        """Logits ``[..., 527]`` of features ``[..., 384]``: of a column, or of the mean of several."""
        weight, bias, last_weight, last_bias = self._head
        hidden = columns @ weight.T + bias
        return (hidden * np.clip(hidden / 6 + 0.5, 0, 1)) @ last_weight.T + last_bias  # hard-swish between the layers

    def __call__(self, audio: Audio) -> Heard:
        """Local features and logits of ``audio [n]``, float32 in [-1, 1] at 16 kHz, at least 0.1 s."""
        columns = self.columns(audio)
        return Heard(moving_mean(columns, _FEATURE_COLUMNS), self.logits(moving_mean(columns, _LOGIT_COLUMNS)))


def moving_mean(columns: Floats, width: int) -> Floats:
    """Means over ``width`` (odd) rows around each row of ``columns [W, D]``; fewer at the ends."""
    sums = np.cumsum(np.pad(columns, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    centres, half = np.arange(len(columns)), width // 2
    first, last = np.maximum(centres - half, 0), np.minimum(centres + half + 1, len(columns))
    return ((sums[last] - sums[first]) / (last - first)[:, None]).astype(np.float32)


def log_mel(audio: Audio) -> Floats:
    """The front end: ``audio [n]`` at 32 kHz to float32 ``[128, 1 + (n - 1) // 320]``."""
    shaped = audio[1:] - np.float32(_PREEMPHASIS) * audio[:-1]
    padded = np.pad(shaped, _N_FFT // 2, mode="reflect" if len(shaped) > _N_FFT // 2 else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP]
    spectrum = np.fft.rfft(frames * _WINDOW, axis=1).astype(np.complex64)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return ((np.log(power @ _BANDS + np.float32(_LOG_OFFSET)) + np.float32(4.5)) / np.float32(5)).T


def _kaldi_bands() -> Floats:
    """Triangular filters, even in mel, between 0 Hz and `_FMAX_HZ`, float32 ``[n_fft // 2 + 1, n_mels]``."""

    def mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1127 * np.log1p(hz / 700)

    bins = mel(np.arange(_N_FFT // 2 + 1) * RATE_HZ / _N_FFT)[:, None]
    edges = np.linspace(0, mel(np.array(_FMAX_HZ)), _N_MELS + 2)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


_BANDS = _kaldi_bands()
_WINDOW = np.pad(np.hanning(_WIN), (_N_FFT - _WIN) // 2).astype(np.float32)


class _Trunk:
    """Writes all of the network but its head as an ONNX graph, batch norms folded.

    Args:
        weights: The checkpoint, by name.
    """

    def __init__(self, weights: dict[str, NDArray[np.float32]]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def onnx_model(self) -> onnx.ModelProto:
        """A graph from ``mel [B, 1, 128, T]`` to ``columns [B, W, 384]``."""
        x = self._add("HardSwish", [self._conv("mel", _STEM, stride=2)])
        for number, block in enumerate(_BLOCKS, start=1):
            x = self._block(x, block, number)
        x = self._add("HardSwish", [self._conv(x, _LAST)])
        mean = self._add("ReduceMean", [x], axes=[2], keepdims=0)
        self._nodes.append(helper.make_node("Transpose", [mean], ["columns"], perm=[0, 2, 1]))
        mel = helper.make_tensor_value_info("mel", onnx.TensorProto.FLOAT, ["B", 1, _N_MELS, "T"])
        columns = helper.make_tensor_value_info("columns", onnx.TensorProto.FLOAT, ["B", "W", N_FEATURES])
        graph = helper.make_graph(self._nodes, "mn04", [mel], [columns], list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _block(self, source: str, name: str, number: int) -> str:
        """An inverted residual block: expand, depthwise, perhaps squeeze and excite, project."""
        operator = "HardSwish" if number >= _FIRST_HARD_SWISH else "Relu"
        stride, x, part = _STRIDES.get(number, 1), source, 0
        if f"{name}.2.1.weight" in self._weights or f"{name}.3.1.weight" in self._weights:
            x, part = self._add(operator, [self._conv(x, f"{name}.0")]), 1
        x = self._add(operator, [self._conv(x, f"{name}.{part}", stride=stride, depthwise=True)])
        if f"{name}.{part + 1}.conc_se_layers.0.fc1.weight" in self._weights:
            part += 1
            x = self._excited(x, f"{name}.{part}.conc_se_layers.0")
        x = self._conv(x, f"{name}.{part + 1}")
        is_same = stride == 1 and self._width(f"{name}.0.0", axis=1) == self._width(f"{name}.{part + 1}.0", axis=0)
        return self._add("Add", [x, source]) if is_same or number == 1 else x

    def _width(self, name: str, axis: int) -> int:
        return int(self._weights[f"{name}.weight"].shape[axis])

    def _conv(self, source: str, name: str, stride: int = 1, *, depthwise: bool = False) -> str:
        weight = self._weights[f"{name}.0.weight"]
        scale = self._weights[f"{name}.1.weight"] / np.sqrt(self._weights[f"{name}.1.running_var"] + _NORM_EPS)
        bias = self._weights[f"{name}.1.bias"] - self._weights[f"{name}.1.running_mean"] * scale
        size = weight.shape[2]
        inputs = [self._constant(f"{name}.weight", weight * scale[:, None, None, None]), self._constant(name, bias)]
        return self._add(
            "Conv",
            [source, *inputs],
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=len(weight) if depthwise else 1,
        )

    def _excited(self, source: str, name: str) -> str:
        mean = self._add("ReduceMean", [source], axes=[2, 3], keepdims=0)
        hidden = self._add("Relu", [self._linear(mean, f"{name}.fc1")])
        gate = self._add("Sigmoid", [self._linear(hidden, f"{name}.fc2")])
        axes = self._constant("spatial_axes", np.array([2, 3], np.int64))
        return self._add("Mul", [source, self._add("Unsqueeze", [gate, axes])])

    def _linear(self, source: str, name: str) -> str:
        parameters = [self._constant(f"{name}.{kind}", self._weights[f"{name}.{kind}"]) for kind in ("weight", "bias")]
        return self._add("Gemm", [source, *parameters], transB=1)

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def _add(self, operator: str, inputs: list[str], **attributes: object) -> str:
        output = f"x{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output
