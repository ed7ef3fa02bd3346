"""The wire format: everything comes back, and nothing that is damaged gets through."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.contracts.errors import WireError
from earmark.contracts.streams import Ack, AudioBlock, Gap, GapReason
from earmark.contracts.wire import (
    HEADER,
    MAX_BLOCK_SAMPLES,
    MAX_SAMPLE,
    ack_topic,
    decode_ack,
    decode_records,
    encode_ack,
    encode_records,
    read_messages,
)

NAMES = st.from_regex(r"\A[a-z0-9_-]{1,32}\Z")
EPOCHS = st.integers(1, 2**64 - 1)
SAMPLES = st.integers(0, MAX_SAMPLE - 2**40)
COMMON = {
    "stream": NAMES,
    "epoch": EPOCHS,
    "first_sample": SAMPLES,
    "captured_at_ns": st.integers(0, 2**63 - 1),
    "sample_rate_hz": st.integers(1, 192_000),
    "newest_sample": st.just(MAX_SAMPLE),
    "can_wait": st.booleans(),
}
BLOCKS = st.builds(
    AudioBlock,
    **COMMON,
    pcm=st.lists(st.integers(-32768, 32767), min_size=1, max_size=50).map(lambda x: np.array(x, np.int16)),
    end=st.booleans(),
)
GAPS = st.builds(
    Gap, **COMMON, n_samples=st.integers(1, 2**40), reason=st.sampled_from(GapReason), estimated=st.booleans()
)


def fields(record):
    values = {name: getattr(record, name) for name in record.__slots__}
    if "pcm" in values:
        values["pcm"] = values["pcm"].tolist()
    return type(record).__name__, values


def block(**changes):
    given = {
        "stream": "gate",
        "epoch": 1,
        "first_sample": 0,
        "captured_at_ns": 0,
        "sample_rate_hz": 16_000,
        "newest_sample": 10_000,
        "pcm": np.array([1, 2, 3], np.int16),
    }
    return AudioBlock(**{**given, **changes})


@given(records=st.lists(st.one_of(BLOCKS, GAPS), min_size=1, max_size=6))
def test_records_come_back(records):
    assert [fields(r) for r in decode_records(encode_records(records))] == [fields(r) for r in records]


@given(records=st.lists(st.one_of(BLOCKS, GAPS), min_size=1, max_size=3), data=st.data())
def test_damage_is_refused_or_yields_valid_records(records, data):
    message = bytearray(encode_records(records))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_records(bytes(message))
    except WireError as error:
        assert error.reason in {"foreign", "version", "truncated", "header"}
    else:
        assert all(0 <= record.first_sample <= record.end_sample for record in decoded)


@given(messages=st.lists(st.lists(st.one_of(BLOCKS, GAPS), min_size=1, max_size=4), max_size=5), data=st.data())
def test_many_messages_read_at_once_are_each_read_alone(messages, data):
    """And one that is damaged is refused alone."""
    encoded = [encode_records(records) for records in messages]
    garbage = data.draw(st.lists(st.binary(max_size=200), max_size=2))
    mixed = data.draw(st.permutations([*encoded, *garbage]))
    table, errors = read_messages(mixed)
    expected = [record for message in mixed if message not in garbage for record in decode_records(message)]
    assert [fields(table.record(i)) for i in range(len(table.names))] == [fields(record) for record in expected]
    assert table.names == [record.stream for record in expected]
    assert [mixed[i] for i in sorted(errors)] == [message for message in mixed if message in garbage]
    sent_in = [place for place, message in enumerate(mixed) if message not in garbage for _ in decode_records(message)]
    assert table.message.tolist() == sent_in
    chosen = np.arange(len(sent_in)) % 2 == 0
    assert [fields(table.only(chosen).record(i)) for i in range(sum(chosen))] == [fields(r) for r in expected[::2]]


@given(garbage=st.binary(max_size=300))
def test_garbage_is_refused(garbage):
    with pytest.raises(WireError):
        decode_records(garbage)


@given(cut=st.integers(0, 10_000))
def test_a_truncated_message_is_refused(cut):
    message = encode_records([block(), block(first_sample=3)])
    with pytest.raises(WireError, match="expected"):
        decode_records(message[: cut % len(message)])


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 0},
        {"first_sample": -1},
        {"first_sample": MAX_SAMPLE + 1},
        {"newest_sample": -1},
        {"newest_sample": 2},
        {"sample_rate_hz": 0},
        {"captured_at_ns": -5},
        {"pcm": np.zeros(0, np.int16)},
        {"pcm": np.zeros(MAX_BLOCK_SAMPLES + 1, np.int16)},
        {"stream": "Gate"},
        {"stream": "a b"},
        {"stream": ""},
    ],
)
def test_fields_out_of_range_are_refused(changes):
    with pytest.raises(WireError) as refused:
        decode_records(encode_records([block(), block(**changes)]))
    assert refused.value.reason == "header"


def test_a_message_of_nothing_is_refused():
    with pytest.raises(WireError, match="expected a header or more"):
        decode_records(encode_records([]))


def test_an_unknown_kind_is_refused():
    message = bytearray(encode_records([block()]))
    message[8 + HEADER.fields["kind"][1]] = 9
    with pytest.raises(WireError, match="record 0 of 1 has a field out of its range"):
        decode_records(bytes(message))


def test_another_version_says_what_to_do():
    message = bytearray(encode_records([block()]))
    message[4] = 9
    with pytest.raises(WireError, match="expected wire version 1, got 9; run the same Earmark release on both ends"):
        decode_records(bytes(message))


def test_another_version_of_an_ack_says_what_to_do_whatever_its_length():
    message = bytearray(encode_ack(Ack("gate", 1, 0, 0)))
    message[32] = 9
    for other in (bytes(message), bytes(message) + b"more"):
        with pytest.raises(WireError, match="expected wire version 1, got 9; run the same") as refused:
            decode_ack(other)
        assert refused.value.reason == "version"


def test_an_end_may_be_empty():
    (record,) = decode_records(encode_records([block(pcm=np.zeros(0, np.int16), end=True)]))
    assert record.end
    assert record.end_sample == 0


@given(stream=NAMES, epoch=EPOCHS, keep=SAMPLES, needed=SAMPLES, resend=st.integers(-1, MAX_SAMPLE))
def test_acks_come_back_and_begin_with_their_topic(stream, epoch, keep, needed, resend):
    ack = Ack(stream, epoch, keep, needed, resend)
    message = encode_ack(ack)
    assert decode_ack(message) == ack
    assert message.startswith(ack_topic(stream))


@pytest.mark.parametrize(
    "changes",
    [{"epoch": 0}, {"keep": -1}, {"keep": MAX_SAMPLE + 1}, {"needed": -1}, {"needed": MAX_SAMPLE + 1}, {"resend": -2}],
)
def test_acks_with_fields_out_of_range_are_refused(changes):
    fields = {"epoch": 1, "keep": 0, "needed": 0, "resend": -1, **changes}
    with pytest.raises(WireError, match="expected an acknowledgement with an epoch and samples up to") as refused:
        decode_ack(encode_ack(Ack("gate", *fields.values())))
    assert refused.value.reason == "header"


def test_no_topic_begins_another():
    assert not ack_topic("gate-2").startswith(ack_topic("gate"))


def test_a_damaged_ack_is_refused():
    with pytest.raises(WireError, match="expected an acknowledgement of 72 bytes, got 3"):
        decode_ack(b"abc")
