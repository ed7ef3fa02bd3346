"""Killing or freezing the engine, the publishers or both, at random moments, loses nothing and repeats nothing."""

import signal
import threading

import numpy as np
import pytest

from earmark.contracts.streams import format_epoch
from engine.detector import Detector
from tests.support.audio import tones
from tests.support.simulation import make_records, run_undisturbed
from tests.system.processes import running, write_wav

EPOCHS = {"gate": 7, "yard": 11}
SEEDS = {"gate": 10, "yard": 21}
DURATION_S = 40
FAULTS = 20
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sounds():
    return {name: tones(seed, DURATION_S) for name, seed in SEEDS.items()}


@pytest.fixture(scope="module")
def expected(sounds, tiny_bundle, tmp_path_factory):
    """The event ids and phases of a run in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    detector, spec = Detector(tiny_bundle.folder), tiny_bundle.spec
    found = set()
    for name, pcm in sounds.items():
        scores = detector.scores(pcm, 16_000)
        for threshold in (spec.smoothing.onset_threshold, spec.smoothing.offset_threshold):
            assert np.abs(scores - threshold).min() > 1e-3, "a score so near its threshold may fall either way"
        records = make_records(pcm, stream=name, epoch=EPOCHS[name])
        events = run_undisturbed(tiny_bundle, folder / f"{name}.db", records)
        found |= {(event.event_id, event.phase) for event in events}
    assert len(found) > 200
    return found


def test_faults_at_random_moments_change_no_event(sounds, expected, tiny_bundle, tmp_path):
    rng = np.random.default_rng()
    streams = {
        name: {"source": "file", "path": str(write_wav(tmp_path / f"{name}.wav", pcm)), "pace": "realtime"}
        for name, pcm in sounds.items()
    }
    epochs = [word for name, epoch in EPOCHS.items() for word in ("--epoch", f"{name}={format_epoch(epoch)}")]
    pause = threading.Event()
    told = []
    with running(
        tmp_path, streams, bundle=tiny_bundle.folder, engine={"checkpoint_s": 1.0}, streamer={"ring_s": 60}
    ) as machine:
        machine.start("engine")
        machine.start("publish")
        subscriber = machine.subscribe("--since", "0")
        machine.start("stream", *epochs)
        for _ in range(FAULTS):
            pause.wait(rng.uniform(0.1, 1.2))  # a random moment, not a synchronisation
            victims = [("engine",), ("publish",), ("engine", "publish")][rng.integers(3)]
            if rng.random() < 0.6:
                told.append(f"kill {victims}")
                for victim in victims:
                    machine.kill(victim)
                for victim in victims:
                    machine.start(victim)
            else:
                told.append(f"freeze {victims}")
                for victim in victims:
                    machine.signal(victim, signal.SIGSTOP)
                pause.wait(rng.uniform(0.1, 1.0))
                for victim in victims:
                    machine.signal(victim, signal.SIGCONT)
        assert machine.wait_for_end("stream") == 0
        newest = machine.newest_seq()
        subscriber.wait_for(lambda events: events and events[-1]["seq"] >= newest)
    got = [(event["event_id"], event["phase"]) for event in subscriber.events]
    assert len(got) == len(set(got)), f"told twice, after {told}"
    assert set(got) == expected, f"{len(expected - set(got))} lost, {len(set(got) - expected)} new, after {told}"
    assert [event["seq"] for event in subscriber.events] == list(range(1, len(got) + 1))
