"""What the load generator says that it sent is what it sent."""

import math
import os
import threading
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import zmq

from earmark.benchmark import generator, realtime
from earmark.benchmark.generator import Load, generate
from earmark.benchmark.load import Street, read_audio
from earmark.benchmark.measuring import read_values
from earmark.benchmark.pinning import Cores, on_core
from earmark.benchmark.processes import running
from earmark.benchmark.realtime import _told, make_load, percentiles
from earmark.benchmark.settings import Settings, mflop_per_audio_second
from earmark.contracts.addresses import ack_address
from earmark.contracts.bundle import load_bundle
from earmark.contracts.streams import Ack
from earmark.contracts.wire import decode_records, encode_ack
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S

BLOCK, RATE_HZ = 640, 16_000


@pytest.fixture
def quick(tiny_bundle, tmp_path):
    return Settings(str(tiny_bundle.folder), tmp_path, tmp_path, quick=True, cores=Cores.choose())


class Taker(threading.Thread):
    """Takes blocks as an engine does and acknowledges ends; remembers every record."""

    def __init__(self):
        super().__init__()
        self.address = free_address()
        self.records = []
        self.acknowledges_ends = True
        self.over = threading.Event()
        self._context = zmq.Context()
        self._blocks, self._acks = self._context.socket(zmq.PULL), self._context.socket(zmq.PUB)
        self._blocks.bind(self.address)
        self._acks.bind(ack_address(self.address))

    def run(self):
        while not self.over.is_set():
            if not self._blocks.poll(20):
                continue
            for record in decode_records(self._blocks.recv()):
                self.records.append(record)
                keep = record.end_sample if record.end and self.acknowledges_ends else 0
                ack = Ack(record.stream, record.epoch, keep_sample=keep, needed_sample=record.end_sample)
                self._acks.send(encode_ack(ack))
        self._context.destroy(linger=0)


@pytest.fixture
def taker():
    taker = Taker()
    taker.start()
    yield taker
    taker.over.set()
    taker.join(DEADLINE_S)


def load_for(taker, tmp_path, **changes):
    common = {"n_streams": 6, "block": BLOCK, "sample_rate_hz": RATE_HZ, "warm_up_s": 0.2, "audio_s": 1.0}
    patient = {**common, "give_up_s": math.inf, "data": tmp_path}
    return Load(taker.address, os.getpid(), **{**patient, **changes})


def by_epoch(records):
    found = defaultdict(list)
    for record in records:
        found[record.stream, record.epoch].append(record)
    return found


def test_every_sample_that_it_counts_was_sent_in_order_and_every_epoch_ends(taker, tmp_path):
    sent = generate(load_for(taker, tmp_path, warm_up_s=0.0))
    epochs = by_epoch(taker.records)
    assert sent.samples == sum(len(record.pcm) for record in taker.records)
    assert sent.blocks == len(taker.records)
    assert sent.epochs == len(epochs) > 6, "streams leave and join"
    assert sent.unanswered == 0
    for records in epochs.values():
        assert [record.first_sample for record in records] == [BLOCK * i for i in range(len(records))]
        assert [record.end for record in records] == [False] * (len(records) - 1) + [True]
    assert len(sent.delays_ms) == sent.epochs - 6, "every stream but those that are there at the end left once"
    assert min(sent.delays_ms) > 0
    assert sent.engine_busy is not None


def test_real_time_is_real_time(taker, tmp_path):
    sent = generate(load_for(taker, tmp_path, audio_s=1.0, warm_up_s=0.0))
    # 6 streams for a second, less what those that left were away: at most half a second, every 0.1 s
    assert 0.5 * 6 * RATE_HZ < sent.samples < 1.2 * 6 * RATE_HZ


def test_unpaced_nobody_leaves_before_the_end(taker, tmp_path):
    sent = generate(load_for(taker, tmp_path, warm_up_s=2.0).unpaced())
    assert sent.epochs == 6
    assert (len(sent.delays_ms), len(sent.late_ms), sent.unanswered) == (0, 0, 0)
    assert sent.engine_mb is not None


def test_an_end_that_is_not_acknowledged_is_told(taker, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "_STALLED_S", 0.5)
    taker.acknowledges_ends = False
    sent = generate(load_for(taker, tmp_path, audio_s=0.1))
    assert sent.unanswered == sent.epochs >= 6


def test_it_gives_up_when_blocks_leave_too_late(taker, tmp_path):
    sent = generate(load_for(taker, tmp_path, warm_up_s=0.0, give_up_s=-1.0))
    assert (sent.gave_up, sent.blocks) == (True, 1)


def test_without_an_engine_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "_STALLED_S", 0.2)
    load = Load(free_address(), os.getpid(), 2, BLOCK, RATE_HZ, 0.0, 1.0, tmp_path)
    with pytest.raises(TimeoutError, match="expected the engine to take a block"):
        generate(load)


def test_the_engine_analyses_all_that_was_sent(quick, tiny_bundle):
    with running(tiny_bundle) as service:
        service.start("engine", quick.cores.measured)
        sent = on_core(quick.cores.load, generate, make_load(quick, tiny_bundle, service, 5))
        assert sum(read_values(service.metrics_at, "earmark_analysed_samples_total")) == sent.samples
    assert sent.unanswered == 0


@pytest.mark.parametrize(
    ("analysed", "delay_ms", "changes", "carried"),
    [
        (1.0, 5.0, {}, True),
        (0.999, 5.0, {}, False),
        (1.0, 500.0, {}, False),
        (1.0, 5.0, {"unanswered": 1}, False),
        (1.0, 5.0, {"gave_up": True}, False),
    ],
)
def test_carried_is_full_coverage_and_bounded_delay(analysed, delay_ms, changes, carried):
    sent = generator.Sent("made", samples=64_000, delays_ms=[delay_ms] * 10, **changes)
    assert _told(4, sent, round(64_000 * analysed), 0)["carried"] is carried


def test_streams_hear_different_places_and_go_round(tmp_path):
    audio = np.arange(10_000, dtype=np.int16)
    street = Street(audio, 3, RATE_HZ, BLOCK)
    first = [street.one(i, 0).pcm for i in range(3)]
    assert len({int(pcm[0]) for pcm in first}) == 3
    assert street.one(0, 9_990).pcm.tolist() == [*range(9_990, 10_000), *range(630)]
    (record,) = decode_records(street.round(2)[1])
    assert (record.stream, record.first_sample, len(record.pcm)) == ("gate-1", 2 * BLOCK, BLOCK)
    heard, made = read_audio(tmp_path, 8_000)
    assert (heard, made.dtype) == ("made scenes", np.int16)


@pytest.mark.data
def test_labelled_audio_is_sent_where_it_is(data_folder):
    heard, audio = read_audio(data_folder, RATE_HZ)
    assert heard == "labelled dev clips"
    assert len(audio) > 60 * RATE_HZ


def test_the_cost_is_what_the_card_says(tiny_bundle):
    assert mflop_per_audio_second(load_bundle("urban")) == pytest.approx(55.6)
    assert mflop_per_audio_second(tiny_bundle) is None


def test_percentiles_of_nothing_are_none():
    assert percentiles([]) == (None, None)
    assert percentiles(range(101)) == (50.0, 99.0)


@pytest.mark.parametrize("carries", [0, 1, 37, 100, 120])
def test_bisection_closes_in_on_what_is_carried(quick, monkeypatch, carries):
    tried = []

    def try_streams(_settings, n_streams):
        tried.append(n_streams)
        is_carried = n_streams <= carries and tried.count(n_streams) == 2  # the first time a neighbour is busy
        return {"streams": n_streams, "carried": is_carried, "delay_p50_ms": 1.0, "delay_p99_ms": 2.0}

    monkeypatch.setattr(realtime, "try_streams", try_streams)
    found = realtime.measure_real_time(replace(quick, quick=False), 100)
    assert carries - 121 / 2**5 <= found["streams_per_core"] <= carries
    assert (found["delay_p99_ms"] is None) == (found["streams_per_core"] == 0)
    assert all(tried.count(n_streams) == 2 for n_streams in tried)
    assert found["too_many"] is None or carries < found["too_many"] <= carries + 121 / 2**5 + 1
