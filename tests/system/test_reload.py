"""SIGHUP changes what a running service does, and no sound of what it leaves alone is lost or heard twice."""

import json
import signal
from typing import Any

import pytest
import yaml

from benchmarks.measuring import read_values, wait_until
from tests.support.audio import tones
from tests.system.test_service import Service, extents, heard_at_once, start

__all__ = ["start"]
pytestmark = pytest.mark.slow


class Reloadable:
    """A running service and its file."""

    def __init__(self, machine: Any, service: Service) -> None:
        self.machine = machine
        self.service = service

    def count(self, result: str) -> float:
        """How many reloads ended so."""
        values = read_values(
            self.service.telemetry["supervisor"], "earmark_reloads_total", process="supervisor", result=result
        )
        return sum(values)

    def write(self, text: str, result: str) -> None:
        """Put ``text`` into the file and have it read; wait until that ends as ``result`` says."""
        before = self.count(result)
        self.machine.config.write_text(text)
        self.service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.count(result) > before, f"a reload that is {result}")

    def change(self, **sections: Any) -> None:
        """Change sections of the file and have it read; a section of sections is changed key by key."""
        document = yaml.safe_load(self.machine.config.read_text())
        for name, section in sections.items():
            document[name] = section if name == "streams" else {**document[name], **section}
        self.write(yaml.safe_dump(document), "done")

    def value(self, process: str, metric: str, **labels: str) -> float:
        """A metric of one process, 0 where it has none."""
        return sum(read_values(self.service.telemetry[process], metric, **labels))


def test_a_stream_hears_every_sample_through_reloads_of_everything_else(start, tiny_bundle, tmp_path):
    pcm = tones(35, 40)
    quiet, loud = {"source": "silence"}, {"source": "silence", "labels": {"low": {"onset_threshold": 0.9}}}
    machine, service = start(yard={"source": "stdin"})
    reload = Reloadable(machine, service)
    service.wait_until_ready()
    subscriber = machine.subscribe("--since", "0")
    pids = {name: service.pid(name) for name in ("streamer", "engine", "publishers")}
    more = tmp_path / "more.jsonl"
    changes = [
        {"streams": {"yard": {"source": "stdin"}, "gate": quiet}},
        {"streams": {"yard": {"source": "stdin"}, "gate": loud}, "telemetry": {"log_level": "debug"}},
        {"publishers": {"jsonl": {"path": str(more)}}},
        {"streams": {"yard": {"source": "stdin"}, "hall": quiet}},
        {"streams": {"yard": {"source": "stdin"}}},
    ]
    piece = len(pcm) // (len(changes) + 1)
    for turn, change in enumerate(changes):
        service.hear(pcm[turn * piece : (turn + 1) * piece])
        reload.change(**change)
        if "gate" in change.get("streams", {}):
            wait_until(lambda: reload.value("streamer", "earmark_stream_up", stream="gate") == 1, "the new stream")
    service.hear(pcm[len(changes) * piece :])
    analysed = "earmark_analysed_samples_total"
    wait_until(lambda: reload.value("engine", analysed, stream="yard") > len(pcm) - 4_000, "all to be analysed")
    assert reload.value("streamer", "earmark_captured_samples_total", stream="yard") == len(pcm)
    assert reload.value("engine", "earmark_received_samples_total", stream="yard") == len(pcm)
    assert reload.value("engine", "earmark_gap_samples_total", stream="yard") == 0
    assert {name: service.pid(name) for name in pids} == pids, "no process was started again"
    wait_until(lambda: not read_values(service.telemetry["engine"], "earmark_coverage_ratio", stream="hall"), "its end")
    wait_until(lambda: not read_values(service.telemetry["streamer"], "earmark_stream_up", stream="hall"), "its end")
    assert service.finish() == 0, service.log
    newest = machine.newest_seq()
    machine.start("publish")  # for a subscriber that was still on its way
    subscriber.wait_for(lambda events: events[-1]["seq"] == newest)
    assert [event["seq"] for event in subscriber.events] == list(range(1, newest + 1))
    yard = [event for event in subscriber.events if event["stream"] == "yard"]
    assert extents(yard) == heard_at_once(tiny_bundle, "yard", pcm)
    assert len({event["epoch"] for event in yard}) == 1
    files = [*service.events, *map(json.loads, more.read_text().splitlines())]
    assert files == subscriber.events, "one sink went on in another file, from where it was"


def test_a_bad_file_changes_nothing_and_what_needs_a_restart_is_named(start):
    machine, service = start(yard={"source": "stdin"})
    reload = Reloadable(machine, service)
    service.wait_until_ready()
    good = machine.config.read_text()
    reload.write(good.replace("source: stdin", "sorce: stdin"), "refused")
    assert "earmark.yaml:" in service.log
    assert "streams.yard: has no source" in service.log
    reload.write(good, "done")
    assert "need a restart" not in service.log
    reload.change(streams={"yard": {"source": "stdin"}, "gate": {"source": "silence"}}, engine={"checkpoint_s": 7.0})
    wait_until(lambda: reload.value("streamer", "earmark_stream_up", stream="gate") == 1, "the new stream")
    assert "engine.checkpoint_s" in service.log
    service.kill("engine")
    assert service.log.count("engine.checkpoint_s") == 1, "a process that starts again runs what the others run"


def test_sigterm_ends_it_in_order_and_says_so(start):
    _, service = start(quiet={"source": "silence"})
    service.wait_until_ready()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(60) == 0, service.log
