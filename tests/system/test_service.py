"""``earmark run`` end to end: what its sinks get, what its processes tell about themselves, what a kill does."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks.measuring import read_page, read_values, wait_until
from earmark.app.child import earmark_command
from engine.detector import Detector
from tests.support.audio import tones
from tests.support.waiting import DEADLINE_S
from tests.system.processes import Machine, write_wav

PROCESSES = ("streamer", "engine", "publishers")
pytestmark = pytest.mark.slow


class Service:
    """``earmark run`` over a `Machine`'s configuration, which also writes JSON Lines; its standard input is a pipe."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.telemetry = machine.telemetry
        self._lines = machine.folder / "events.jsonl"
        document = yaml.safe_load(machine.config.read_text())
        document["publishers"]["jsonl"] = {"path": str(self._lines)}
        machine.config.write_text(yaml.safe_dump(document))
        with (machine.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                earmark_command("run", str(machine.config)), stdin=subprocess.PIPE, stderr=log
            )

    def wait_until_ready(self) -> None:
        """Wait until all say so."""
        for name, address in self.telemetry.items():
            wait_until(lambda address=address: read_page(address, "readyz")[0] == 200, f"{name} to be ready")

    def hear(self, pcm) -> None:
        """Pipe audio into the stream whose source is ``stdin``."""
        self.process.stdin.write(pcm.astype("<i2").tobytes())
        self.process.stdin.flush()

    def finish(self) -> int:
        """End standard input; the exit code."""
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End one of the three, and wait until it is there again."""
        before = self.restarts(name)
        os.kill(self.pid(name), number)
        wait_until(lambda: self.restarts(name) > before, f"another {name}")
        self.wait_until_ready()

    def pid(self, name: str) -> int:
        """Of a child."""
        command = {"streamer": "stream", "engine": "engine", "publishers": "publish"}[name]
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (child,) = [int(c) for c in children if command in Path(f"/proc/{c}/cmdline").read_text().split("\0")]
        return child

    def restarts(self, name: str) -> float:
        """How often a child was started again."""
        return sum(read_values(self.telemetry["supervisor"], "earmark_process_restarts_total", process=name))

    @property
    def events(self) -> list[dict[str, object]]:
        """What is in the file."""
        return [json.loads(line) for line in self._lines.read_text().splitlines()]

    @property
    def log(self) -> str:
        """What it said."""
        return (self._machine.folder / "log").read_text()

    def close(self) -> None:
        """End it, however it stands."""
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.terminate()
        self.process.wait(DEADLINE_S)


@pytest.fixture
def start(tiny_bundle, tmp_path):
    """Starts services; ends them, and the subscribers of their machines."""
    begun = []

    def start(**streams):
        machine = Machine(tmp_path, streams, bundle=tiny_bundle.folder)
        begun.append(machine)
        service = Service(machine)
        begun.append(service)
        return machine, service

    yield start
    for made in reversed(begun):
        made.close()


def extents(events) -> list[tuple[object, ...]]:
    """Label, onset and offset of all events that have ended."""
    ended = (event if isinstance(event, dict) else event.model_dump() for event in events)
    return sorted(
        (event["label"], event["onset_sample"], event["offset_sample"]) for event in ended if event["phase"] == "offset"
    )


def heard_at_once(bundle, name, pcm) -> list[tuple[object, ...]]:
    """What is in a recording."""
    detector = Detector(bundle.folder)
    return extents(detector.feed(pcm, stream=name) + detector.end())


def test_every_sink_gets_what_is_in_the_files(start, tiny_bundle, tmp_path):
    sounds = {"gate": tones(30, 20), "yard": tones(31, 20)}
    path = write_wav(tmp_path / "gate.wav", sounds["gate"])
    machine, service = start(
        gate={"source": "file", "path": str(path), "pace": "fast"},
        yard={"source": "stdin"},
    )
    subscriber = machine.subscribe("--since", "0")
    service.hear(sounds["yard"][:160_000])
    subscriber.wait_for(lambda events: {event["stream"] for event in events} == {"gate", "yard"})
    service.hear(sounds["yard"][160_000:])
    assert service.finish() == 0, service.log
    newest = machine.newest_seq()
    machine.start("publish")  # for a subscriber that was still on its way
    subscriber.wait_for(lambda events: events[-1]["seq"] == newest)
    assert subscriber.events == service.events
    assert [event["seq"] for event in service.events] == list(range(1, newest + 1))
    for name, pcm in sounds.items():
        told = [event for event in service.events if event["stream"] == name]
        assert extents(told) == heard_at_once(tiny_bundle, name, pcm)


def test_every_process_tells_about_itself(start):
    if shutil.which("promtool") is None:
        assert "CI" not in os.environ, "promtool must be installed in CI"
        pytest.skip("needs promtool, of the Debian package prometheus")
    _, service = start(yard={"source": "stdin"}, quiet={"source": "silence"})
    service.wait_until_ready()
    service.hear(tones(33, 20))
    analysed = service.telemetry["engine"], "earmark_analysed_samples_total"
    wait_until(lambda: sum(read_values(*analysed, stream="yard")) > 16_000, "audio to be analysed")
    sunk = service.telemetry["publishers"], "earmark_sink_events_total"
    wait_until(lambda: sum(read_values(*sunk, sink="jsonl")) > 0, "an event")
    for name in PROCESSES:
        address = service.telemetry[name]
        assert read_page(address, "healthz")[0] == 200
        assert read_page(address, "readyz")[0] == 200
        text = read_page(address)[1]
        told = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert (told.returncode, told.stdout, told.stderr) == (0, "", ""), name
    assert read_values(service.telemetry["streamer"], "earmark_stream_up", stream="quiet") == [1]


def test_children_that_are_killed_come_back_and_no_event_is_lost(start, tiny_bundle):
    pcm = tones(34, 30)
    machine, service = start(yard={"source": "stdin"})
    service.wait_until_ready()
    subscriber = machine.subscribe("--since", "0")
    for turn, victim in enumerate(("engine", "publishers")):
        heard = len(subscriber.events)
        service.hear(pcm[turn * 160_000 : (turn + 1) * 160_000])
        subscriber.wait_for(lambda events, heard=heard: len(events) > heard)
        service.kill(victim)
    service.hear(pcm[2 * 160_000 :])
    assert service.finish() == 0, service.log
    newest = machine.newest_seq()
    machine.start("publish")  # for a subscriber that was still on its way
    subscriber.wait_for(lambda events: events[-1]["seq"] == newest)
    assert subscriber.events == service.events
    assert extents(service.events) == heard_at_once(tiny_bundle, "yard", pcm)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_streamer_that_is_killed_begins_a_new_epoch(start, number):
    _, service = start(quiet={"source": "silence"})
    service.wait_until_ready()
    service.kill("streamer", number)
    up = service.telemetry["streamer"], "earmark_stream_up"
    wait_until(lambda: read_values(*up, stream="quiet") == [1], "the stream")
    received = service.telemetry["engine"], "earmark_received_samples_total"
    before = sum(read_values(*received, stream="quiet"))
    wait_until(lambda: sum(read_values(*received, stream="quiet")) > before, "audio of the new epoch")
    assert service.log.count("a child has ended; starting it again") == 1
