"""Clock, addresses, names, events and what the packages hand out."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import earmark
from earmark.contracts.addresses import ack_address, check_bind
from earmark.contracts.bundle import Smoothing
from earmark.contracts.clock import NS, SampleClock, samples_to_ns
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.errors import ConfigError
from earmark.contracts.events import SoundEvent, event_id
from earmark.contracts.streams import check_stream_name, format_epoch, new_epoch
from tests.support.events import make_event

SCHEMA = Path(__file__).parents[2] / "docs" / "schema" / "sound_event.schema.json"
T0 = 1_700_000_000 * NS


def test_lengths_are_exact_for_years():
    assert samples_to_ns(16_000 * 3600 * 24 * 365 * 10, 16_000) == 10 * 365 * 24 * 3600 * NS
    assert samples_to_ns(1, 44_100) == 22_675


@given(jitter_ms=st.lists(st.integers(-50, 50), min_size=1, max_size=60))
def test_the_clock_slews_gently(jitter_ms):
    clock = SampleClock(16_000)
    last = T0
    clock.observe(0, T0)
    for second, jitter in enumerate(jitter_ms, start=1):
        clock.observe(16_000 * second, T0 + second * NS + jitter * 1_000_000)
        now = clock.utc_ns(16_000 * second)
        assert abs(now - last - NS) <= 500_001
        last = now
    assert clock.jumps == 0


@pytest.mark.parametrize("step_s", [-3600, -1, 1, 1_000_000])
def test_a_clock_that_was_set_is_followed_at_once_and_counted(step_s):
    clock = SampleClock(16_000)
    clock.observe(0, T0)
    clock.observe(16_000, T0 + (1 + step_s) * NS)
    assert clock.jumps == 1
    assert clock.utc_ns(16_000) == T0 + (1 + step_s) * NS


def test_an_offset_of_the_rate_is_followed():
    clock = SampleClock(16_000)
    for second in range(2000):
        clock.observe(16_000 * second, T0 + second * (NS + 100_000))
    assert abs(clock.utc_ns(16_000 * 1999) - (T0 + 1999 * (NS + 100_000))) < 1_000_000


def test_acknowledgements_come_from_the_next_port():
    assert ack_address("tcp://127.0.0.1:7701") == "tcp://127.0.0.1:7702"
    assert ack_address("ipc:///run/earmark.sock") == "ipc:///run/earmark.sock.acks"


@pytest.mark.parametrize(
    "address", ["", "tcp://", "tcp://host", "tcp://host:0", "tcp://host:65535", "udp://a:1", "ipc://"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match="expected an address like"):
        ack_address(address)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:7701", "tcp://*:7701", "tcp://192.168.0.5:7701", "tcp://[::]:7701"])
def test_other_machines_get_in_only_on_request(address):
    with pytest.raises(ConfigError, match=r"engine\.bind binds .* other machines can reach without authentication"):
        check_bind(address, insecure=False, where="engine.bind")
    assert check_bind(address, insecure=True, where="engine.bind") == address


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://127.8.0.1:1", "tcp://[::1]:1", "tcp://localhost:1", "ipc:///x"]
)
def test_loopback_needs_no_request(address):
    assert check_bind(address, insecure=False, where="x") == address


@pytest.mark.parametrize("name", ["", "A", "a b", "ä", "x" * 33, "a/b", "a\n"])
def test_what_is_no_streams_name_is_refused(name):
    with pytest.raises(ConfigError, match="a stream's name is 1 to 32 of the characters"):
        check_stream_name(name)


def test_epochs_are_random_and_sixteen_digits():
    epochs = {new_epoch() for _ in range(100)}
    assert len(epochs) == 100
    assert {len(format_epoch(epoch)) for epoch in epochs} == {16}


def test_an_override_keeps_the_rest_and_the_order_of_thresholds():
    changed = SmoothingOverride(onset_threshold=0.7).apply(Smoothing(min_gap_s=1.0))
    assert (changed.onset_threshold, changed.min_gap_s) == (0.7, 1.0)
    with pytest.raises(ValueError, match="offset_threshold <= onset_threshold"):
        SmoothingOverride(offset_threshold=0.9).apply(Smoothing())
    with pytest.raises(ValueError, match="offset_threshold <= onset_threshold"):
        SmoothingOverride(onset_threshold=0.2, offset_threshold=0.3).apply(Smoothing())


PROBABILITIES = st.floats(0, 1, exclude_min=True)


@given(thresholds=st.lists(PROBABILITIES, min_size=2, max_size=2).map(sorted), onset=PROBABILITIES)
def test_an_onset_threshold_alone_takes_the_offset_threshold_down_with_it(thresholds, onset):
    bundles = Smoothing(offset_threshold=thresholds[0], onset_threshold=thresholds[1])
    changed = SmoothingOverride(onset_threshold=onset).apply(bundles)
    assert (changed.onset_threshold, changed.offset_threshold) == (onset, min(onset, thresholds[0]))
    assert changed.model_copy(update=bundles.model_dump(include={"onset_threshold", "offset_threshold"})) == bundles


def test_an_events_id_is_a_contract():
    assert event_id("gate", 7, "dog", 640) == "1ca0777f2fafc882bdb76ad8c450e445"


def test_an_events_schema_is_a_contract():
    """Field names are a promise to subscribers; `make reference` writes what the class says."""
    assert json.loads(SCHEMA.read_text()) == SoundEvent.model_json_schema()


def test_an_event_is_valid_by_its_schema_and_comes_back():
    event = make_event(640)
    text = event.model_dump_json()
    jsonschema.validate(json.loads(text), json.loads(SCHEMA.read_text()), jsonschema.Draft202012Validator)
    assert SoundEvent.model_validate_json(text) == event


def test_the_public_names_are_pinned():
    assert sorted(earmark.__all__) == ["Detector", "SoundEvent", "subscribe"]
    assert earmark.SoundEvent is SoundEvent
    with pytest.raises(AttributeError, match="nothing"):
        earmark.nothing  # noqa: B018 -- the access is the test
