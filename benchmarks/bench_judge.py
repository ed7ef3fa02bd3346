"""What `engine.confirm` costs: a judge of some 300 MFLOP a window beside 500 streams of `urban-int8`.

    python -m benchmarks.bench_judge [STREAMS] [SECONDS]

The judge's weights are random, for only its arithmetic counts. Everything runs on one thread and is given in processor
time, but for the delays. Runs with and without the judge take turns.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from earmark.benchmark.load import Street, read_audio
from earmark.contracts.bundle import Bundle, BundleSpec, FrontEnd, Training, load_bundle
from earmark.contracts.wire import read_messages
from earmark.outbox import Outbox
from earmark.telemetry.metrics import JUDGED_WINDOWS
from engine.analyser import Analyser
from engine.buffers import AudioBuffers
from engine.confirmation import open_confirmation
from engine.judging import ConfirmConfig, plan_judging
from engine.runtimes.judge import MOST_WINDOWS, Judge
from engine.runtimes.onnxruntime import OnnxRuntime

DATA = Path("../shared/data")
WINDOW_HOPS = 125
"""2.5 s."""
CHANNELS = ((1, 32, 125, 64), (32, 64, 62, 32), (64, 64, 62, 32), (64, 128, 31, 16))
"""Of each convolution of 3 x 3: channels in and out, frames, bands. The first and the third are followed by pooling."""
PER_MINUTE = 2
"""Questions a stream that the headline is about."""
MOST_QUESTIONS = 8
"""As the engine's service asks in a turn."""


def main() -> None:
    """Print the figures."""
    n_streams, seconds = (int(text) for text in (*sys.argv[1:], "500", "20")[:2])
    bundle = load_bundle("urban-int8")
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        confirm = ConfirmConfig(bundle=str(write_judge(Path(folder) / "judge", bundle.spec.labels)))
        print_questions(bundle, confirm, n_streams)
        print_memory(bundle, confirm, n_streams)
        print_streams(bundle, confirm, n_streams, seconds, Path(folder))


def write_judge(folder: Path, labels: Sequence[str]) -> Path:
    """Write a window model with random weights."""
    folder.mkdir()
    onnx.save(_model(len(labels)), folder / "model.onnx")
    spec = BundleSpec(
        format=1,
        name="judge",
        version="1",
        description="For the benchmark.",
        front_end=FrontEnd(),
        hops_per_score=WINDOW_HOPS,
        labels=tuple(labels),
        states=(),
        receptive_field_s=2.5,
        training=Training(data="none", licences={}, recipe="random"),
    )
    (folder / "bundle.json").write_text(json.dumps(spec.model_dump(mode="json")))
    return folder


def _model(n_labels: int) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[np.generic]] = {"axis": np.array([1])}
    nodes, heard = [helper.make_node("Unsqueeze", ["features", "axis"], ["x"])], "x"
    for index, (n_in, n_out, _, _) in enumerate(CHANNELS):
        weights[f"w{index}"] = rng.normal(0, (9 * n_in) ** -0.5, (n_out, n_in, 3, 3)).astype(np.float32)
        nodes.append(helper.make_node("Conv", [heard, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        heard = f"r{index}"
        if index in {0, 2}:
            nodes.append(helper.make_node("MaxPool", [heard], [f"p{index}"], kernel_shape=[2, 2], strides=[2, 2]))
            heard = f"p{index}"
    weights["out"] = rng.normal(0, 1, (CHANNELS[-1][1], n_labels)).astype(np.float32)
    nodes += [
        helper.make_node("ReduceMean", [heard], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "out"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["score"]),
        helper.make_node("Unsqueeze", ["score", "axis"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", 1, n_labels])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def print_questions(bundle: Bundle, confirm: ConfirmConfig, n_streams: int) -> None:
    """What one question costs, alone and in the largest step."""
    judging = plan_judging(bundle, confirm)
    judge = Judge(judging.bundle, judging.window)
    mflop = sum(2 * 9 * n_in * n_out * n_frames * n_bands for n_in, n_out, n_frames, n_bands in CHANNELS) / 1e6
    for n in (1, MOST_WINDOWS):
        audio = np.random.default_rng(0).normal(0, 0.1, (n, judging.window)).astype(np.float32)
        judge(audio)
        times_ms = []
        for _ in range(40):
            began_s = time.process_time()
            judge(audio)
            times_ms.append(1e3 * (time.process_time() - began_s) / n)
        share = n_streams * PER_MINUTE / 60 * median(times_ms) / 1e3
        print(
            f"a window of {judging.window / 16_000:g} s, {mflop:.0f} MFLOP, {n} at once: {median(times_ms):.2f} ms; "
            f"{n_streams} streams, {PER_MINUTE} a minute each: {100 * share:.1f} % of a core"
        )


def print_memory(bundle: Bundle, confirm: ConfirmConfig, n_streams: int) -> None:
    """What the audio that the judge may hear takes of memory, once all buffers went round."""
    window, sizes = plan_judging(bundle, confirm).window, []
    for history in (0, window):
        before = _resident_bytes()
        buffers = AudioBuffers(64_000, history)
        buffers.grow(n_streams)
        for slot in range(n_streams):
            for _ in range(12):
                buffers.append(slot, np.ones(16_000, np.int16))
                buffers.take(np.array([slot]), 16_000)
        sizes.append((_resident_bytes() - before) / n_streams / 1024)
        del buffers
    print(f"audio of a stream: {sizes[0]:.0f} KiB without a judge, {sizes[1]:.0f} KiB with it")


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096


def print_streams(bundle: Bundle, confirm: ConfirmConfig, n_streams: int, seconds: int, folder: Path) -> None:
    """Processor time of all streams with and without the judge, and the delays of what was decided."""
    _, audio = read_audio(DATA, bundle.spec.sample_rate_hz)
    for repeat in range(2):
        for name, judge in (("without", None), ("with", confirm)):
            street = Street(audio, n_streams, bundle.spec.sample_rate_hz, bundle.spec.output_hop)
            before = JUDGED_WINDOWS._value.get()  # noqa: SLF001 -- of this process
            with closing(Outbox(folder / f"{repeat}-{name}.db")) as outbox:
                core_s, delays_ms = _hear(bundle, judge, street, seconds, outbox)
            n_questions = JUDGED_WINDOWS._value.get() - before  # noqa: SLF001 -- likewise
            p50, p99 = np.quantile(delays_ms, [0.5, 0.99])
            print(
                f"{name} judge: {100 * core_s / seconds:.0f} % of a core for {n_streams} streams in real time; "
                f"{60 * n_questions / n_streams / seconds:.1f} questions a stream and minute; "
                f"onsets {p50:.0f} ms after their last needed sample in the median, p99 {p99:.0f} ms"
            )


def _hear(
    bundle: Bundle, confirm: ConfirmConfig | None, street: Street, seconds: int, outbox: Outbox
) -> tuple[float, list[float]]:
    """Processor seconds, and the delays of all onsets."""
    confirmation = open_confirmation(bundle, confirm)
    analyser, delays_ms, core_s = Analyser(OnnxRuntime(bundle), confirmation=confirmation), list[float](), 0.0
    for name, epoch in zip(street.names, street.epochs, strict=True):
        analyser.open(name, epoch, outbox.load(name))
    for index in range(seconds * 25):
        messages = street.round(index)
        began_s = time.process_time()
        table, _ = read_messages(messages)
        analyser.accept_many(table, time.monotonic())
        commits = analyser.collect(MOST_QUESTIONS)
        outbox.commit(commits)
        for commit in commits:
            analyser.committed(commit)
        core_s += time.process_time() - began_s
        delays_ms += [e.delay_ms for each in commits for e in each.events if e.phase == "onset" and e.delay_ms]
    return core_s, delays_ms


if __name__ == "__main__":
    main()
