"""Blocks and gaps, as an engine gets them from anybody who reaches its port."""

import numpy as np

from earmark.contracts.errors import WireError
from earmark.contracts.streams import STREAM_NAME, AudioBlock, Gap, GapReason, Record
from earmark.contracts.wire import (
    MAX_BLOCK_SAMPLES,
    MAX_GAP_SAMPLES,
    MAX_SAMPLE,
    decode_records,
    encode_records,
    read_messages,
)

_BLOCK = AudioBlock("gate", 7, 640, 1_700_000_000_000_000_000, 16_000, 1000, np.arange(4, dtype=np.int16))
_END = AudioBlock("gate", 7, 644, 1, 16_000, 1000, np.zeros(0, np.int16), can_wait=True, end=True)
_GAP = Gap("yard-2", 2**64 - 1, 0, 0, 44_100, MAX_SAMPLE, 2**40, GapReason.DEVICE, estimated=True)
SEEDS = [encode_records([_BLOCK]), encode_records([_GAP, _BLOCK, _END]), encode_records([_END])]


def check(data: bytes) -> None:
    try:
        records = decode_records(data)
    except WireError as error:
        assert error.reason in {"foreign", "version", "truncated", "header"}
        records = []
    for record in records:
        _check_contract(record)
    if records:
        again = decode_records(encode_records(records))
        assert [_fields(record) for record in again] == [_fields(record) for record in records]
    table, errors = read_messages([SEEDS[0], data, SEEDS[1]])
    assert len(table.names) == 4 + len(records)
    assert len(errors) == (not records)


def _check_contract(record: Record) -> None:
    assert STREAM_NAME.fullmatch(record.stream)
    assert 0 < record.epoch < 2**64
    assert 0 <= record.first_sample <= record.end_sample <= record.newest_sample <= MAX_SAMPLE
    assert record.captured_at_ns >= 0
    assert record.sample_rate_hz > 0
    if isinstance(record, AudioBlock):
        assert record.pcm.dtype == np.int16
        assert int(not record.end) <= len(record.pcm) <= MAX_BLOCK_SAMPLES
    else:
        assert 1 <= record.n_samples <= MAX_GAP_SAMPLES


def _fields(record: Record) -> list[object]:
    values = [getattr(record, name) for name in record.__slots__]
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
