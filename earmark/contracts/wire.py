"""Records and acknowledgements as bytes: fixed little-endian headers, so that numpy reads many at once.

A message is ``prologue | header * n | PCM of all records in their order``. Nothing in it is trusted: whatever does not
add up raises `WireError`, and the whole message is refused.

Records and acknowledgements carry `WIRE_VERSION`. Within a version every field keeps its place, and a reader ignores
flags and reserved bytes that it does not know; whatever changes more gets a new number, and a reader refuses numbers
that are not its own. ``tests/contracts/test_golden.py`` holds each version's bytes.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.arrays import pieces
from earmark.contracts.errors import WireError
from earmark.contracts.streams import STREAM_NAME, Ack, AudioBlock, Gap, GapReason, Pcm, Record

WIRE_VERSION = 1
MAX_BLOCK_SAMPLES = 32_768
MAX_GAP_SAMPLES = 1 << 48
MAX_SAMPLE = 1 << 56

_MAGIC = b"EMRK"
_PROLOGUE = np.dtype([("magic", "S4"), ("version", "<u2"), ("n_records", "<u2")])
_ACK = struct.Struct("<32sHB5xQqqq")
_VERSION_AT = 32
"""In an acknowledgement: behind the name that subscriptions match; in every version, whatever its length."""
_BLOCK, _GAP = 0, 1
_CAN_WAIT, _END, _ESTIMATED = 1, 2, 4
_OVER = 1
"""Flag of an acknowledgement; a reader that does not know it goes on as before."""
_REASONS = sorted(map(int, GapReason))
HEADER = np.dtype(
    [
        ("stream", "S32"),
        ("epoch", "<u8"),
        ("first_sample", "<i8"),
        ("n_samples", "<i8"),
        ("captured_at_ns", "<i8"),
        ("newest_sample", "<i8"),
        ("sample_rate_hz", "<u4"),
        ("kind", "u1"),
        ("flags", "u1"),
        ("reason", "u1"),
        ("reserved", "u1"),
    ]
)


def encode_records(records: Sequence[Record]) -> bytes:
    """One message that holds ``records`` (at most 65,535)."""
    headers = np.array([_header(record) for record in records], dtype=HEADER)
    pcm = [
        np.ascontiguousarray(record.pcm, dtype="<i2").tobytes() for record in records if isinstance(record, AudioBlock)
    ]
    prologue = np.array((_MAGIC, WIRE_VERSION, len(records)), _PROLOGUE)
    return b"".join([prologue.tobytes(), headers.tobytes(), *pcm])


def _header(record: Record) -> tuple[bytes, int, int, int, int, int, int, int, int, int, int]:
    flags = _CAN_WAIT * record.can_wait
    if isinstance(record, AudioBlock):
        kind, n_samples, reason = _BLOCK, len(record.pcm), 0
        flags |= _END * record.end
    else:
        kind, n_samples, reason = _GAP, record.n_samples, int(record.reason)
        flags |= _ESTIMATED * record.estimated
    return (
        record.stream.encode("ascii"),
        record.epoch,
        record.first_sample,
        n_samples,
        record.captured_at_ns,
        record.newest_sample,
        record.sample_rate_hz,
        kind,
        flags,
        reason,
        0,
    )


@dataclass(frozen=True, eq=False)
class RecordTable:
    """Records of many messages by column, in their order.

    Attributes:
        headers: `HEADER` ``[M]``.
        names: The streams' names, M of them.
        pcm: int16 ``[N]``: the messages, in which the PCM of all blocks is.
        begin: int64 ``[M]``: where each record's PCM begins there.
        message: int64 ``[M]``: which of the messages each came in, counted from 0.
    """

    headers: NDArray[np.void]
    names: list[str]
    pcm: Pcm
    begin: NDArray[np.int64]
    message: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> "RecordTable":
        """Those of ``chosen [M]``; the PCM of all is borrowed."""
        names = list(compress(self.names, chosen))
        return RecordTable(self.headers[chosen], names, self.pcm, self.begin[chosen], self.message[chosen])

    def record(self, i: int) -> Record:
        """One of them; its PCM borrows the table's."""
        _, epoch, first, n, captured, newest, rate, kind, flags, reason, _ = self.headers[i].item()
        name, can_wait = self.names[i], bool(flags & _CAN_WAIT)
        if kind == _GAP:
            return Gap(
                name, epoch, first, captured, rate, newest, n, GapReason(reason), bool(flags & _ESTIMATED), can_wait
            )
        pcm = self.pcm[self.begin[i] : self.begin[i] + n]
        return AudioBlock(name, epoch, first, captured, rate, newest, pcm, can_wait, bool(flags & _END))

    @property
    def is_block(self) -> NDArray[np.bool_]:
        """Audio that does not end its epoch, bool ``[M]``."""
        return (self.headers["kind"] == _BLOCK) & ((self.headers["flags"] & _END) == 0)

    @property
    def can_wait(self) -> NDArray[np.bool_]:
        """Records of sources that wait for room, bool ``[M]``."""
        return (self.headers["flags"] & _CAN_WAIT) != 0


def read_messages(messages: Sequence[bytes]) -> tuple[RecordTable, dict[int, WireError]]:
    """The records of many messages at once, and why each of the others was refused as a whole, by its place."""
    try:
        return _read(messages), {}
    except WireError:
        pass
    errors: dict[int, WireError] = {}
    for i, message in enumerate(messages):
        try:
            _read([message])
        except WireError as error:
            errors[i] = error
    good = [i for i in range(len(messages)) if i not in errors]
    table = _read([messages[i] for i in good])
    return replace(table, message=np.array(good, np.int64)[table.message]), errors


def decode_records(message: bytes) -> list[Record]:
    """The records of one message, in order.

    Raises:
        WireError: The bytes are no such message; ``reason`` is one of ``foreign``, ``version``, ``truncated``,
            ``header``.
    """
    table = _read([message])
    return [table.record(i) for i in range(len(table.names))]


def _read(messages: Sequence[bytes]) -> RecordTable:
    sizes = np.fromiter(map(len, messages), np.int64, len(messages))
    raw = np.frombuffer(bytearray().join(messages), np.uint8)
    begins = np.cumsum(sizes) - sizes
    counts = _counts(messages, sizes, raw, begins)
    message = np.repeat(np.arange(len(messages)), counts)
    first = np.cumsum(counts) - counts
    behind = _PROLOGUE.itemsize + HEADER.itemsize * (np.arange(len(message)) - first[message])
    headers = pieces(raw, HEADER.itemsize)[begins[message] + behind].reshape(-1).view(HEADER)
    is_gap = headers["kind"] == _GAP
    _check_fields(headers, is_gap)
    n_samples = np.where(is_gap, 0, headers["n_samples"])
    before = np.cumsum(n_samples) - n_samples
    pcm_begins = begins + _PROLOGUE.itemsize + HEADER.itemsize * counts
    _check_sizes(sizes, counts, pcm_begins - begins + 2 * np.add.reduceat(n_samples, first))
    names = list(map(_stream_name, headers["stream"].tolist()))
    begin = pcm_begins[message] // 2 + before - before[first][message]
    return RecordTable(headers, names, raw.view("<i2"), begin, message)


def _counts(
    messages: Sequence[bytes], sizes: NDArray[np.int64], raw: NDArray[np.uint8], begins: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many records each message says that it holds; each is long enough for their headers."""
    if short := np.flatnonzero(sizes < _PROLOGUE.itemsize).tolist():
        raise _foreign(messages[short[0]])
    prologues = pieces(raw, _PROLOGUE.itemsize)[begins].reshape(-1).view(_PROLOGUE)
    if foreign := np.flatnonzero(prologues["magic"] != _MAGIC).tolist():
        raise _foreign(messages[foreign[0]])
    if other := np.flatnonzero(prologues["version"] != WIRE_VERSION).tolist():
        _check_version(int(prologues["version"][other[0]]))
    counts = prologues["n_records"].astype(np.int64)
    is_short = (counts == 0) | (sizes < _PROLOGUE.itemsize + counts * HEADER.itemsize)
    if short := np.flatnonzero(is_short).tolist():
        n, size = counts[short[0]], sizes[short[0]]
        raise WireError("truncated", f"expected a header or more, said to be {n}, got a message of {size} bytes")
    return counts


def _foreign(message: bytes) -> WireError:
    return WireError(
        "foreign", f"expected an Earmark message, got {len(message)} bytes that begin with {bytes(message[:4])!r}"
    )


def _check_version(version: int) -> None:
    if version != WIRE_VERSION:
        raise WireError(
            "version", f"expected wire version {WIRE_VERSION}, got {version}; run the same Earmark release on both ends"
        )


def _check_fields(headers: NDArray[np.void], is_gap: NDArray[np.bool_]) -> None:
    limit = np.where(is_gap, MAX_GAP_SAMPLES, MAX_BLOCK_SAMPLES)
    least = np.where(is_gap | ((headers["flags"] & _END) == 0), 1, 0)
    sane = (
        (headers["kind"] <= _GAP)
        & (headers["n_samples"] >= least)
        & (headers["n_samples"] <= limit)
        & (headers["first_sample"] >= 0)
        & (headers["first_sample"] <= MAX_SAMPLE)
        & (headers["newest_sample"] >= headers["first_sample"] + headers["n_samples"])
        & (headers["newest_sample"] <= MAX_SAMPLE)
        & (headers["captured_at_ns"] >= 0)
        & (headers["epoch"] > 0)
        & (headers["sample_rate_hz"] > 0)
        & (~is_gap | ((headers["reason"] >= _REASONS[0]) & (headers["reason"] <= _REASONS[-1])))
    )
    if not sane.all():
        raise WireError("header", f"record {int(np.argmin(sane))} of {len(sane)} has a field out of its range")


def _check_sizes(sizes: NDArray[np.int64], counts: NDArray[np.int64], expected: NDArray[np.int64]) -> None:
    """Whether each message holds the PCM of its records."""
    if wrong := np.flatnonzero(sizes != expected).tolist():
        i = wrong[0]
        raise WireError("truncated", f"expected {expected[i]} bytes for {counts[i]} records, got {sizes[i]}")


@lru_cache(maxsize=65_536)
def _stream_name(raw: bytes) -> str:
    name = raw.decode("ascii", errors="replace")
    if not STREAM_NAME.fullmatch(name):
        raise WireError("header", f"expected a stream's name, got {raw!r}")
    return name


def ack_topic(stream: str) -> bytes:
    """What a streamer subscribes to for one stream: its NUL-padded name, which no other name begins with."""
    return stream.encode("ascii").ljust(32, b"\0")


def encode_ack(ack: Ack) -> bytes:
    """One acknowledgement; begins with `ack_topic`."""
    return _ACK.pack(
        ack.stream.encode("ascii"),
        WIRE_VERSION,
        ack.is_over,
        ack.epoch,
        ack.keep_sample,
        ack.needed_sample,
        ack.resend_from,
    )


def decode_ack(message: bytes) -> Ack:
    """The reverse of `encode_ack`.

    Raises:
        WireError: The bytes are no acknowledgement; ``reason`` is ``version``, ``truncated`` or ``header``.
    """
    if len(message) >= _VERSION_AT + 2:
        _check_version(int.from_bytes(message[_VERSION_AT : _VERSION_AT + 2], "little"))
    if len(message) != _ACK.size:
        raise WireError("truncated", f"expected an acknowledgement of {_ACK.size} bytes, got {len(message)}")
    stream, _, flags, epoch, keep_sample, needed_sample, resend_from = _ACK.unpack(message)
    if (
        epoch == 0
        or min(keep_sample, needed_sample, resend_from + 1) < 0
        or max(keep_sample, needed_sample, resend_from) > MAX_SAMPLE
    ):
        raise WireError(
            "header",
            f"expected an acknowledgement with an epoch and samples up to {MAX_SAMPLE}, got epoch {epoch}, "
            f"keep {keep_sample}, needed {needed_sample}, resend from {resend_from}",
        )
    name = _stream_name(stream.rstrip(b"\0"))
    return Ack(name, epoch, keep_sample, needed_sample, resend_from, bool(flags & _OVER))
