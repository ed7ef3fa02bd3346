"""Acknowledgements, as a streamer gets them from whoever answers at its engine's address."""

import numpy as np

from earmark.contracts.clock import SampleClock
from earmark.contracts.errors import WireError
from earmark.contracts.streams import STREAM_NAME, Ack
from earmark.contracts.wire import MAX_SAMPLE, decode_ack, encode_ack
from streamer.feed import Feed
from streamer.ring import Ring

_N = 2_000
SEEDS = [
    encode_ack(Ack("gate", 7, keep_sample=640, needed_sample=1280)),
    encode_ack(Ack("gate", 7, keep_sample=0, needed_sample=0, resend_from=0)),
    encode_ack(Ack("gate", 7, keep_sample=_N, needed_sample=_N)),
]


def check(data: bytes) -> None:
    try:
        ack = decode_ack(data)
    except WireError as error:
        assert error.reason in {"version", "truncated", "header"}
        return
    assert decode_ack(encode_ack(ack)) == ack
    assert STREAM_NAME.fullmatch(ack.stream)
    assert 0 < ack.epoch < 2**64
    assert 0 <= ack.keep_sample <= MAX_SAMPLE
    assert 0 <= ack.needed_sample <= MAX_SAMPLE
    assert -1 <= ack.resend_from <= MAX_SAMPLE
    _take(ack)


def _take(ack: Ack) -> None:
    """Whatever an engine says, a stream goes on sending what its ring holds, in order and without a hole."""
    ring = Ring(2 * _N)
    ring.append(np.zeros(_N, np.int16))
    feed = Feed("gate", ack.epoch, ring, SampleClock(16_000), sample_rate_hz=16_000, can_wait=False, now=lambda: 0.0)
    feed.next_record()
    feed.take(ack)
    at = None
    while (record := feed.next_record()) is not None:
        assert at in (None, record.first_sample)
        at = record.end_sample  # a gap's, where it asks for what it has allowed to forget
    assert at in (None, _N)
