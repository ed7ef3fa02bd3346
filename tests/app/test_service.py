"""The real service under its real supervisor, as the commands that people type."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from earmark.app.detect import detect_files
from earmark.contracts.bundle import Bundle
from earmark.outbox import OutboxReader
from engine.detector import Detector
from streamer.sender import find_engine
from tests.app.test_detect import extents, write_wav
from tests.support.audio import tones
from tests.support.waiting import DEADLINE_S, is_running, wait_for

EARMARK = (sys.executable, "-m", "earmark.app")


class Service:
    """A configuration in which nothing leaves a folder, and the commands that run with it."""

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        streams: dict[str, object],
        started: list[subprocess.Popen[str]],
        **sections: object,
    ) -> None:
        self.folder = folder
        self.started = started
        self.events_path = folder / "events.jsonl"
        self.path = folder / "service.yaml"
        document = {
            "streams": streams,
            "streamer": {"engines": [f"ipc://{folder}/e"]},
            "engine": {"bind": [f"ipc://{folder}/e"], "bundle": str(bundle.folder)},
            "outbox": {"path": str(folder / "outbox.db")},
            "publishers": {
                "zeromq": {"bind": f"ipc://{folder}/p", "history_bind": f"ipc://{folder}/h"},
                "jsonl": {"path": str(self.events_path)},
                "http": None,
            },
            "telemetry": {"streamer": "", "engine": "", "publishers": "", "supervisor": ""},
            **sections,
        }
        self.path.write_text(yaml.safe_dump(document))

    @property
    def events(self) -> list[dict[str, object]]:
        if not self.events_path.exists():
            return []
        whole, _, _ = self.events_path.read_text().rpartition("\n")  # the rest of a line may be on its way
        return [json.loads(line) for line in whole.splitlines()]

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen([*EARMARK, *arguments], stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
        self.started.append(process)
        return process


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle) -> Iterator[Callable[..., Service]]:
    """Makes services, and kills what is left of them. Their folder's path is short enough for Unix sockets."""
    started: list[subprocess.Popen[str]] = []
    folder = tmp_path_factory.mktemp("s")

    def serve(streams: dict[str, object], **sections: object) -> Service:
        return Service(folder, tiny_bundle, streams, started, **sections)

    yield serve
    for process in started:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Path]:
    return lambda name, seed, duration_s: write_wav(tmp_path / f"{name}.wav", tones(seed, duration_s))


def homed_at(address: str, addresses: list[str]) -> list[str]:
    """Three streams that find this engine."""
    names = (f"s{number}" for number in itertools.count())
    return list(itertools.islice((name for name in names if find_engine(name, addresses) == address), 3))


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_files_are_heard_told_and_done(serve, record, tiny_bundle):
    recordings = {name: record(name, seed, 6.0) for seed, name in enumerate(("a", "b"))}
    streams = {name: {"source": "file", "path": str(path), "pace": "fast"} for name, path in recordings.items()}
    service = serve(streams)
    process = service.start("run", str(service.path))
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    told = {
        name: sorted(
            (event["label"], event["onset_sample"], event["offset_sample"])
            for event in service.events
            if event["stream"] == name and event["phase"] == "offset"
        )
        for name in streams
    }
    results = detect_files(list(recordings.values()), Detector(tiny_bundle.folder))
    assert told == {name: extents(result.events) for name, result in zip(streams, results, strict=True)}
    assert [event["seq"] for event in service.events] == list(range(1, len(service.events) + 1))
    assert told["a"]


def test_each_shard_hears_its_own_streams(serve, record, tiny_bundle):
    """Two engine processes share one outbox; one that dies comes back, and nothing is lost or told twice."""
    service = serve({"later": {"source": "silence"}})
    addresses = [f"ipc://{service.folder}/e{shard}" for shard in range(2)]
    names = [name for address in addresses for name in homed_at(address, addresses)]
    recordings = {name: record(name, seed, 100.0) for seed, name in enumerate(names)}
    document = yaml.safe_load(service.path.read_text())
    document["streams"] = {
        name: {"source": "file", "path": str(path), "pace": "fast"} for name, path in recordings.items()
    }
    document["streams"]["open"] = {"source": "stdin"}  # the service goes on until the test has struck
    document["streamer"] = {"engines": addresses, "ring_s": 90}
    document["engine"] |= {"bind": addresses, "shards": True, "checkpoint_s": 0.5}
    service.path.write_text(yaml.safe_dump(document))
    process = service.start("run", str(service.path), stdin=subprocess.PIPE)
    wait_for(lambda: service.events, "the first events")
    (victim,) = [child for child in children_of(process.pid) if "--shard\x001" in command_of(child)]
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert '"child": "engine-1"' in err
    told = {
        name: sorted(
            (event["label"], event["onset_sample"], event["offset_sample"])
            for event in service.events
            if event["stream"] == name and event["phase"] == "offset"
        )
        for name in names
    }
    results = detect_files(list(recordings.values()), Detector(tiny_bundle.folder))
    assert told == {name: extents(result.events) for name, result in zip(names, results, strict=True)}


def test_sigterm_ends_a_service_that_would_go_on(serve):
    service = serve({"quiet": {"source": "silence"}})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(service.folder / "notify"))
        manager.settimeout(DEADLINE_S)
        process = service.start(
            "run", str(service.path), env={**os.environ, "NOTIFY_SOCKET": str(service.folder / "notify")}
        )
        while manager.recv(100) != b"READY=1":
            pass
        children = children_of(process.pid)
        assert len(children) == 3
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert not any(is_running(child) for child in children)


def test_a_process_in_a_unit_of_its_own_tells_systemd_of_its_reload(serve):
    service = serve({"quiet": {"source": "silence"}})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(service.folder / "notify"))
        manager.settimeout(DEADLINE_S)

        def told(word: bytes) -> list[bytes]:
            while word not in (words := manager.recv(1000).split(b"\n")):
                pass
            return words

        environment = {**os.environ, "NOTIFY_SOCKET": str(service.folder / "notify"), "WATCHDOG_USEC": "200000"}
        process = service.start("stream", str(service.path), env=environment)
        told(b"READY=1")
        before_us = time.monotonic_ns() // 1000
        process.send_signal(signal.SIGHUP)
        (stamp,) = [word for word in told(b"RELOADING=1") if word.startswith(b"MONOTONIC_USEC=")]
        assert before_us <= int(stamp.partition(b"=")[2]) <= time.monotonic_ns() // 1000
        assert b"STATUS=working" in told(b"READY=1")
        service.path.write_text("streams: 7")
        process.send_signal(signal.SIGHUP)
        told(b"RELOADING=1")
        assert b"STATUS=working; the changed configuration was refused" in told(b"READY=1")
        told(b"WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        told(b"STOPPING=1")
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_no_child_outlives_a_supervisor_that_is_killed(serve):
    service = serve({"quiet": {"source": "silence"}})
    process = service.start("run", str(service.path))
    try:
        wait_for(lambda: len(children_of(process.pid)) == 3, "three children")
        children = children_of(process.pid)
    finally:
        process.kill()
    wait_for(lambda: not any(is_running(child) for child in children), "the children's end")
    process.communicate(timeout=DEADLINE_S)


def test_what_cannot_work_ends_with_one_line_and_exit_code_2(serve):
    service = serve({"gone": {"source": "file", "path": "nothing.wav"}})
    process = service.start("run", str(service.path))
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("earmark: error: ")]
    assert "nothing.wav: expected a sound file, got nothing there" in line
    assert "Traceback" not in err


def test_port_in_use(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = serve(
            {"quiet": {"source": "silence"}},
            telemetry={"streamer": "", "engine": f"127.0.0.1:{port}", "publishers": "", "supervisor": ""},
        )
        process = service.start("run", str(service.path))
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    line, hint = [line for line in err.splitlines() if line.startswith("earmark: error: ")]
    assert f"telemetry.engine: expected to bind 127.0.0.1:{port}, got: another program has it" in line
    assert "--port-base" in hint


def test_a_sinks_file_that_cannot_be_used_does_not_keep_the_service_from_listening(serve, record):
    service = serve({"a": {"source": "file", "path": str(record("a", 3, 4.0)), "pace": "fast"}})
    service.events_path.write_text("somebody else's\n")
    process = service.start("run", str(service.path))
    with contextlib.closing(OutboxReader(service.folder / "outbox.db")) as outbox:
        wait_for(lambda: outbox.newest_seq() >= 2, "events, though a sink cannot be opened")
    process.terminate()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert "a sink cannot be opened; the others go on" in err
    assert service.events_path.read_text() == "somebody else's\n"


def test_subscribe_command(serve, record):
    service = serve({"a": {"source": "file", "path": str(record("a", 3, 4.0)), "pace": "fast"}})
    process = service.start("run", str(service.path))
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    publishers = service.start("publish", str(service.path))
    subscriber = service.start(
        *("subscribe", "--address", f"ipc://{service.folder}/p", "--history", f"ipc://{service.folder}/h"),
        *("--since", "0", "--label", "low", "--format", "jsonl"),
        stdout=subprocess.PIPE,
    )
    expected = [event for event in service.events if event["label"] == "low"]
    assert expected
    assert [json.loads(subscriber.stdout.readline()) for _ in expected] == expected
    for process, code in ((subscriber, 130), (publishers, -signal.SIGINT)):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == code, err
        assert "Traceback" not in err


def test_demo():
    """With the bundle that ships: six of eight, or it fails."""
    process = subprocess.run([*EARMARK, "demo"], capture_output=True, text=True, timeout=100, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "sounds found: " in process.stdout
    assert "Where to go next" in process.stdout


def test_healthy_children_survive_the_loss_of_the_temporary_folder(serve, tmp_path):
    """What they read and talk through are descriptors; one that dies starts again all the same."""
    service = serve({"quiet": {"source": "silence"}})
    (tmp_path / "tmp").mkdir()
    process = service.start("run", str(service.path), env={**os.environ, "TMPDIR": str(tmp_path / "tmp")})
    wait_for(lambda: len(children_of(process.pid)) == 3, "three children")
    assert list((tmp_path / "tmp").iterdir()) == [], "no copy of the configuration"
    (tmp_path / "tmp").rmdir()
    (engine,) = [pid for pid in children_of(process.pid) if "\0engine\0" in command_of(pid)]
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: len(children_of(process.pid)) == 3 and engine not in children_of(process.pid), "another engine")
    process.terminate()
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode in {0, -signal.SIGTERM}, err


@pytest.mark.parametrize("command", ["engine", "publish"])
def test_an_address_that_is_not_there_yet_is_worth_another_attempt(serve, command):
    service = serve(
        {"quiet": {"source": "silence"}},
        engine={"bind": ["tcp://192.0.2.1:7701"], "insecure": True},
        publishers={"zeromq": {"bind": "tcp://192.0.2.1:7711", "insecure": True}, "http": None},
    )
    process = service.start(command, str(service.path))
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == os.EX_TEMPFAIL, err
    assert "expected to bind tcp://192.0.2.1:77" in err
