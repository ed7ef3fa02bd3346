"""Records and acknowledgements as bytes: fixed little-endian headers, so that numpy reads many at once.

A message is ``prologue | header * n | PCM of all records in their order``. Nothing in it is trusted: whatever does not
add up raises `WireError`, and the whole message is refused.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from earmark.contracts.errors import WireError
from earmark.contracts.streams import STREAM_NAME, Ack, AudioBlock, Gap, GapReason, Record

WIRE_VERSION = 1
MAX_BLOCK_SAMPLES = 32_768
MAX_GAP_SAMPLES = 1 << 48
MAX_SAMPLE = 1 << 56

_PROLOGUE = struct.Struct("<4sHH")
_MAGIC = b"EMRK"
_ACK = struct.Struct("<32sQqq")
_BLOCK, _GAP = 0, 1
_CAN_WAIT, _END, _ESTIMATED = 1, 2, 4
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
    return b"".join([_PROLOGUE.pack(_MAGIC, WIRE_VERSION, len(records)), headers.tobytes(), *pcm])


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


def decode_records(message: bytes | memoryview) -> list[Record]:
    """The records of one message, in order. The PCM borrows the message's memory.

    Raises:
        WireError: The bytes are no such message; ``reason`` is one of ``foreign``, ``version``, ``truncated``,
            ``header``.
    """
    headers = _read_headers(message)
    offset = _PROLOGUE.size + headers.nbytes
    records: list[Record] = []
    rows: list[Any] = headers.tolist()
    for stream, epoch, first, n, captured, newest, rate, kind, flags, reason, _ in rows:
        name = _stream_name(stream)
        can_wait = bool(flags & _CAN_WAIT)
        if kind == _GAP:
            records.append(
                Gap(
                    name, epoch, first, captured, rate, newest, n, GapReason(reason), bool(flags & _ESTIMATED), can_wait
                )
            )
        else:
            pcm = np.frombuffer(message, "<i2", n, offset)
            offset += pcm.nbytes
            records.append(AudioBlock(name, epoch, first, captured, rate, newest, pcm, can_wait, bool(flags & _END)))
    return records


def _read_headers(message: bytes | memoryview) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    size = len(message)
    if size < _PROLOGUE.size or bytes(message[:4]) != _MAGIC:
        raise WireError(
            "foreign", f"expected an Earmark message, got {size} bytes that begin with {bytes(message[:4])!r}"
        )
    _, version, n = _PROLOGUE.unpack_from(message)
    if version != WIRE_VERSION:
        raise WireError(
            "version", f"expected wire version {WIRE_VERSION}, got {version}; run the same Earmark release on both ends"
        )
    if n == 0 or size < _PROLOGUE.size + n * HEADER.itemsize:
        raise WireError("truncated", f"expected a header or more, said to be {n}, got a message of {size} bytes")
    headers = np.frombuffer(message, HEADER, n, _PROLOGUE.size)
    is_gap = headers["kind"] == _GAP
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
        & (~is_gap | ((headers["reason"] >= min(GapReason)) & (headers["reason"] <= max(GapReason))))
    )
    if not sane.all():
        raise WireError("header", f"record {int(np.argmin(sane))} of {n} has a field out of its range")
    expected = _PROLOGUE.size + headers.nbytes + 2 * int(headers["n_samples"][~is_gap].sum())
    if size != expected:
        raise WireError("truncated", f"expected {expected} bytes for {n} records, got {size}")
    return headers


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
    return _ACK.pack(ack.stream.encode("ascii"), ack.epoch, ack.keep_sample, ack.resend_from)


def decode_ack(message: bytes) -> Ack:
    """The reverse of `encode_ack`.

    Raises:
        WireError: The bytes are no acknowledgement.
    """
    if len(message) != _ACK.size:
        raise WireError("truncated", f"expected an acknowledgement of {_ACK.size} bytes, got {len(message)}")
    stream, epoch, keep_sample, resend_from = _ACK.unpack(message)
    return Ack(_stream_name(stream.rstrip(b"\0")), epoch, keep_sample, resend_from)
