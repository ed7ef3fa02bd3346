"""Bad input, end to end: one clear line and exit code 2 from a command, a counter from the service, and nothing else.

What a part refuses by itself is tested beside that part; here the real commands and the real processes are.
"""

import json
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import yaml

from benchmarks.measuring import read_page, read_values, wait_until
from earmark.app.child import earmark_command
from earmark.contracts.streams import format_epoch
from earmark.contracts.wire import encode_records
from tests.app.test_detect import missing, write_wav, zero_hz
from tests.engine.test_service import Peer
from tests.support.audio import RATE_HZ, tones
from tests.support.simulation import essence, make_records, run_undisturbed, stored_events
from tests.support.tiny_bundle import write_tiny_bundle
from tests.system.processes import Machine

QUIET = {"quiet": {"source": "silence"}}
STATES = [{"name": "previous", "shape": [1, 64]}, {"name": "integral", "shape": [5]}]
pytestmark = pytest.mark.slow


@pytest.fixture
def machine(tiny_bundle, tmp_path):
    """Makes machines, each in a folder of its own; ends them."""
    made = []

    def machine(streams, **options):
        folder = tmp_path / f"machine-{len(made)}"
        folder.mkdir()
        made.append(Machine(folder, streams, **{"bundle": tiny_bundle.folder, **options}))
        return made[-1]

    yield machine
    for one in made:
        one.close()


def fail(*arguments: object, most_lines: int = 1) -> str:
    """Run a command that must end with exit code 2 and at most ``most_lines`` lines for people; what they say.

    Beside it, standard error may hold log lines.
    """
    command = earmark_command(*map(str, arguments))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    told = [line for line in done.stderr.splitlines() if not is_log(line)]
    assert 1 <= len(told) <= most_lines, done.stderr
    assert all(line.startswith("earmark: error: ") for line in told)
    assert "Traceback" not in done.stderr
    return "\n".join(line.removeprefix("earmark: error: ") for line in told)


def is_log(line: str) -> bool:
    """Whether a line is one of the structured log."""
    try:
        return {"event", "level", "process"} <= json.loads(line).keys()
    except (ValueError, AttributeError):
        return False


def seven_channels(path):
    """A file whose last channel alone holds sound."""
    pcm = np.zeros((RATE_HZ * 3, 7), np.int16)
    pcm[:, 6] = tones(3, 3.0)
    return write_wav(path, pcm)


# Sources, as the service is told of them.


@pytest.mark.parametrize(
    ("make", "channel", "expected"),
    [
        (missing, 0, "expected a sound file, got nothing there"),
        (zero_hz, 0, "expected a sample rate .* got 0 Hz; repair"),
        (seven_channels, 7, r"expected a channel below 7 .* got channel 7; set channel"),
    ],
)
def test_a_file_that_cannot_be_heard(machine, tmp_path, make, channel, expected):
    path = make(tmp_path / "bad.wav")
    config = machine({"gate": {"source": "file", "path": str(path), "channel": channel}, **QUIET}).config
    for command in ("stream", "run"):
        told = fail(command, config)
        assert re.match(r"(\S+\.yaml:\d+: )?streams\.gate", told), told
        assert f"{path}: expected " in told
        assert re.search(expected, told), told


def test_a_channel_that_is_there_is_heard(machine, tmp_path):
    path = seven_channels(tmp_path / "seven.wav")
    asked = machine({"gate": {"source": "file", "path": str(path), "pace": "fast", "channel": 6}})
    done = subprocess.run(earmark_command("run", str(asked.config)), timeout=60, check=False)
    assert done.returncode == 0
    assert {event.label for event in stored_events(asked.outbox)} == {"low", "mid", "high", "top"}


@pytest.mark.parametrize("device", [999, "no such device"])
def test_an_unknown_device(machine, device):
    config = machine({"gate": {"source": "microphone", "device": device}}).config
    for command in ("stream", "run"):
        told = fail(command, config)
        assert told.startswith("streams.gate: microphone: expected an input device of this machine (")
        assert f"got {device!r}; set device to an index" in told


# Configurations.


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"engin": {}}, "engin: unknown key; did you mean engine?"),
        ({"streamer": {"rings": 90}}, "streamer.rings: unknown key; did you mean ring_s?"),
        (
            {"streams": {"gate": {"source": "silense"}}},
            "streams.gate.source: expected one of .* got 'silense'; did you",
        ),
        (
            {"streams": {"gate": {"source": "silence", "labels": {"hihg": {"onset_threshold": 0.4}}}}},
            "streams.gate.labels.hihg: model 'tiny' has no such label; did you mean high?",
        ),
        (
            {"streams": {"gate": {"source": "silence", "labels": {"high": {"onset_threshold": 1.4}}}}},
            "streams.gate.labels.high.onset_threshold: expected .* 1, got 1.4",
        ),
        (
            {"streams": {"gate": {"source": "silence", "sample_rate_hz": 44_100}}},
            "model 'tiny' wants 16000 Hz, stream 'gate' sends 44100 Hz; set streams.gate.sample_rate_hz: 16000",
        ),
    ],
)
def test_a_configuration_that_cannot_be_meant(machine, change, expected):
    path = machine(QUIET).config
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    for command in (("run",), ("config", "check")):
        told = fail(*command, path)
        assert re.match(rf"{re.escape(str(path))}:\d+: ", told), told
        assert re.search(expected, told), told


@pytest.mark.parametrize("command", ["run", "engine", "detect"])
def test_a_bundle_with_a_wrong_state(machine, tmp_path, command):
    folder = write_tiny_bundle(tmp_path / "wrong", states=STATES)
    sound = write_wav(tmp_path / "good.wav", tones(0, 1.0))
    path = machine(QUIET, bundle=folder).config
    told = fail("detect", "--bundle", folder, sound) if command == "detect" else fail(command, path)
    assert re.search(r"integral.*5.*4", told), told


# Ports.


@pytest.mark.parametrize(
    ("command", "setting"),
    [
        ("engine", "engine.bind"),
        ("engine", "telemetry.engine"),
        ("publish", "publishers.zeromq.bind"),
        ("publish", "publishers.zeromq.history_bind"),
    ],
)
def test_a_port_in_use(machine, command, setting):
    first, second = machine(QUIET), machine(QUIET)
    first.start(command)
    *sections, key = setting.split(".")
    document, taken = yaml.safe_load(second.config.read_text()), yaml.safe_load(first.config.read_text())
    section = document
    for name in sections:
        section, taken = section[name], taken[name]
    section[key] = taken[key]
    document["streamer"]["engines"] = document["engine"]["bind"]
    second.config.write_text(yaml.safe_dump(document))
    for late in (command, "run"):
        told = fail(late, second.config, most_lines=3 if late == "run" else 1)  # each address, and what to do
        assert re.search(rf"{re.escape(setting)}(\[0\])?: expected to (bind|listen on) \S+, got: ", told), told
        assert "".join(taken[key]) in told
    assert read_page(first.telemetry["engine" if command == "engine" else "publishers"], "readyz")[0] == 200


# What comes over the network.


@pytest.fixture
def engine(machine):
    """The engine's process."""
    made = machine(QUIET)
    made.start("engine")
    return made


@pytest.fixture
def peer(engine):
    """Somebody who sends to it."""
    made = Peer(engine.engine_at)
    yield made
    made.close()


def another_version(records):
    """A message of a release to come."""
    message = bytearray(encode_records(records[:1]))
    message[4] += 1
    return bytes(message)


BAD = {
    "foreign": lambda _: b"GET / HTTP/1.1\r\n\r\n",
    "version": another_version,
    "truncated": lambda records: encode_records(records[:1])[:-1],
    "header": lambda records: encode_records([replace(records[0], stream="NO")]),
    "sample_rate": lambda records: encode_records([replace(records[0], stream="other", sample_rate_hz=44_100)]),
    "repeated": lambda records: encode_records([records[0], records[0]]),
    "hole": lambda records: encode_records([records[0], records[2], records[1]]),
}
"""Messages that cannot be used, or not wholly, made of a stream's good records; by the reason that is counted."""


@pytest.fixture
def assert_it_works(engine, peer, tiny_bundle, tmp_path):
    """Sends a recording, and compares its events with those of an engine that nobody troubles."""

    def assert_it_works(records):
        peer.send(*records)
        stream, end = records[-1].stream, records[-1].end_sample
        peer.wait_for_ack(stream, lambda ack: ack.epoch == records[-1].epoch and ack.keep_sample == end)
        expected = run_undisturbed(tiny_bundle, tmp_path / "reference.db", records)
        epoch = format_epoch(records[-1].epoch)
        got = [event for event in stored_events(engine.outbox) if (event.stream, event.epoch) == (stream, epoch)]
        assert essence(got) == essence(expected)
        assert got
        assert read_page(engine.telemetry["engine"], "readyz")[0] == 200

    return assert_it_works


@pytest.mark.parametrize("reason", BAD)
def test_what_cannot_be_used_is_counted_and_nothing_else_suffers(engine, peer, assert_it_works, reason):
    records = make_records(tones(7, 3))
    peer.blocks.send(BAD[reason](records))
    refused = engine.telemetry["engine"], "earmark_refused_records_total"
    wait_until(lambda: read_values(*refused, reason=reason), "the refusal to be counted")
    assert read_values(*refused) == [1]
    assert_it_works(records)


def test_a_dead_epoch_is_counted_and_nothing_else_suffers(engine, peer, assert_it_works):
    old, new = make_records(tones(8, 3)), make_records(tones(9, 3), epoch=8)
    peer.send(old[0])
    peer.send(new[0])
    peer.wait_for_ack("gate", lambda ack: ack.epoch == 8)
    peer.blocks.send(encode_records([old[1]]))
    refused = engine.telemetry["engine"], "earmark_refused_records_total"
    wait_until(lambda: read_values(*refused, reason="dead_epoch"), "the refusal to be counted")
    assert_it_works(new)


def test_an_epoch_is_dead_from_the_first_block_of_the_next(engine, peer, assert_it_works):
    """What a streamer had sent before it was killed may arrive together with what the next one sends."""
    old, new = make_records(tones(8, 3)), make_records(tones(9, 3), epoch=8)
    peer.send(old[0], new[0], old[1])
    refused = engine.telemetry["engine"], "earmark_refused_records_total"
    assert_it_works(new)
    assert read_values(*refused, reason="dead_epoch") == [1]
