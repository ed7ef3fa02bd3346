"""What an engine shows reaches who looks, over real sockets."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import WireError
from earmark.contracts.monitor import (
    Frames,
    RefusedCandidate,
    StepAudio,
    StepScores,
    StreamStatus,
    decode_monitor,
    encode_audio,
    encode_frames,
    encode_refused,
    encode_scores,
    encode_statuses,
)
from earmark.contracts.streams import AudioBlock
from earmark.outbox import StoredStream
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from engine.analyser import Analyser
from engine.confirmation import open_confirmation
from engine.frontend import LogMel
from engine.judging import ConfirmConfig
from engine.monitor import Monitor as EngineMonitor
from engine.runtimes.onnxruntime import OnnxRuntime
from publishers.monitor import STALE_S, Monitor
from tests.support.audio import tones
from tests.support.judge_bundle import write_judge_bundle
from tests.support.simulation import START_NS, make_records
from tests.support.waiting import DEADLINE_S, wait_for

RATE_HZ = 16_000


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    context = zmq.Context()
    yield context
    context.term()


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def monitor(context: "zmq.Context[zmq.Socket[bytes]]", outbox: OutboxConfig, clock: list[float]) -> Iterator[Monitor]:
    monitor = Monitor(context, outbox.path, clock=lambda: clock[0])
    monitor.start()
    yield monitor
    monitor.stop()
    assert monitor.join(DEADLINE_S)
    monitor.close()
    assert monitor.error is None


class Shown:
    """An analyser of two streams that hear a tone, and its monitor."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", outbox: OutboxConfig, bundle: Bundle) -> None:
        self.spec = bundle.spec
        self.analyser = Analyser(OnnxRuntime(bundle))
        self.monitor = EngineMonitor(context, outbox.path, self.analyser, self.spec, clips=["gate"])
        self.coverage = {"gate": 1.0, "yard": 1.0, "dead": 0.0}
        for name in ("gate", "yard"):
            self.analyser.open(name, 7, StoredStream(0, None))
        self.sent = np.zeros(0, np.int16)

    def hear(self) -> None:
        """A second of a tone at -9 dBFS."""
        first = len(self.sent)
        pcm = (0.5 * 32768 * np.sin(np.arange(first, first + RATE_HZ) / 5)).astype(np.int16)
        self.sent = np.concatenate([self.sent, pcm])
        for name in ("gate", "yard"):
            block = AudioBlock(name, 7, first, first * 62_500, RATE_HZ, first + 2 * RATE_HZ, pcm, can_wait=True)
            self.analyser.accept(block, 1000.0)
        self.analyser.advance()


@pytest.fixture
def shown(context: "zmq.Context[zmq.Socket[bytes]]", outbox: OutboxConfig, tiny_bundle: Bundle) -> Iterator[Shown]:
    shown = Shown(context, outbox, tiny_bundle)
    yield shown
    shown.monitor.close()


def looked_up(shown: Shown, wanted: bool) -> bool:
    shown.monitor.look_up()
    return bool(shown.analyser._observation._observer) is wanted


def test_statuses_tell_who_is_heard(monitor: Monitor, shown: Shown, clock: list[float]):
    def told() -> bool:
        shown.hear()
        shown.monitor.look_up()
        for name, ratio in shown.coverage.items():
            shown.monitor.note_status(name, ratio, 180.0, 1001.0)
        shown.monitor.show_statuses()
        return bool(monitor.statuses())

    wait_for(told)
    dead, gate, yard = monitor.statuses()
    assert (dead.stream, dead.up, dead.level_db, dead.lag_s) == ("dead", False, None, 0.0)
    assert (gate.stream, gate.up, gate.lag_s) == ("gate", True, 1.0)
    assert gate.level_db == pytest.approx(-9.0, abs=0.1)
    assert yard.up
    clock[0] += STALE_S
    assert not any(status.up for status in monitor.statuses())


def test_frames_come_while_somebody_watches(monitor: Monitor, shown: Shown):
    taken: list[Frames] = []
    end = monitor.watch("gate", taken.append)
    wait_for(lambda: looked_up(shown, wanted=True))
    begin = len(shown.sent)
    shown.hear()
    n_samples = RATE_HZ // shown.spec.output_hop * shown.spec.output_hop
    wait_for(lambda: sum(len(frames.scores) for frames in taken) * shown.spec.output_hop == n_samples)
    assert {frames.stream for frames in taken} == {"gate"}
    assert taken[0].first_sample == begin
    assert taken[0].first_ns == begin * 62_500
    features = np.concatenate([frames.features for frames in taken])
    front_end = LogMel(shown.spec.front_end)
    whole = front_end(np.pad(shown.sent[None] / np.float32(32768), ((0, 0), (front_end.tail_length, 0))))[0]
    np.testing.assert_allclose(features, whole[: len(features)], atol=0.02)
    assert np.concatenate([frames.level_db for frames in taken]) == pytest.approx(-9.0, abs=0.2)
    end()
    wait_for(lambda: looked_up(shown, wanted=False))
    n_taken = len(taken)
    shown.hear()
    answered = threading.Event()
    monitor.watch("yard", lambda _: answered.set())
    wait_for(lambda: looked_up(shown, wanted=True))
    shown.hear()
    assert answered.wait(DEADLINE_S)
    assert len(taken) == n_taken


def test_audio_comes_to_the_sample_while_somebody_asks_and_never_of_a_stream_that_does_not_allow_it(
    monitor: Monitor, shown: Shown
):
    def refused() -> float:
        return REGISTRY.get_sample_value("earmark_refused_records_total", {"reason": "audio"}) or 0.0

    before = refused()
    taken: list[StepAudio] = []
    steps: list[StepScores] = []
    ends = [monitor.watch_audio(name, taken.append) for name in ("yard", "attic", "gate")]
    wait_for(lambda: looked_up(shown, wanted=True) and set(shown.monitor._asked.audio) == {"yard", "attic", "gate"})
    assert refused() > before
    ends.append(monitor.watch_scores(steps.append))
    wait_for(lambda: looked_up(shown, wanted=True) and shown.monitor._asked.scores)
    begin = len(shown.sent)
    shown.hear()
    n_samples = RATE_HZ // shown.spec.output_hop * shown.spec.output_hop
    for name in ("gate", "yard"):
        told = lambda name=name: sum(step.scores.shape[1] for step in steps if name in step.streams)  # noqa: E731
        wait_for(lambda told=told: told() * shown.spec.output_hop == n_samples)
    wait_for(lambda: sum(len(audio.pcm) for audio in taken) == n_samples)
    assert {(audio.stream, audio.epoch) for audio in taken} == {("gate", "0000000000000007")}
    assert taken[0].first_sample == begin
    np.testing.assert_array_equal(np.concatenate([audio.pcm for audio in taken]), shown.sent[begin:][:n_samples])
    assert {step.epochs[i] for step in steps for i, _ in enumerate(step.streams)} == {"0000000000000007"}
    assert min(sample for step in steps for sample in step.first_samples) == begin
    for end in ends:
        end()
    wait_for(lambda: looked_up(shown, wanted=False))


def test_refused_candidates_come_while_somebody_watches(
    monitor: Monitor,
    context: "zmq.Context[zmq.Socket[bytes]]",
    outbox: OutboxConfig,
    tiny_bundle: Bundle,
    tmp_path: Path,
):
    judge = ConfirmConfig(bundle=str(write_judge_bundle(tmp_path / "judge", bias=-30.0)), after_s=0.2, again_s=0.4)
    analyser = Analyser(OnnxRuntime(tiny_bundle), confirmation=open_confirmation(tiny_bundle, judge))
    shown = EngineMonitor(context, outbox.path, analyser, tiny_bundle.spec)
    records = {name: make_records(tones(3, 4), stream=name)[:-1] for name in ("gate", "yard")}
    for name in records:
        analyser.open(name, 7, StoredStream(0, None))
    taken: list[RefusedCandidate] = []

    def hear(first: int, end: int) -> None:
        for own in records.values():
            for record in own[first:end]:
                analyser.accept(record, 0.0)
        analyser.advance()

    hear(0, 10)
    end = monitor.watch_refused("gate", taken.append)
    wait_for(lambda: shown.look_up() or bool(analyser._observation.on_verdict))
    hear(10, 64)
    wait_for(lambda: len({refused.until_ns for refused in taken}) > 3)
    for refused in taken:
        assert (refused.stream, refused.epoch) == ("gate", f"{7:016x}")
        assert refused.label in tiny_bundle.spec.labels
        assert START_NS <= refused.onset_ns < refused.until_ns
        assert refused.score < 0.5
    end()
    wait_for(lambda: shown.look_up() or not analyser._observation.on_verdict)
    shown.close()


def test_every_value_of_pcm_survives_the_model(monitor: Monitor, shown: Shown):
    del monitor
    pcm = np.arange(-32768, 32768).astype(np.int16)
    heard = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32)
    sent: list[StepAudio] = []
    shown.monitor._audible = frozenset(["gate"])
    shown.monitor._sender.send_audio = sent.append
    shown.monitor._show(["gate"], np.array([640]), np.zeros((1, 1, 4), np.float32), heard[None])
    np.testing.assert_array_equal(sent[0].pcm, pcm)
    assert sent[0].first_sample == 640


def test_messages_survive_the_wire():
    status = StreamStatus(stream="gate", up=True, coverage=0.5, level_db=None, lag_s=0.0)
    assert decode_monitor(encode_statuses([status])) == (status,)
    arrays = {"level_db": np.zeros(2, np.float32), "features": np.ones((4, 8), np.float32)}
    frames = Frames("gate", "0" * 16, 640, 5, 640, RATE_HZ, scores=np.full((2, 3), 0.25, np.float32), **arrays)
    again = decode_monitor(encode_frames(frames))
    assert isinstance(again, Frames)
    assert (again.stream, again.first_sample, again.first_ns) == ("gate", 640, 5)
    for name in ("level_db", "features", "scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(frames, name))
    scores = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 3, 2)
    step = StepScores(("gate", "yard"), ("0" * 16, "1" * 16), (640, 0), 640, RATE_HZ, scores)
    again = decode_monitor(encode_scores(step))
    assert isinstance(again, StepScores)
    assert (again.streams, again.epochs, again.first_samples) == (step.streams, step.epochs, step.first_samples)
    np.testing.assert_allclose(again.scores, scores, atol=1e-3)
    refused = RefusedCandidate(stream="gate", epoch="0" * 16, label="dog", onset_ns=5, until_ns=9, score=0.25)
    assert decode_monitor(encode_refused(refused)) == refused
    audio = decode_monitor(encode_audio(StepAudio("gate", "0" * 16, 640, np.array([-32768, 32767], np.int16))))
    assert isinstance(audio, StepAudio)
    assert (audio.topic, audio.first_sample, audio.pcm.tolist()) == (b"/audio/gate/", 640, [-32768, 32767])


def _frames(**changes: object) -> list[bytes]:
    """Frames without scores, but for what is changed in their header."""
    header = {"stream": "gate", "epoch": "0" * 16, "first_sample": 0, "first_ns": 0, "hop": 640, "sample_rate_hz": 1}
    shapes = {"shapes": [[0], [0, 8], [0, 3]]}
    return [b"/frames/gate/", json.dumps({**header, **shapes, **changes}).encode(), b"", b"", b""]


def test_frames_may_be_none():
    assert isinstance(decode_monitor(_frames()), Frames)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"/status"],
        [b"/status", b"[1]"],
        [b"/status", b'[{"stream": "gate", "up": true, "coverage": 1, "level_db": 0, "lag_s": Infinity}]'],
        [b"/status", b'[{"stream": "gate", "up": true, "coverage": 1, "level_db": NaN, "lag_s": 0}]'],
        [b"/frames/gate/", b"{}", b"", b"", b""],
        [b"/frames/gate/", b"[" * 100_000, b"", b"", b""],
        _frames()[:-1],
        _frames(first_sample=float("inf")),
        _frames(hop=0),
        _frames(shapes=[[-1], [0, 8], [0, 3]]),
        _frames(shapes=[[0], [0], [0, 3]]),
        [*_frames(shapes=[[1], [0, 8], [0, 3]])[:2], b"\0\0", b"", b""],
        [*_frames(shapes=[[0], [1, 1], [0, 3]])[:2], b"", b"\0\0", b""],
        [b"/scores", b"{}", b""],
        [
            b"/scores",
            b'{"streams":["a"],"epochs":[],"first_samples":[0],"hop":1,"sample_rate_hz":1,"shape":[1,1,1]}',
            b"00",
        ],
        [b"/refused/gate/", b"{}"],
        [b"/audio/gate/", b'{"stream":"gate","epoch":"0","first_sample":0}', b"odd"],
    ],
)
def test_other_bytes_are_refused(parts: list[bytes]):
    with pytest.raises(WireError):
        decode_monitor(parts)
