"""Dead letters: the file, the command, and publishers that are killed."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark.app import cli
from earmark.contracts.errors import OutboxError
from earmark.outbox import StoredEvent
from earmark.outbox.config import OutboxConfig
from publishers.deadletters import DeadLetters, DeadLettersConfig, dead_letters_path
from tests.publishers.hooks import Hook, events_of, metric
from tests.publishers.publishing import Engine
from tests.publishers.receiver import Answer, Receiver, Request, answer
from tests.support.events import make_event
from tests.support.ports import free_address
from tests.support.uptime import Machine
from tests.support.waiting import DEADLINE_S, wait_for

DAY_S = 86_400.0


def stored(seq: int) -> StoredEvent:
    return StoredEvent(seq, "gate", "dog", make_event(seq).model_dump_json(exclude={"seq"}))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def letters(outbox: OutboxConfig, machine: Machine) -> Iterator[DeadLetters]:
    letters = DeadLetters(dead_letters_path(outbox), DeadLettersConfig(max_count=3), machine)
    yield letters
    letters.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def config(outbox: OutboxConfig, receiver: Receiver, tmp_path: Path) -> Path:
    """The service's file; its webhook signs, so that there is a secret to leak."""
    (tmp_path / "secret").write_text("SECRETSECRETSECRET")
    path = tmp_path / "earmark.yaml"
    path.write_text(
        f"streams: {{gate: {{source: silence}}}}\n"
        f"outbox: {{path: {outbox.path}}}\n"
        f"telemetry: {{publishers: '{free_address().removeprefix('tcp://')}'}}\n"
        f"publishers:\n"
        f"  zeromq: null\n"
        f"  http: null\n"
        f"  webhooks:\n"
        f"    ops: {{url: '{receiver.url}', secret_file: {tmp_path / 'secret'}, headers: {{X-Pass: HEADERSECRET}}}}\n"
    )
    return path


def test_only_the_owner_may_read_them(letters: DeadLetters):
    old = os.umask(0)
    try:
        letters.add("webhook.ops", "a", stored(1), "answered 410 Gone", 1)
    finally:
        os.umask(old)
    for path in letters.path.parent.glob(letters.path.name + "*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_written_before_the_first(letters: DeadLetters):
    assert letters.read() == []
    assert (letters.want([1]), letters.remove([1])) == (0, 0)
    letters.prune()
    assert not letters.path.exists()


def test_an_event_lies_here_once_for_a_sink(letters: DeadLetters):
    before, event = metric("sink_dead_letters_total"), stored(1)
    for sink in ("webhook.ops", "webhook.ops", "webhook.other"):
        letters.add(sink, "a", event, "x", 1)
    assert [letter.sink for letter in letters.read()] == ["webhook.ops", "webhook.other"]
    assert letters.read(sink="webhook.ops")[0].stored == event
    assert metric("sink_dead_letters_total") == before + 1


def test_the_oldest_make_room_for_their_own_sink_only(letters: DeadLetters):
    before = metric("sink_dead_letters_dropped_total")
    letters.add("webhook.other", "a", stored(1), "x", 1)
    for seq in range(1, 6):
        letters.add("webhook.ops", str(seq), stored(seq), "x", 1)
    assert [letter.stored.seq for letter in letters.read(sink="webhook.ops")] == [3, 4, 5]
    assert len(letters.read(sink="webhook.other")) == 1
    assert metric("sink_dead_letters_dropped_total") == before + 2


def test_the_old_go(letters: DeadLetters, machine: Machine):
    for seq in (1, 2):
        letters.add("webhook.ops", str(seq), stored(seq), "x", 1)
        machine.run(20 * DAY_S)
    letters.prune()
    assert [letter.stored.seq for letter in letters.read()] == [2]


def test_a_letter_that_was_tried_again_is_young(letters: DeadLetters, machine: Machine):
    letters.add("webhook.ops", "1", stored(1), "x", 1)
    machine.run(29 * DAY_S)
    letters.failed_again(letters.read()[0], "y")
    machine.run(29 * DAY_S)
    letters.prune()
    assert [letter.attempts for letter in letters.read()] == [2]


@pytest.mark.parametrize("days", [-400, 400], ids=["clock back", "clock ahead"])
def test_a_wrong_clock_drops_none(letters: DeadLetters, monkeypatch: pytest.MonkeyPatch, days: int):
    true_ns = time.time_ns()
    letters.add("webhook.ops", "1", stored(1), "x", 1)
    monkeypatch.setattr("time.time_ns", lambda: true_ns + days * 86_400 * 10**9)
    letters.add("webhook.ops", "2", stored(2), "x", 1)
    letters.prune()
    monkeypatch.undo()
    letters.prune()
    assert [letter.stored.seq for letter in letters.read()] == [1, 2]


def test_letters_of_an_earlier_release_are_kept_and_grow_old(letters: DeadLetters, machine: Machine):
    letters.add("webhook.ops", "1", stored(1), "x", 1)
    letters.close()
    with sqlite3.connect(letters.path) as connection:
        connection.executescript("ALTER TABLE letters DROP COLUMN died_elapsed_s; DROP TABLE elapsed")
    connection.close()
    letters.prune()
    machine.run(29 * DAY_S)
    letters.prune()
    assert [letter.stored.seq for letter in letters.read()] == [1]
    machine.run(2 * DAY_S)
    letters.prune()
    assert letters.read() == []


def test_a_file_of_something_else_is_named(letters: DeadLetters):
    letters.path.write_bytes(b"something else " * 1000)
    with pytest.raises(OutboxError, match="deadletters"):
        letters.add("webhook.ops", "a", stored(1), "x", 1)


def test_dead_letters_that_cannot_be_read_hold_no_new_event_back(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver
):
    dead_letters_path(outbox).write_bytes(b"something else " * 1000)
    engine.commit(n=2)
    with Hook(outbox, receiver.url):
        wait_for(lambda: len(receiver.taken) == 2)
        engine.commit(n=2)
        wait_for(lambda: len(receiver.taken) == 4)


def test_an_event_is_kept_where_its_letter_cannot_be_written(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    gone = threading.Event()
    receiver.decide = lambda request: answer(200 if gone.is_set() else 410)
    dead_letters_path(outbox).mkdir()
    engine.commit(n=2)
    with Hook(outbox, receiver.url):
        wait_for(lambda: len(receiver.requests) > 1)
        gone.set()
        wait_for(lambda: len(receiver.taken) == 2)
    assert receiver.seqs == [1, 2]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = cli.run_command(["dead-letters", *arguments])
    out, err = capsys.readouterr()
    # The sinks of this very process log there too.
    return code, "".join(line for line in (out + err).splitlines(keepends=True) if not line.startswith("20"))


def test_the_command(
    engine: Engine,
    outbox: OutboxConfig,
    receiver: Receiver,
    config: Path,
    capsys: pytest.CaptureFixture[str],
):
    where = ("--config", str(config))
    assert run(capsys, "list", *where) == (0, f"no dead letters beside {outbox.path}\n")
    mended = threading.Event()
    receiver.decide = lambda request: answer(200 if mended.is_set() else 410)
    engine.commit(n=4)
    with Hook(outbox, receiver.url) as hook:
        wait_for(lambda: len(hook.dead()) == 4)
        code, text = run(capsys, "list", *where)
        lines = text.splitlines()
        assert (code, len(lines)) == (0, 4)
        assert lines[0].split()[:2] == ["1", "webhook.ops"]
        assert "gate/dog onset  answered 410 Gone (tried 1 times)" in lines[0]
        told = run(capsys, "list", "--sink", "webhook.other", *where)
        assert told == (0, f"no dead letters of webhook.other beside {outbox.path}\n")
        shown = json.loads(run(capsys, "show", "2", *where)[1])
        assert shown["event"] == events_of(outbox)[1].model_dump(mode="json")
        assert (shown["reason"], shown["attempts"]) == ("answered 410 Gone", 1)

        assert run(capsys, "drop", "1", *where) == (0, "1 dropped\n")
        assert run(capsys, "resend", "2", *where)[0] == 0
        wait_for(lambda: len(receiver.requests) == 5)  # refused again: it stays
        wait_for(lambda: [letter.attempts for letter in hook.dead()] == [2, 1, 1])
        assert not hook.dead()[0].is_wanted
        mended.set()
        code, text = run(capsys, "resend", "--all", *where)
        assert text.startswith("3 to be sent again")
        wait_for(lambda: not hook.dead())
        assert receiver.seqs == [2, 3, 4]
        assert receiver.taken[0].key == receiver.requests[1].key, "it keeps its key"


@pytest.mark.parametrize("arguments", [("list",), ("show", "1"), ("resend", "--all"), ("drop", "--all")])
def test_the_command_refuses_to_look_where_no_outbox_is(
    outbox: OutboxConfig, config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
):
    code, text = run(capsys, *arguments, "--config", str(config))
    assert code == 2
    assert f"{outbox.path}: expected the outbox of a service, got: No such file or directory; give its --config" in text
    assert "XDG_STATE_HOME" in text
    assert not list(outbox.path.parent.glob(f"{outbox.path.name}*"))


@pytest.mark.usefixtures("engine")
def test_a_letter_that_another_release_wrote(
    outbox: OutboxConfig, receiver: Receiver, config: Path, capsys: pytest.CaptureFixture[str], letters: DeadLetters
):
    letters.add("webhook.ops", "old", StoredEvent(1, "gate", "dog", '{"colour":"red"}'), "answered 410 Gone", 1)
    where = ("--config", str(config))
    code, text = run(capsys, "list", *where)
    assert (code, "unreadable  gate/dog event  answered 410 Gone" in text) == (0, True)
    assert run(capsys, "resend", "1", *where)[0] == 0
    with Hook(outbox, receiver.url) as hook:
        wait_for(lambda: [letter.attempts for letter in hook.dead()] == [2])
        (letter,) = hook.dead()
    assert "another release of Earmark wrote it" in letter.reason
    assert not receiver.requests


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "7"), "there is no dead letter 7"),
        (("resend", "7"), "there is no dead letter 7"),
        (("resend",), "expected the numbers of some dead letters or --all"),
        (("drop", "1", "--all"), "expected the numbers of some dead letters or --all"),
    ],
)
@pytest.mark.usefixtures("engine")
def test_what_the_command_refuses(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
):
    code, text = run(capsys, *arguments, "--config", str(config))
    assert code == 2
    assert complaint in text


def test_a_mark_waits_for_publishers_that_do_not_run(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, config: Path, capsys: pytest.CaptureFixture[str]
):
    receiver.decide = lambda request: answer(410)
    engine.commit()
    with Hook(outbox, receiver.url) as hook:
        wait_for(lambda: bool(hook.dead()))
    assert run(capsys, "resend", "1", "--config", str(config))[0] == 0
    assert "to be sent again)" in run(capsys, "list", "--config", str(config))[1]
    receiver.decide = lambda request: answer(200)
    with Hook(outbox, receiver.url) as hook:
        wait_for(lambda: not hook.dead())
    assert receiver.seqs == [1]


class Publish:
    """``earmark publish`` as a process."""

    def __init__(self, config: Path, log: Path) -> None:
        self._log = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "earmark.app", "publish", str(config)], stdout=self._log, stderr=self._log
        )

    def end(self, blow: signal.Signals) -> None:
        self.process.send_signal(blow)
        self.process.wait(DEADLINE_S)
        self._log.close()


def test_killed_between_delivery_and_cursor_the_same_key_comes_again(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, config: Path, tmp_path: Path
):
    log = tmp_path / "log"
    child = Publish(config, log)

    def kill_first(request: Request) -> Answer:
        if request.json["data"]["seq"] == 3 and len(receiver.requests) == 3:
            child.end(signal.SIGKILL)  # it was delivered, and nobody could remember it
        return answer(200) if request.json["data"]["seq"] != 4 else answer(404)

    receiver.decide = kill_first
    engine.commit(n=5)
    wait_for(lambda: child.process.returncode is not None)
    child = Publish(config, log)
    letters = DeadLetters(dead_letters_path(outbox), DeadLettersConfig())
    try:
        wait_for(lambda: receiver.seqs[-1:] == [5])
        assert [letter.stored.seq for letter in letters.read()] == [4]
    finally:
        letters.close()
        child.end(signal.SIGTERM)
    seen = [request.json["data"]["seq"] for request in receiver.requests]
    assert seen[:3] == [1, 2, 3]
    assert seen[-3:] == [3, 4, 5]
    assert seen[3:] == list(range(seen[3], 6)), "it goes on in order"
    assert seen[3] <= 3
    keys = {request.json["data"]["seq"]: set[str]() for request in receiver.requests}
    for request in receiver.requests:
        keys[request.json["data"]["seq"]].add(request.key)
    assert all(len(each) == 1 for each in keys.values()), "under the same key"
    told = log.read_text()
    assert "event goes to the dead letters" in told
    for secret in ("PATHSECRET", "SECRETSECRET", "HEADERSECRET"):
        assert secret not in told
