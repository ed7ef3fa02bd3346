"""JSON Lines: the file holds each event once, whatever happened to the process and the disk."""

import json
import os
import threading
from pathlib import Path

import pytest

from earmark.contracts.errors import ConfigError
from earmark.outbox import OutboxReader, StoredEvent
from earmark.outbox.config import OutboxConfig
from publishers.config import JsonlConfig, PublishersConfig
from publishers.jsonl import JsonlFileSink, JsonlStreamSink
from publishers.sinks import SinkError
from publishers.worker import Worker
from tests.publishers.publishing import Child, Engine, Service, seqs
from tests.support.waiting import DEADLINE_S, wait_for


def publish(path: Path, outbox: OutboxConfig, cursor: int = 0) -> int:
    """One run of a sink, to the end of the outbox; from where it went on."""
    sink, reader = JsonlFileSink(path), OutboxReader(outbox.path)
    try:
        since = sink.resume(reader, cursor)
        sink.publish(reader.read(since, 10_000))
    finally:
        sink.close()
        reader.close()
    return since


def test_lines_are_events(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    engine.commit(n=3)
    path = tmp_path / "logs" / "events.jsonl"
    assert publish(path, outbox) == 0
    reader = OutboxReader(outbox.path)
    assert path.read_text().splitlines() == [event.json for event in reader.read(0, 10)]
    reader.close()


NULS = "\0" * 700


@pytest.mark.parametrize(
    "torn",
    [
        "{",
        '{"seq":4,"event_id":"0',
        '{"seq":4}',
        NULS,
        "\0" * 3_000_000,
        '{"seq":4,"event' + NULS,
        NULS + '"}\n{"seq":5}\n',
    ],
    ids=["{", "cut", "no newline", "NULs", "3 MB of NULs", "cut and NULs", "hole"],
)
def test_a_torn_line_is_cut_off(engine: Engine, outbox: OutboxConfig, tmp_path: Path, torn: str):
    path = tmp_path / "events.jsonl"
    engine.commit(n=3)
    publish(path, outbox)
    engine.commit(n=2)
    with path.open("a") as file:
        file.write(torn)
    assert publish(path, outbox, cursor=1) == 3, "the file, not the cursor, says where it stopped"
    assert seqs(path) == [1, 2, 3, 4, 5]


def test_a_file_of_another_outbox_is_continued_from_the_cursor(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    path = tmp_path / "events.jsonl"
    engine.commit(n=3)
    publish(path, outbox)
    engine.replace()
    engine.commit(n=4)
    assert publish(path, outbox) == 0
    assert seqs(path) == [1, 2, 3, 1, 2, 3, 4]


def test_an_outbox_that_comes_back_is_continued_from_the_cursor(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    """The file's last line is that of now, not that of the day on which it was opened."""
    path = tmp_path / "events.jsonl"
    engine.commit(n=3)
    publish(path, outbox, cursor=0)
    sink, reader = JsonlFileSink(path), OutboxReader(outbox.path)
    engine.commit(n=3)
    sink.publish(reader.read(3, 10))
    other = StoredEvent(1, "gate", "dog", '{"event_id":"of another outbox"}')
    sink.publish([other])
    assert sink.resume(reader, 6) == 6
    sink.close()
    reader.close()


def test_a_file_that_is_moved_away_is_begun_anew(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    path = tmp_path / "events.jsonl"
    sink, reader = JsonlFileSink(path), OutboxReader(outbox.path)
    engine.commit(n=2)
    sink.publish(reader.read(0, 10))
    path.rename(tmp_path / "events.1")
    engine.commit(n=2)
    sink.publish(reader.read(2, 10))
    sink.close()
    reader.close()
    assert (seqs(tmp_path / "events.1"), seqs(path)) == ([1, 2], [3, 4])


def test_a_file_that_lost_all_its_data_is_begun_anew(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_text(NULS)
    engine.commit(n=2)
    assert publish(path, outbox) == 0
    assert seqs(path) == [1, 2]


def test_lines_after_a_hole_are_written_again(engine: Engine, outbox: OutboxConfig, tmp_path: Path):
    """The file system stored the last page and lost one before it."""
    path = tmp_path / "events.jsonl"
    engine.commit(n=5)
    publish(path, outbox)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * len(lines[2])
    path.write_bytes(b"".join(lines))
    assert publish(path, outbox, cursor=5) == 2
    assert seqs(path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "content",
    ["root:x:0:0", "a,b\n1,2\n", '{"seq":"x"}\n', NULS + "ustar", "MZ" + NULS, "a,b\n" + NULS, NULS + '{"seq":1}'],
)
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, content: str):
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(ConfigError, match="expected a file of Earmark's events"):
        JsonlFileSink(path)
    assert path.read_text() == content


def test_what_is_no_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="expected to write"):
        JsonlFileSink(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="write '-' for standard output"):
        JsonlFileSink(tmp_path / "pipe")


def test_one_file_has_one_writer(tmp_path: Path):
    sink = JsonlFileSink(tmp_path / "events.jsonl")
    with pytest.raises(ConfigError, match="another process writes"):
        JsonlFileSink(tmp_path / "events.jsonl")
    sink.close()


def test_killed_again_and_again(engine: Engine, jsonl_service: Service, outbox: OutboxConfig, tmp_path: Path):
    path = tmp_path / "events.jsonl"
    config = PublishersConfig(zeromq=None, http=None, jsonl=JsonlConfig(path=path))
    for round_ in range(3):
        child = Child(config, outbox)
        killer = threading.Thread(
            target=lambda child=child, least=round_ * 2000: (
                wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") > least),
                child.kill(),
            )
        )
        killer.start()
        engine.commit_many(2000)
        killer.join()
    jsonl_service.start()
    wait_for(lambda: path.read_bytes().count(b"\n") >= 6000)
    jsonl_service.stop()
    assert seqs(path) == list(range(1, 6001))


def test_a_reader_of_standard_output_that_hangs_stalls_nobody_else(
    engine: Engine, outbox: OutboxConfig, tmp_path: Path
):
    reading, writing = os.pipe()
    workers = [Worker(JsonlStreamSink(writing), outbox), Worker(JsonlFileSink(tmp_path / "events.jsonl"), outbox)]
    engine.commit_many(2000)  # a megabyte, and the pipe holds 64 KiB
    for worker in workers:
        worker.start()
    wait_for(lambda: (tmp_path / "events.jsonl").read_bytes().count(b"\n") == 2000)
    with os.fdopen(reading) as lines:
        assert [json.loads(next(lines))["seq"] for _ in range(2000)] == list(range(1, 2001))
        for worker in workers:
            worker.stop()
        for worker in workers:
            assert worker.join(DEADLINE_S)
            worker.sink.close()
            assert worker.error is None
        os.close(writing)
        assert next(lines, "end") == "end"


def test_a_closed_standard_output_is_a_failure_that_is_told(engine: Engine, outbox: OutboxConfig):
    reading, writing = os.pipe()
    os.close(reading)
    engine.commit()
    reader = OutboxReader(outbox.path)
    with pytest.raises(SinkError, match="Broken pipe"):
        JsonlStreamSink(writing).publish(reader.read(0, 1))
    reader.close()
    os.close(writing)
