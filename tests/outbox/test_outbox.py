"""The outbox: one transaction for events and checkpoint, revisions, retention, cursors."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import zmq

from earmark.contracts.errors import ConfigError, OutboxError, OutboxFullError
from earmark.outbox import Checkpoint, Cursors, Outbox, OutboxReader, StreamCommit, Waker, WakeSignal
from earmark.outbox.database import SCHEMA_VERSION, connect_outbox
from earmark.outbox.wake import address_beside
from tests.support.events import make_event


def checkpoint(decided=640):
    return Checkpoint(epoch=2**64 - 1, decided_sample=decided, row_start=0, bundle="m", state=b"state")


@pytest.fixture
def outbox(tmp_path):
    made = Outbox(tmp_path / "outbox.db")
    yield made
    made.close()


@pytest.fixture
def reader(outbox):
    made = OutboxReader(outbox.path)
    yield made
    made.close()


def test_what_is_committed_is_loaded(outbox):
    assert outbox.load("gate").revision == 0
    assert outbox.commit([StreamCommit("gate", 0, checkpoint())]) == set()
    assert outbox.load("gate").checkpoint == checkpoint()
    assert outbox.commit([StreamCommit("gate", 1, None, retired=[(5, 99)])]) == set()
    assert (outbox.load("gate").revision, outbox.load("gate").checkpoint) == (2, None)
    assert outbox.retired_end("gate", 5) == 99
    assert outbox.retired_end("gate", 6) is None


def test_events_are_read_in_order_with_their_seq(outbox, reader):
    outbox.commit(
        [
            StreamCommit("gate", 0, checkpoint(), [make_event(1), make_event(2)]),
            StreamCommit("yard", 0, checkpoint(), [make_event(3, "yard", "cat")]),
        ]
    )
    read = reader.read(0, 10)
    assert [(e.seq, e.event.onset_sample) for e in read] == [(1, 1), (2, 2), (3, 3)]
    assert [e.event.seq for e in read] == [1, 2, 3]
    assert [e.seq for e in reader.read(1, 1)] == [2]
    assert [e.seq for e in reader.read(0, 9, through=2)] == [1, 2]
    assert [e.seq for e in reader.read(0, 9, streams=["yard"])] == [3]
    assert [e.seq for e in reader.read(0, 9, streams=["yard", "gate"], labels=["dog"])] == [1, 2]


def test_an_overtaken_revision_writes_nothing_and_hurts_nobody(outbox, reader):
    outbox.commit([StreamCommit("gate", 0, checkpoint())])
    refused = outbox.commit(
        [
            StreamCommit("gate", 0, checkpoint(1280), [make_event(1)], [(3, 3)]),
            StreamCommit("yard", 0, checkpoint(), [make_event(2, "yard")]),
        ]
    )
    assert refused == {"gate"}
    assert outbox.load("gate").checkpoint == checkpoint()
    assert outbox.retired_end("gate", 3) is None
    assert [e.stream for e in reader.read(0, 9)] == ["yard"]
    assert outbox.commit([StreamCommit("gate", 7, checkpoint())]) == {"gate"}


def test_nothing_of_a_failed_transaction_remains(outbox, reader):
    outbox.commit([StreamCommit("gate", 0, checkpoint(), [make_event(1)])])
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        outbox.commit(
            [StreamCommit("yard", 0, checkpoint()), StreamCommit("gate", 1, checkpoint(1280), [make_event(1)])]
        )
    assert outbox.load("yard").revision == 0
    assert outbox.load("gate").checkpoint == checkpoint()
    assert outbox.commit([StreamCommit("gate", 1, checkpoint(1280), [make_event(2)])]) == set()
    assert reader.newest_seq() == reader.read(0, 9)[-1].seq


def test_a_full_disk_commits_nothing_and_can_be_tried_again(outbox, reader):
    (pages,) = outbox._connection.execute("PRAGMA page_count").fetchone()
    outbox._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    commit = StreamCommit("gate", 0, checkpoint(), [make_event(n) for n in range(200)])
    with pytest.raises(OutboxFullError, match="nothing was committed"):
        outbox.commit([commit])
    assert outbox.load("gate").revision == 0
    assert reader.newest_seq() == 0
    outbox._connection.execute("PRAGMA max_page_count = 100000")
    assert outbox.commit([commit]) == set()
    assert len(reader.read(0, 999)) == 200


def test_retention_by_size_takes_the_oldest_and_seq_is_never_reused(outbox, reader):
    outbox.commit([StreamCommit("gate", 0, checkpoint(), [make_event(n) for n in range(700)])])
    assert outbox.prune(1e9, 10**9) == 0
    assert outbox.prune(1e9, 0) == 500
    assert reader.oldest_seq() == 501
    assert outbox.prune(1e9, 0) == 200
    assert (reader.oldest_seq(), reader.newest_seq()) == (701, 700)
    outbox.commit([StreamCommit("gate", 1, checkpoint(1280), [make_event(1000)])])
    assert [e.seq for e in reader.read(0, 9)] == [701]


def test_retention_by_age(outbox, reader):
    outbox.commit([StreamCommit("gate", 0, checkpoint(), [make_event(1)])])
    assert outbox.prune(3600, 10**9) == 0
    outbox._connection.execute("UPDATE events SET created_ns = created_ns - 7200 * 1000000000")
    assert outbox.prune(3600, 10**9) == 1
    assert reader.read(0, 9) == []


def test_what_was_heard_before_the_clock_was_set_has_no_age(outbox, reader):
    """A small computer boots in 1970."""
    outbox.commit([StreamCommit("gate", 0, checkpoint(), [make_event(1)])])
    outbox._connection.execute("UPDATE events SET created_ns = 60 * 1000000000")
    assert outbox.prune(3600, 10**9) == 0
    assert len(reader.read(0, 9)) == 1
    assert outbox.prune(3600, 0) == 1


def test_a_reader_never_waits_for_a_writer(outbox):
    outbox._connection.execute("BEGIN IMMEDIATE")
    reader = OutboxReader(outbox.path)
    assert reader.newest_seq() == 0
    reader.close()
    outbox._connection.execute("COMMIT")


def test_a_lock_that_is_held_says_so(outbox):
    other = Outbox(outbox.path)
    other._connection.execute("PRAGMA busy_timeout = 1")
    outbox._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutboxFullError, match="locked by another process; nothing was committed"):
        other.commit([StreamCommit("gate", 0, checkpoint())])
    outbox._connection.execute("COMMIT")
    other.close()


def test_streams_whose_epoch_goes_on_are_listed(outbox):
    outbox.commit([StreamCommit("gate", 0, checkpoint()), StreamCommit("yard", 0, None)])
    assert outbox.open_streams() == {"gate": 1}


def test_a_reader_may_come_before_the_engine_and_cannot_write(tmp_path):
    reader = OutboxReader(tmp_path / "new" / "outbox.db")
    assert (reader.newest_seq(), reader.oldest_seq()) == (0, 1)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM events")
    reader.close()


def test_processes_that_come_first_at_once_make_one_outbox(tmp_path):
    n = 4
    for round_ in range(60):
        path, together = tmp_path / f"{round_}.db", threading.Barrier(n)

        def outbox_id(path=path, together=together):
            together.wait()
            connection = connect_outbox(path)
            try:
                return connection.execute("SELECT outbox_id FROM outbox").fetchall()
            finally:
                connection.close()

        with ThreadPoolExecutor(n) as pool:
            ids = [future.result() for future in [pool.submit(outbox_id) for _ in range(n)]]
        assert len(ids[0]) == 1
        assert ids.count(ids[0]) == n


def test_another_version_is_refused(tmp_path):
    connection = connect_outbox(tmp_path / "o.db")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(OutboxError, match="expected an outbox of version 1, got 2; run the release that wrote it"):
        Outbox(tmp_path / "o.db")


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "o.db").write_bytes(b"some text that is no database" * 100)
    with pytest.raises(OutboxError, match="expected an outbox of Earmark"):
        Outbox(tmp_path / "o.db")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match="expected to open or make"):
        Outbox(tmp_path / "file" / "o.db")


def test_cursors_are_of_a_sink_and_an_outbox(tmp_path):
    cursors = Cursors(tmp_path / "cursors.db")
    cursors.set("mqtt", "one", 5)
    cursors.set("mqtt", "one", 6)
    cursors.close()
    cursors = Cursors(tmp_path / "cursors.db")
    assert (cursors.get("mqtt", "one"), cursors.get("mqtt", "two"), cursors.get("http", "one")) == (6, 0, 0)
    cursors.close()


def test_a_wake_reaches_who_waits(tmp_path):
    context = zmq.Context()
    signal, waker = WakeSignal(context, tmp_path / "o.db"), Waker(context, tmp_path / "o.db")
    woken = threading.Event()

    def wake_until_heard():
        while not woken.wait(0.01):
            waker.wake()

    thread = threading.Thread(target=wake_until_heard)
    thread.start()
    assert signal.wait(10)
    woken.set()
    thread.join()
    signal.close()
    waker.close()
    context.term()


def test_a_path_too_long_for_a_socket_is_named(tmp_path):
    with pytest.raises(ConfigError, match="move the outbox to a shorter one"):
        address_beside(tmp_path / ("x" * 100) / "o.db", "wake")
