"""An engine that is too slow by a factor of two: what it skips is counted, its delay is bounded, it recovers."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

import engine.service
from earmark.contracts.bundle import Bundle
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from engine.config import EngineConfig
from engine.runtimes import Audio, Rows, Scores
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.service import EngineService
from streamer.config import FileSource, StreamerConfig
from tests.streamer.fake import running
from tests.support.audio import tones
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S
from tests.system.processes import write_wav

RATE_HZ = 16_000
STREAMS = ("a", "b", "c")
DURATION_S, SLOW_S = 24.0, 12.0
MAX_LAG_S = 2.5
FACTOR = 2.0


class Tired(OnnxRuntime):
    """Takes `FACTOR` times as long for a hop of all streams as the hop lasts, while it is tired."""

    is_tired = True

    def step(self, rows: Rows, audio: Audio) -> Scores:
        if self.is_tired:
            time.sleep(FACTOR * len(rows) * audio.shape[1] / RATE_HZ / len(STREAMS))
        return super().step(rows, audio)


class TiredEngine:
    """An engine service in a thread, on a `Tired` runtime."""

    def __init__(self, config: EngineConfig, outbox: OutboxConfig) -> None:
        self._stop, ready = threading.Event(), threading.Event()
        self.lag_s: list[float] = []
        """The longest lag of a stream, looked at between any two steps of its main loop's housekeeping."""

        def run() -> None:
            service = EngineService(config, outbox)
            self.service = service
            service.run(self._stop, ready.set, self._look)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert ready.wait(DEADLINE_S)

    def _look(self) -> None:
        analyser = self.service._analyser
        self.lag_s.append(max((analyser.lag_s(stream) for stream in analyser.streams.values()), default=0.0))

    @property
    def runtime(self) -> Tired:
        return self.service._analyser._runtime  # type: ignore[return-value]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def total(name: str) -> float:
    found = [sample.value for family in REGISTRY.collect() for sample in family.samples if sample.name == name]
    return sum(found)


@pytest.mark.slow
def test_twice_the_load(tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine.service, "open_runtime", lambda bundle, _config: Tired(bundle))
    address = free_address()
    config = EngineConfig(bind=(address,), bundle=str(tiny_bundle.folder), checkpoint_s=0.5, max_lag_s=MAX_LAG_S)
    n_samples = round(DURATION_S * RATE_HZ)
    sources = {
        name: FileSource(path=write_wav(tmp_path / f"{name}.wav", tones(seed, DURATION_S)[:n_samples]))
        for seed, name in enumerate(STREAMS)
    }
    analysed, lost = total("earmark_analysed_samples_total"), total("earmark_gap_samples_total")
    tired = TiredEngine(config, OutboxConfig(path=tmp_path / "outbox.db"))
    try:
        with running(StreamerConfig(engines=(address,), ring_s=60), sources) as streamer:
            streamer.thread.join(SLOW_S)
            tired.runtime.is_tired = False
            n_slow = len(tired.lag_s)
            streamer.join()
            assert streamer.error is None
    finally:
        tired.close()
    analysed, lost = total("earmark_analysed_samples_total") - analysed, total("earmark_gap_samples_total") - lost
    assert lost > 0
    assert analysed + lost == len(STREAMS) * n_samples
    # Most of the looks, not all of them: what the machine holds up for a second is a second late.
    assert np.quantile(tired.lag_s[:n_slow], 0.9) < MAX_LAG_S + 2.0
    recovered = np.flatnonzero(np.array(tired.lag_s[n_slow:]) < 0.5)
    assert len(recovered)
    assert np.median(tired.lag_s[n_slow + int(recovered[0]) :]) < 0.5
