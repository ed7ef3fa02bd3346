"""Which of many records simply go on with their streams, found for all of them at once.

On a street of microphones nearly every record does: it is audio of the stream's epoch at the model's rate, begins at
the very sample that is needed, and there is room for it. The others need thought, one by one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.wire import RecordTable
from engine.buffers import Slots, ends_of_runs
from engine.stream import NO_SAMPLE, StreamTable

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Plain:
    """Records that simply go on, stream by stream in their order; K of them for L streams.

    Attributes:
        index: int64 ``[K]``: their places in the table.
        slots: int64 ``[K]``: whose they are.
        offset: int64 ``[K]``: samples of the same stream before each of them here.
        is_last: bool ``[K]``: the last one of its stream; L of them.
    """

    index: NDArray[np.int64]
    slots: Slots
    offset: NDArray[np.int64]
    is_last: Flags


def plain_records(
    table: RecordTable,
    slots: Slots,
    streams: StreamTable,
    *,
    sample_rate_hz: int,
    room: NDArray[np.int64],
    newest_allowed: NDArray[np.int64] | None,
) -> Plain:
    """Find them. Behind a stream's first record that is none, none of its records is.

    Args:
        table: The records.
        slots: int64 ``[M]``: their streams' slots, -1 for streams that are not open.
        streams: The clocks.
        sample_rate_hz: The model's rate.
        room: int64 ``[S]``: samples that each slot's buffer takes.
        newest_allowed: int64 ``[S]``: a stream whose ring reaches beyond it is too far behind; None for never.
    """
    headers = table.headers
    at = np.maximum(slots, 0)
    fits = table.is_block & (slots >= 0) & (headers["sample_rate_hz"] == sample_rate_hz)
    fits &= (headers["epoch"] == streams.epoch[at]) & (streams.gap_start[at] == NO_SAMPLE)
    fits &= streams.resend_from[at] == NO_SAMPLE
    if newest_allowed is not None:
        fits &= (headers["newest_sample"] <= newest_allowed[at]) | table.can_wait
    order = np.argsort(slots, kind="stable")
    of_stream, n_samples = at[order], headers["n_samples"][order]
    is_last = ends_of_runs(slots[order])
    is_first = np.concatenate([is_last[-1:], is_last[:-1]])
    group = np.cumsum(is_first) - 1
    before = np.cumsum(n_samples) - n_samples
    offset = before - before[is_first][group]
    fits = fits[order] & (headers["first_sample"][order] == streams.needed[of_stream] + offset)
    fits &= offset + n_samples <= room[of_stream]
    n_unfit = np.cumsum(~fits)
    is_plain = n_unfit == (n_unfit - ~fits)[is_first][group]
    taken = of_stream[is_plain]
    return Plain(order[is_plain], taken, offset[is_plain], ends_of_runs(taken))
