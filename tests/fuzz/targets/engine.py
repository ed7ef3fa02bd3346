"""Records that are well-formed, and what an engine makes of them: no order, clock or length of them may end it."""

import tempfile
from pathlib import Path

import numpy as np

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import WireError
from earmark.contracts.streams import AudioBlock, Gap, GapReason, Record
from earmark.contracts.wire import MAX_SAMPLE, decode_records, encode_records
from earmark.outbox import StoredStream
from engine.analyser import Analyser
from engine.runtimes.onnxruntime import OnnxRuntime
from tests.support.tiny_bundle import write_tiny_bundle

_BEEP = np.round(8000 * np.sin(2 * np.pi * 900 * np.arange(9_600) / 16_000)).astype(np.int16)
_COMMON = {"stream": "gate", "epoch": 7, "sample_rate_hz": 16_000, "newest_sample": MAX_SAMPLE}


def _block(first: int, captured_at_ns: int, **more: bool) -> AudioBlock:
    return AudioBlock(first_sample=first, captured_at_ns=captured_at_ns, pcm=_BEEP, **_COMMON, **more)


_GAP = Gap(first_sample=9_600, captured_at_ns=0, n_samples=2**40, reason=GapReason.SHED, **_COMMON)
SEEDS = [
    encode_records([_block(0, 1_700_000_000_000_000_000, can_wait=True), _block(9_600, 0, end=True)]),
    encode_records([_block(0, 2**63 - 1, can_wait=True), _GAP, _block(9_600 + 2**40, 5, can_wait=True)]),
]
_bundle = load_bundle(write_tiny_bundle(Path(tempfile.mkdtemp(prefix="earmark-fuzz-"))))
_analyser = Analyser(OnnxRuntime(_bundle), max_lag_s=30.0)
_MOST_NAMES = 64
"""As `engine.max_streams`: each name has its metrics for good."""
_names: set[str] = set()


def check(data: bytes) -> None:
    try:
        records = decode_records(data)
    except WireError:
        return
    try:
        _hear(records)
    finally:
        for name in list(_analyser.streams):
            _analyser.drop(name)


def _hear(records: list[Record]) -> None:
    for record in records:
        stream = _analyser.streams.get(record.stream)
        if stream is None:
            if len(_analyser.streams) == 4 or len(_names | {record.stream}) > _MOST_NAMES:
                continue
            _names.add(record.stream)
            _analyser.open(record.stream, record.epoch, StoredStream(0, None))
        assert _analyser.accept(record, 0.0) in {None, "sample_rate", "repeated", "hole"}
        for commit in _analyser.collect():
            ack = _analyser.committed(commit)
            assert 0 <= ack.keep_sample <= MAX_SAMPLE
            for event in commit.events:
                assert event.offset_time is None or event.offset_time >= event.onset_time
