"""Bytes of every format that outlives a process or leaves it, as its version first wrote them.

They never change. Where one of these tests fails, a format has changed under its version: give it a new number, keep
the old bytes here for as long as they are to be read, and tell ``docs/upgrading.md``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.bundle import BUNDLE_FORMAT, load_bundle
from earmark.contracts.errors import OutboxError
from earmark.contracts.streams import Ack, AudioBlock, Gap, GapReason
from earmark.contracts.wire import (
    HEADER,
    WIRE_VERSION,
    ack_topic,
    decode_ack,
    decode_records,
    encode_ack,
    encode_records,
)
from earmark.outbox import StoredEvent
from engine.smoothing import CHECKPOINT_FORMAT, Smoother, close_all
from tests.support.tiny_bundle import write_tiny_bundle

GOLDEN = Path(__file__).parent / "golden"
EPOCH = 0x0123_4567_89AB_CDEF
COMMON = {
    "stream": "gate",
    "epoch": EPOCH,
    "captured_at_ns": 1_700_000_000_000_000_000,
    "sample_rate_hz": 16_000,
    "newest_sample": 40_000,
}
RECORDS = [
    AudioBlock(first_sample=32_000, pcm=np.array([1, -2, 32_767], np.int16), can_wait=True, **COMMON),
    Gap(first_sample=32_003, n_samples=997, reason=GapReason.DEVICE, estimated=True, **COMMON),
    AudioBlock(first_sample=33_000, pcm=np.zeros(0, np.int16), end=True, **COMMON),
]
ACK = Ack("gate", EPOCH, keep_sample=640, needed_sample=1_280, resend_from=1_280)


def golden(name):
    return bytes.fromhex((GOLDEN / name).read_text())


def same(records):
    """As lists, in which PCM can be compared."""
    return [
        [getattr(record, name) if name != "pcm" else record.pcm.tolist() for name in record.__slots__]
        for record in records
    ]


def test_there_are_bytes_of_each_version():
    assert (WIRE_VERSION, BUNDLE_FORMAT, CHECKPOINT_FORMAT) == (1, 1, 3)


def test_records():
    assert same(decode_records(golden("records-1.hex"))) == same(RECORDS)
    assert encode_records(RECORDS) == golden("records-1.hex")


def test_a_reader_ignores_flags_and_reserved_bytes_that_it_does_not_know():
    message = bytearray(golden("records-1.hex"))
    for index in range(len(RECORDS)):
        at = 8 + index * HEADER.itemsize
        message[at + HEADER.fields["flags"][1]] |= 0x80
        message[at + HEADER.fields["reserved"][1]] = 0xFF
    assert same(decode_records(bytes(message))) == same(RECORDS)
    message = bytearray(golden("acknowledgement-1.hex"))
    message[34:40] = b"\xfe" + b"\xff" * 5  # the lowest bit says that the epoch is over
    assert decode_ack(bytes(message)) == ACK


def test_acknowledgement():
    assert decode_ack(golden("acknowledgement-1.hex")) == ACK
    assert encode_ack(ACK) == golden("acknowledgement-1.hex")
    assert golden("acknowledgement-1.hex").startswith(ack_topic("gate"))


def test_bundle(tmp_path):
    """Fields that came later have defaults."""
    folder = write_tiny_bundle(tmp_path)
    (folder / "bundle.json").write_bytes((GOLDEN / "bundle-1.json").read_bytes())
    spec = load_bundle(folder).spec
    said = json.loads((GOLDEN / "bundle-1.json").read_text())
    assert spec.model_dump(mode="json", include=set(said)) == said


def test_event():
    """An outbox keeps events for `max_age_days`: those of the releases before are read."""
    body = (GOLDEN / "event-1.json").read_text()
    event = StoredEvent(5, "gate", "dog", body).event
    said = json.loads(body)
    assert event.seq == 5
    assert event.model_dump(mode="json", include=set(said)) == said


@pytest.fixture
def smoother(tmp_path):
    made = Smoother(load_bundle(write_tiny_bundle(tmp_path)).spec)
    made.grow(1)
    made.configure(0, {})
    return made


def test_checkpoint(smoother):
    """One class is open, one is in a gap, one not yet confirmed, one idle, though its last scores matter."""
    smoother.restore(0, golden("checkpoint-3.hex"))
    assert smoother.save(0) == golden("checkpoint-3.hex")
    assert [told.label for told in close_all(golden("checkpoint-3.hex"), 0, 10_000)] == ["low", "mid"]


def test_a_checkpoint_of_another_format_says_what_to_do(smoother):
    later = golden("checkpoint-3.hex").replace(b'"format":3', b'"format":4')
    for read in (lambda: smoother.restore(0, later), lambda: close_all(later, 0, 0)):
        with pytest.raises(OutboxError, match="expected a checkpoint of format 3, got 4; run the release that wrote"):
            read()
