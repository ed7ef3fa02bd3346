"""A live source loses audio to a network that is cut: what was lost, where, and what of it all was analysed."""

import threading

import pytest

from earmark.chaos.proxy import Proxy
from earmark.chaos.staging import free_ports
from earmark.outbox.config import OutboxConfig
from earmark.telemetry.metrics import REGISTRY
from engine.analyser import Analyser
from engine.config import EngineConfig
from engine.service import EngineService
from streamer.config import FileSource, StreamerConfig
from tests.streamer.fake import running
from tests.support.audio import RATE_HZ, tones
from tests.support.simulation import essence, make_records, run_undisturbed, stored_events
from tests.support.waiting import DEADLINE_S, wait_for
from tests.system.processes import write_wav

SECONDS, CUT_S = 9.0, 5.0
RING_AND_LAG_S = {"overrun": (2.0, 30.0), "shed": (8.0, 1.0)}
"""What loses audio: a ring that is shorter than the cut, or an engine that does not catch up with what a ring holds."""
N_SAMPLES = round(SECONDS * RATE_HZ)
EPOCH = 7


class Counter:
    """A metric of one stream, from now on."""

    def __init__(self, name, **labels):
        self._name, self._labels = f"earmark_{name}_total", labels
        self._before = self._now()

    def _now(self):
        return REGISTRY.get_sample_value(self._name, self._labels) or 0.0

    @property
    def samples(self):
        return self._now() - self._before


@pytest.fixture
def gaps(monkeypatch):
    """Where the engine counted samples as lost: (first sample, how many)."""
    found = []
    count = Analyser._count_gap

    def note(self, stream, reason, n_samples):
        decided = int(self._decided[stream.slot])
        found.append((decided if reason.name == "SHED" else max(stream.needed, decided), n_samples))
        count(self, stream, reason, n_samples)

    monkeypatch.setattr(Analyser, "_count_gap", note)
    return found


@pytest.fixture
def outbox(tmp_path):
    """Where the engine's lies."""
    return tmp_path / "outbox.db"


@pytest.fixture
def serve(tiny_bundle, outbox):
    """Starts an engine behind a network; returns the network. Ends both."""
    stop, begun = threading.Event(), []

    def serve(**settings):
        (port,) = free_ports(1)
        config = EngineConfig(bind=(f"tcp://127.0.0.1:{port}",), bundle=str(tiny_bundle.folder), **settings)
        ready = threading.Event()
        thread = threading.Thread(target=lambda: EngineService(config, OutboxConfig(path=outbox)).run(stop, ready.set))
        thread.start()
        begun.append((thread, Proxy(*free_ports(1), port)))
        assert ready.wait(DEADLINE_S)
        return begun[-1][1]

    yield serve
    stop.set()
    for thread, proxy in begun:
        thread.join(DEADLINE_S)
        proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize("lost_by", RING_AND_LAG_S)
def test_sent_is_analysed_and_lost(serve, gaps, tiny_bundle, outbox, lost_by):
    pcm = tones(31, SECONDS)
    captured, analysed = (Counter(f"{name}_samples", stream="live") for name in ("captured", "analysed"))
    lost = {name: Counter("gap_samples", stream="live", reason=name) for name in ("overrun", "shed", "device")}
    ring_s, max_lag_s = RING_AND_LAG_S[lost_by]
    network = serve(max_lag_s=max_lag_s)
    source = FileSource(path=write_wav(outbox.with_name("live.wav"), pcm))
    settings = StreamerConfig(engines=(network.address,), ring_s=ring_s)
    with running(settings, {"live": source}, epochs={"live": EPOCH}) as streamer:
        wait_for(lambda: captured.samples > RATE_HZ, "a second of audio")
        network.is_cut = True
        network.reset()
        until = captured.samples + CUT_S * RATE_HZ
        wait_for(lambda: captured.samples > until, "so much audio")
        network.is_cut = False
        streamer.join()
        assert streamer.error is None
    assert captured.samples == N_SAMPLES
    assert analysed.samples + sum(counter.samples for counter in lost.values()) == N_SAMPLES
    assert lost[lost_by].samples > RATE_HZ
    records = make_records(pcm, stream="live", epoch=EPOCH, gaps=gaps)
    expected = run_undisturbed(tiny_bundle, outbox.with_name("reference.db"), records)
    got = stored_events(outbox)
    assert without_times(got) == without_times(expected)
    assert any(event.reason == "gap" for event in got)


def without_times(events):
    """The streamer of the reference began at another time."""
    return [fields[:-2] for fields in essence(events)]
