"""What publishers hear of engines: statuses and frames. The parts of a message are joined by a mark here."""

import numpy as np

from earmark.contracts.errors import WireError
from earmark.contracts.monitor import (
    Frames,
    RefusedCandidate,
    StreamStatus,
    decode_monitor,
    encode_frames,
    encode_refused,
    encode_statuses,
)
from tests.fuzz.mutating import MARK

_FRAMES = Frames(
    stream="gate",
    epoch="0000000000000007",
    first_sample=640,
    first_ns=1_700_000_000_000_000_000,
    hop=640,
    sample_rate_hz=16_000,
    level_db=np.full(2, -20, np.float32),
    features=np.ones((4, 3), np.float32),
    scores=np.full((2, 2), 0.5, np.float32),
)
_STATUS = StreamStatus(stream="gate", up=True, coverage=0.5, level_db=-30.5, lag_s=0.25)
_REFUSED = RefusedCandidate(stream="gate", epoch="0000000000000007", label="dog", onset_ns=5, until_ns=9, score=0.25)
SEEDS = [
    MARK.join(encode_statuses([_STATUS, _STATUS])),
    MARK.join(encode_frames(_FRAMES)),
    MARK.join(encode_refused(_REFUSED)),
]


def check(data: bytes) -> None:
    try:
        message = decode_monitor(data.split(MARK))
    except WireError as error:
        assert error.reason == "monitor"
        return
    if isinstance(message, tuple):
        assert decode_monitor(encode_statuses(message)) == message
        assert all(0 <= status.coverage <= 1 and 0 <= status.lag_s < float("inf") for status in message)
        return
    if isinstance(message, RefusedCandidate):
        assert decode_monitor(encode_refused(message)) == message
        assert 0 <= message.score <= 1
        return
    n_scores, _ = message.scores.shape
    n_features, _ = message.features.shape
    assert message.level_db.shape == (n_scores,)
    assert n_features == 0 if n_scores == 0 else n_features % n_scores == 0
    assert message.hop > 0
    assert message.sample_rate_hz > 0
    again = decode_monitor(encode_frames(message))
    assert isinstance(again, Frames)
    for name, value in vars(message).items():
        np.testing.assert_array_equal(getattr(again, name), value)
