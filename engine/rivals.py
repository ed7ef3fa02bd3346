"""Which epoch of a stream is heard where several are sent: bounded work for many, turns for two that live.

A streamer that starts again sends another epoch, and so does a second streamer that uses the same stream name by
accident. The first must be heard at once; two that live must not end each other's epochs with every block.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from earmark.contracts.wire import RecordTable
from earmark.telemetry import metrics
from engine.stream import Stream

QUIET_S = 3.0
"""An epoch without audio for so long gives way at once."""
TURN_S = 30.0
"""How long an epoch that lives is heard before another one may take its place."""
_MOST_CHANGES = 8
"""Changes of a stream's epoch at once; one more is allowed each second."""
_TELL_AGAIN_S = 60.0
_MOST_EPOCHS = 2
"""Epochs of a stream beside the open one that are looked at in one turn of the engine."""
_MOST_RECORDS = 1_024
"""Records of a stream that are looked at one by one in one turn; a streamer has at most some 800 on their way."""

_log = structlog.get_logger()


@dataclass
class _Turns:
    """The changes of a stream's epoch: the last, the last of a living one, what the rate limit leaves, the sender."""

    changed_s: float = 0.0
    took_over_s: float = -TURN_S
    left: float = _MOST_CHANGES
    sender: str = ""
    told_s: float = -_TELL_AGAIN_S


class Rivals:
    """Decides when another epoch takes the place of a stream's."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turns] = {}

    def may_take_up(self, name: str, living: Stream | None, now_s: float) -> bool:
        """Whether another epoch of a stream may be taken up at ``now_s``, monotonic.

        Args:
            name: The stream.
            living: Its open epoch; None where there is none.
            now_s: When the record arrived.
        """
        turns = self._turns.get(name)
        if turns is None:
            return True
        is_free = living is None or now_s - max(living.arrived_s, turns.changed_s) >= QUIET_S
        return turns.left + now_s - turns.changed_s >= 1 and (is_free or now_s - turns.took_over_s >= TURN_S)

    def note_change(self, name: str, sender: str, now_s: float, *, was_living: bool) -> None:
        """Note that an epoch that ``sender`` sends was taken up, ``was_living`` where it ended another one."""
        turns = self._turns.setdefault(name, _Turns())
        turns.left = min(_MOST_CHANGES, turns.left + now_s - turns.changed_s) - 1
        if was_living:
            turns.took_over_s = now_s
            metrics.EPOCH_TAKEOVERS.labels(name).inc()
        turns.changed_s, turns.sender = now_s, sender

    def tell(self, name: str, sender: str, now_s: float) -> None:
        """Log that two streamers send one stream, with their addresses, once a minute."""
        turns = self._turns.setdefault(name, _Turns())
        if now_s - turns.told_s < _TELL_AGAIN_S:
            return
        turns.told_s = now_s
        _log.warning(
            "two streamers send the same stream; they are heard in turns",
            stream=name,
            heard=turns.sender or "this machine",
            waiting=sender or "this machine",
            hint="rename one of the streams",
        )


def excess(table: RecordTable, rows: NDArray[np.int64], streams: Mapping[str, Stream]) -> NDArray[np.bool_]:
    """Which records are too many of their stream for one turn of the engine.

    Args:
        table: The records of the turn.
        rows: int64 ``[K]``: the records that are looked at one by one, in order.
        streams: The open epochs by stream.

    Returns:
        bool ``[K]``: those of a third strange epoch or later, and those after a stream's first 1,024.
    """
    is_excess = np.zeros(len(rows), bool)
    epochs: dict[str, set[int]] = {}
    counts: dict[str, int] = {}
    indices: list[int] = rows.tolist()
    sent: list[int] = table.headers["epoch"][rows].tolist()
    for place, (row, epoch) in enumerate(zip(indices, sent, strict=True)):
        name = table.names[row]
        stream = streams.get(name)
        if stream is None or stream.epoch != epoch:
            strange = epochs.setdefault(name, set())
            if epoch not in strange and len(strange) >= _MOST_EPOCHS:
                is_excess[place] = True
                continue
            strange.add(epoch)
        counts[name] = counts.get(name, 0) + 1
        is_excess[place] = counts[name] > _MOST_RECORDS
    return is_excess
