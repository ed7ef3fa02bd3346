"""The outbox: one transaction for events and checkpoint, revisions, retention, cursors."""

import contextlib
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from earmark.contracts.errors import ConfigError, OutboxError, OutboxFullError
from earmark.outbox import Checkpoint, Cursors, EventQuery, Outbox, OutboxReader, StreamCommit, Waker, WakeSignal
from earmark.outbox.database import SCHEMA_VERSION, _bring_up_to_date, connect, connect_outbox, sqlite_errors
from earmark.outbox.log_mover import AFTER_CHANGES
from earmark.outbox.wake import path_beside
from tests.support.events import make_event
from tests.support.waiting import DEADLINE_S, wait_for


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


def test_the_first_event_may_come_while_one_asks_for_the_oldest(outbox, reader):
    """Two looks, one on each side of the commit, would call the first event one that retention removed."""

    def commit_before_the_next_look(_statement: str):
        reader._connection.set_trace_callback(commit)

    def commit(_statement: str):
        reader._connection.set_trace_callback(None)
        outbox.commit([StreamCommit("gate", 0, checkpoint(), [make_event(1)])])

    reader._connection.set_trace_callback(commit_before_the_next_look)
    assert reader.oldest_seq() == 1


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


OLD_TABLES = """
CREATE TABLE outbox (outbox_id TEXT NOT NULL);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL, phase TEXT NOT NULL, stream TEXT NOT NULL, label TEXT NOT NULL,
    created_ns INTEGER NOT NULL, body TEXT NOT NULL,
    UNIQUE (event_id, phase)
);
CREATE TABLE streams (
    stream TEXT PRIMARY KEY, revision INTEGER NOT NULL,
    epoch TEXT, decided_sample INTEGER, row_start INTEGER, bundle TEXT, state BLOB
) WITHOUT ROWID;
CREATE TABLE retired (
    stream TEXT NOT NULL, epoch TEXT NOT NULL, end_sample INTEGER NOT NULL, PRIMARY KEY (stream, epoch)
) WITHOUT ROWID;
INSERT INTO outbox VALUES ('an old one');
INSERT INTO streams VALUES ('gate', 3, '0000000000000007', 640, 0, 'm', x'01');
PRAGMA user_version = 1;
"""
"""What 0.1 made."""


def make_old(path, n_events):
    old = sqlite3.connect(path)
    old.executescript(OLD_TABLES)
    events = [make_event(number) for number in range(n_events)]
    old.executemany(
        "INSERT INTO events (event_id, phase, stream, label, created_ns, body) VALUES (?, 'onset', ?, ?, 1, ?)",
        [(e.event_id, e.stream, e.label, e.model_dump_json(exclude={"seq", "heard_by"})) for e in events],
    )
    old.commit()
    old.close()
    return events


def test_an_older_outbox_goes_on_where_it_was(tmp_path):
    events = make_old(tmp_path / "o.db", 5)
    outbox, reader = (
        Outbox(tmp_path / "o.db", zones={"yard": ["gate"]}, fusion_ms=1000),
        OutboxReader(tmp_path / "o.db"),
    )
    assert reader.outbox_id == "an old one"
    assert [stored.event.model_copy(update={"seq": 0}) for stored in reader.read(0, 9)] == events
    query = EventQuery(from_time=events[3].onset_time)
    assert reader.nearest(query, after=0, through=5) == 4
    assert [stored.seq for stored in reader.search(query, 9, after=0, through=5)] == [4, 5]
    assert (outbox.load("gate").revision, outbox.load("gate").checkpoint.decided_sample) == (3, 640)
    assert outbox.commit([StreamCommit("gate", 3, checkpoint(), [make_event(9)])]) == set()
    assert [(stored.seq, stored.stream) for stored in reader.read(5, 9)] == [(6, "gate"), (7, "yard")]
    reader.close()
    outbox.close()


def test_processes_that_find_an_older_outbox_at_once_bring_it_up_to_date_once(tmp_path):
    n = 4
    for round_ in range(20):
        path, together = tmp_path / f"{round_}.db", threading.Barrier(n)
        make_old(path, 3)

        def look(path=path, together=together):
            together.wait()
            reader = OutboxReader(path)
            try:
                return reader.outbox_id, reader.nearest(EventQuery(to_time=datetime.now(UTC)), after=0, through=9)
            finally:
                reader.close()

        with ThreadPoolExecutor(n) as pool:
            found = [future.result() for future in [pool.submit(look) for _ in range(n)]]
        assert found == [("an old one", 1)] * n


def test_an_upgrade_that_finds_no_room_leaves_the_outbox_as_it_was(tmp_path):
    events = make_old(tmp_path / "o.db", 200)
    connection = connect(tmp_path / "o.db")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutboxFullError, match="free some space"), sqlite_errors(tmp_path / "o.db"):
        _bring_up_to_date(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('fusions', 'marks')").fetchone() == (
        0,
    )
    connection.close()
    reader = OutboxReader(tmp_path / "o.db")
    assert len(reader.read(0, 999)) == len(events)
    reader.close()


def test_the_nearest_event_of_a_time_is_found_from_either_end(outbox, reader):
    began = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in (0, 1, 5, 2, 3, 9, 4)]
    events = [make_event(number).model_copy(update={"onset_time": at}) for number, at in enumerate(began)]
    outbox.commit([StreamCommit("gate", 0, checkpoint(), events)])
    span = EventQuery(from_time=began[1], to_time=began[6])

    def nearest(query, after=0, through=7, **options):
        return reader.nearest(query, after=after, through=through, **options)

    assert [nearest(span), nearest(span, newest_first=True)] == [2, 5]
    assert [nearest(span, after=2), nearest(span, through=4, newest_first=True), nearest(span, after=5)] == [4, 4, None]
    assert nearest(EventQuery(from_time=began[5])) == 6
    assert nearest(EventQuery(from_time=began[5] + timedelta(microseconds=1))) is None
    assert nearest(EventQuery(to_time=began[0])) is None
    assert nearest(EventQuery(to_time=began[0]), after=7) is None


def test_times_are_looked_up_in_an_index_and_events_read_by_their_number(outbox, reader):
    """Statistics, once somebody makes them, must not turn the two around."""
    outbox.commit([StreamCommit("gate", 0, checkpoint(), [make_event(n) for n in range(300)])])
    outbox._connection.execute("ANALYZE")
    statements = []
    reader._connection.set_trace_callback(statements.append)
    query = EventQuery(from_time=datetime.now(UTC) - timedelta(days=2), to_time=datetime.now(UTC) - timedelta(days=1))
    assert reader.nearest(query, after=0, through=300) is None
    reader.search(query, 10, after=0, through=300)
    reader._connection.set_trace_callback(None)
    plans = [
        reader._connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchone()[3] for statement in statements[-3:]
    ]
    assert ["PRIMARY KEY" in plans[0], "events_began" in plans[1], "PRIMARY KEY" in plans[2]] == [True, True, True]


def test_another_version_is_refused(tmp_path):
    connection = connect_outbox(tmp_path / "o.db")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(OutboxError, match="expected an outbox of version 3 at most, got 4, which a newer release"):
        Outbox(tmp_path / "o.db")


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "o.db").write_bytes(b"some text that is no database" * 100)
    with pytest.raises(OutboxError, match="expected an outbox of Earmark"):
        Outbox(tmp_path / "o.db")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match="expected to open or make"):
        Outbox(tmp_path / "file" / "o.db")


def test_cursors_of_another_version_are_refused(tmp_path):
    path = tmp_path / "cursors.db"
    Cursors(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(OutboxError, match="expected cursors of version 1, got 2; run the release that wrote them"):
        Cursors(path)


def test_cursors_are_of_a_sink_and_an_outbox(tmp_path):
    cursors = Cursors(tmp_path / "cursors.db")
    cursors.set("mqtt", "one", 5)
    cursors.set("mqtt", "one", 6)
    cursors.close()
    cursors = Cursors(tmp_path / "cursors.db")
    assert (cursors.get("mqtt", "one"), cursors.get("mqtt", "two"), cursors.get("http", "one")) == (6, 0, 0)
    cursors.close()


def test_the_first_sinks_begin_with_the_oldest_event_and_later_ones_where_they_say(tmp_path):
    with contextlib.closing(Cursors(tmp_path / "cursors.db")) as cursors:

        def enter(newest, **beginnings):
            late = cursors.enter("one", beginnings, oldest=4, newest=newest)
            return late, [cursors.get(sink, "one") for sink in beginnings]

        assert enter(9, mqtt="now", jsonl="oldest") == ([], [3, 3])
        cursors.set("mqtt", "one", 7)
        assert enter(9, mqtt="now", hook="now", phone="oldest") == (["hook"], [7, 9, 3])
        assert enter(12, hook="now", jsonl="now") == ([], [9, 3])
        assert cursors.enter("another", {"mqtt": "now"}, oldest=1, newest=5) == []
        assert cursors.get("mqtt", "another") == 0


def test_a_new_sink_at_an_empty_outbox_passes_over_nothing(tmp_path):
    with contextlib.closing(Cursors(tmp_path / "cursors.db")) as cursors:
        cursors.enter("one", {"mqtt": "now"}, oldest=1, newest=0)
        assert cursors.enter("one", {"hook": "now"}, oldest=1, newest=0) == []


def test_the_log_is_moved_into_the_file_beside_the_commits(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    before = outbox.path.stat().st_size
    for number in range(2 * AFTER_CHANGES):  # their pages are not enough for SQLite to do it itself
        assert not outbox.commit([StreamCommit(f"s{number}", 0, None, [make_event(number, f"s{number}")])])
    wait_for(lambda: outbox.path.stat().st_size > before)
    outbox.close()
    assert not outbox._log._thread.is_alive()


def test_an_outbox_that_was_moved_away_is_not_made_anew(tmp_path):
    outbox = Outbox(tmp_path / "o.db")
    moved = tmp_path / "moved.db"
    for name in ("", "-wal", "-shm"):
        Path(f"{outbox.path}{name}").rename(f"{moved}{name}")
    before = moved.stat().st_size
    for number in range(2 * AFTER_CHANGES):
        assert not outbox.commit([StreamCommit(f"s{number}", 0, None, [make_event(number, f"s{number}")])])
    wait_for(lambda: moved.stat().st_size > before)
    assert not outbox.path.exists()
    outbox.close()


def test_a_wake_reaches_who_waits(tmp_path):
    waker = Waker(tmp_path / "o.db")
    waker.wake()  # nobody listens
    for _ in range(2):  # publishers that come back
        signal = WakeSignal(tmp_path / "o.db")
        assert not signal.wait(0.01)
        for _ in range(1000):  # more than wait in a socket
            waker.wake()
        assert signal.wait(DEADLINE_S)
        assert not signal.wait(0.01)
        threading.Timer(0.05, waker.wake).start()
        assert signal.wait(DEADLINE_S)
        signal.close()
    assert stat.S_IMODE((tmp_path / "o.db.wake").stat().st_mode) == 0o600
    waker.close()


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "o.db.lock").mkdir()
    with pytest.raises(ConfigError, match=r"outbox.path: expected to write .*o\.db\.lock, got: Is a directory"):
        WakeSignal(tmp_path / "o.db")


def test_a_path_too_long_for_a_socket_is_named(tmp_path):
    with pytest.raises(ConfigError, match="move the outbox to a shorter one"):
        path_beside(tmp_path / ("x" * 100) / "o.db", "wake")


def test_a_second_connection_does_not_take_the_locks_of_the_first(tmp_path: Path):
    """Another process that was the last one would delete the log that the first connection goes on writing to."""
    path = tmp_path / "o.db"
    with contextlib.closing(connect_outbox(path)) as first:
        first.execute("BEGIN IMMEDIATE")
        first.execute("COMMIT")
        connect_outbox(path).close()
        code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM outbox'); c.close()"
        subprocess.run([sys.executable, "-c", code, path], check=True)
        assert Path(f"{path}-wal").exists()
