"""Notifications through Apprise, against a real server behind its ``json://``."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from earmark.contracts.errors import ConfigError
from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader, StoredEvent
from earmark.outbox.config import OutboxConfig
from publishers.config import PublishersConfig
from publishers.notify.config import NotifyConfig, QuietHours
from publishers.notify.memory import Memory
from publishers.notify.messenger import Messenger
from publishers.notify.sink import NotifySink, open_notifications
from publishers.notify.template import check_template, fields_of
from publishers.sinks import SinkError
from publishers.worker import Worker
from tests.publishers.hooks import metric
from tests.publishers.publishing import Engine, Service
from tests.publishers.receiver import Answer, Receiver, Request, answer
from tests.support.events import make_event
from tests.support.waiting import DEADLINE_S, wait_for

# Apprise's plugin for mail looks for a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOON = datetime(2026, 7, 1, 12, 3, 5, tzinfo=UTC)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


class Phone:
    """A sink whose clock the test sets; events are given to it by hand."""

    def __init__(self, receiver: Receiver, folder: Path, **options: object) -> None:
        url = f"json://127.0.0.1:{receiver.port}/URLSECRET"
        config = NotifyConfig.model_validate({"urls": [url], "timezone": "UTC", **options})
        self.now = NOON
        self._receiver = receiver
        messenger = Messenger(SecretStr(url), "publishers.notifications.phone.urls[0]")
        self.memory = folder / "memory"
        self._make = lambda: NotifySink(
            "notify.phone", config, messenger, "phone", Memory(self.memory, config.cooldown_s), now=lambda: self.now
        )
        self.sink = self._make()
        self._seq = 0

    def restart(self) -> None:
        """The publishers are killed and begin again."""
        self.sink = self._make()

    def hear(self, label: str = "siren", stream: str = "gate", **changes: object) -> int:
        """Of an event now; how many messages it made."""
        self._seq += 1
        times = {"onset_time": self.now, "decided_at": self.now}
        event = make_event(self._seq, stream, label).model_copy(update={**times, "seq": self._seq, **changes})
        before = len(self.told)
        stored = StoredEvent(self._seq, stream, label, event.model_dump_json(exclude={"seq"}))
        assert self.sink.publish([stored]) == self._seq
        return len(self.told) - before

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(request.json["title"], request.json["message"]) for request in self._receiver.taken]


class Watch:
    """How far a counter of this sink's moves in the block."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __enter__(self) -> Self:
        self._before = self._value()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.count = self._value() - self._before

    def _value(self) -> float:
        return metric("sink_held_back_events_total", "notify.phone", reason=self._reason)


def test_a_sentence(receiver: Receiver, tmp_path: Path):
    phone = Phone(receiver, tmp_path)
    assert phone.hear("clock_alarm", score_peak=0.931) == 1
    assert phone.told == [("Clock alarm at gate", "Clock alarm at gate, 12:03:05, score 0.93")]


def test_a_sentence_of_ones_own(receiver: Receiver, tmp_path: Path):
    phone = Phone(
        receiver,
        tmp_path,
        timezone="Europe/Berlin",
        filter={"phases": ["onset", "offset"]},
        title="{label}/{phase}",
        body="{time:%d.%m. %H:%M} {level_db:.0f} dB, {duration_s:.1f} s, {reason}, {score_mean:.1%} {{ok}}",
    )
    phone.hear(level_db=None)
    phone.hear(phase="offset", offset_sample=16_002, offset_time=NOON + timedelta(seconds=1), reason="gap")
    assert phone.told == [
        ("siren/onset", "01.07. 14:03 ? dB, ? s, ?, 80.0% {ok}"),
        ("siren/offset", "01.07. 14:03 -20 dB, 1.0 s, gap, 80.0% {ok}"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{stram}", r"unknown field \{stram\}; did you mean \{stream\}\?"),
        ("{xyz}", r"unknown field \{xyz\}; expected one of stream, label"),
        ("{}", "unknown field"),
        ("{0}", "unknown field"),
        ("{time.year}", r"unknown field \{time.year\}; did you mean \{time\}\?"),
        ("{stream.__class__}", "unknown field"),
        ("{label[0]}", "unknown field"),
        ("{label!r}", "expected at most a format"),
        ("{score:{score_mean}}", "expected at most a format"),
        ("{score:%H}", "expected a text like"),
        ("{label:.2f}", "expected a text like"),
        ("{label", "expected a text like"),
        ("label}", "expected a text like"),
    ],
)
def test_a_template_that_could_fail_is_refused_at_once(text: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        check_template(text)
    with pytest.raises(ValidationError):
        NotifyConfig.model_validate({"urls": ["json://x"], "body": text})


def test_every_field_can_be_named():
    event: SoundEvent = make_event(1)
    for name in fields_of(event, UTC):
        check_template(f"{{{name}}}").format(**fields_of(event, UTC))


def test_onsets_only_unless_asked(receiver: Receiver, tmp_path: Path):
    phone = Phone(receiver, tmp_path, filter={"labels": ["siren"]})
    assert [phone.hear(), phone.hear("dog"), phone.hear(phase="offset", offset_sample=9, offset_time=NOON)] == [1, 0, 0]


def test_an_old_siren_does_not_ring(receiver: Receiver, tmp_path: Path):
    phone = Phone(receiver, tmp_path, max_age_s=300)
    with Watch("too_old") as watch:
        assert phone.hear(decided_at=NOON - timedelta(seconds=301)) == 0
        assert phone.hear(decided_at=NOON - timedelta(seconds=299)) == 1
    assert watch.count == 1


def test_a_cooldown_for_each_label_of_each_stream(receiver: Receiver, tmp_path: Path):
    phone = Phone(receiver, tmp_path, cooldown_s=60)
    with Watch("cooldown") as watch:
        assert [phone.hear(), phone.hear(), phone.hear("dog"), phone.hear(stream="yard")] == [1, 0, 1, 1]
        phone.now += timedelta(seconds=59)
        assert phone.hear() == 0
        phone.now += timedelta(seconds=1)
        assert phone.hear() == 1, "what was held back does not prolong it"
        phone.now -= timedelta(days=1)
        assert phone.hear() == 1, "a clock that was set back silences nobody"
    assert watch.count == 2


def test_quiet_hours(receiver: Receiver, tmp_path: Path):
    quiet = {"from": "22:00", "to": "07:00", "timezone": "Europe/Berlin", "always": ["siren"], "summary": True}
    phone = Phone(receiver, tmp_path, quiet_hours=quiet)
    phone.now = datetime(2026, 7, 1, 21, 59, tzinfo=ZoneInfo("Europe/Berlin"))
    assert phone.hear("dog") == 1
    with Watch("quiet_hours") as watch:
        phone.now += timedelta(minutes=1)
        assert [phone.hear("dog"), phone.hear("dog"), phone.hear("siren"), phone.hear("cat", "yard")] == [0, 0, 1, 0]
        phone.now += timedelta(hours=8, minutes=59)
        assert phone.hear("dog") == 0
        phone.sink.tick(0)
        assert len(phone.told) == 2
    phone.now += timedelta(minutes=1)
    phone.sink.tick(0)
    phone.sink.tick(0)
    assert phone.told[2:] == [("Quiet hours are over", "Dog at gate: 3\nCat at yard: 1")]
    assert phone.hear("dog") == 1
    assert watch.count == 4


def test_a_restart_forgets_nothing(receiver: Receiver, tmp_path: Path):
    phone = Phone(receiver, tmp_path, cooldown_s=60, quiet_hours={"from": "13:00", "to": "14:00", "summary": True})
    assert phone.hear() == 1
    phone.restart()
    assert phone.hear() == 0
    phone.now += timedelta(hours=1)
    assert [phone.hear("dog"), phone.hear("dog")] == [0, 0]
    phone.restart()
    assert phone.hear("dog") == 0
    phone.now += timedelta(hours=1)
    phone.restart()
    phone.sink.tick(0)
    assert phone.told[1:] == [("Quiet hours are over", "Dog at gate: 3")]
    phone.restart()
    phone.sink.tick(0)
    assert len(phone.told) == 2


def test_what_was_counted_before_a_kill_is_not_counted_again(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, tmp_path: Path
):
    """The sink's own memory is as old as its counts; the cursor may be older."""
    phone = Phone(receiver, tmp_path, quiet_hours={"from": "12:00", "to": "13:00", "summary": True})
    engine.commit(n=3)
    reader = OutboxReader(outbox.path)
    stored = reader.read(0, 10)
    phone.now = NOON.replace(year=stored[0].event.decided_at.year - 1)
    assert phone.sink.resume(reader, 0) == 0
    assert phone.sink.publish(stored) == 3
    phone.restart()
    assert phone.sink.resume(reader, 0) == 3
    assert phone.sink.resume(reader, 7) == 7
    reader.close()
    engine.replace()
    reader = OutboxReader(outbox.path)
    assert phone.sink.resume(reader, 0) == 0
    reader.close()


def test_a_memory_that_is_none_stops_nobody(receiver: Receiver, tmp_path: Path):
    (tmp_path / "memory").write_text("{")
    phone = Phone(receiver, tmp_path, cooldown_s=60)
    assert [phone.hear(), phone.hear()] == [1, 0]
    assert phone.memory.stat().st_mode & 0o777 == 0o600
    phone.memory.unlink()
    phone.memory.mkdir()
    with capture_logs() as logs:
        assert phone.hear("dog") == 1
    assert [log["event"] for log in logs] == ["what a notification must remember was not written"]


def test_a_summary_that_cannot_be_told_is_given_up_in_the_end(receiver: Receiver, tmp_path: Path):
    phone = Phone(receiver, tmp_path, quiet_hours={"from": "12:00", "to": "13:00", "summary": True}, max_age_s=300)
    phone.hear("dog")
    receiver.decide = lambda request: answer(500)
    phone.now += timedelta(hours=1)
    for _ in range(2):
        with pytest.raises(SinkError):
            phone.sink.tick(0)
    phone.now += timedelta(seconds=301)
    phone.sink.tick(0)
    receiver.decide = lambda request: answer(200)
    phone.sink.tick(0)
    assert phone.told == []


@pytest.mark.parametrize(
    ("begin", "end", "hours"),
    [("22:00", "07:00", {22, 23, 0, 1, 2, 3, 4, 5, 6}), ("12:00", "14:00", {12, 13}), ("00:00", "02:00", {0, 1})],
)
def test_quiet_hours_over_midnight_or_not(begin: str, end: str, hours: set[int]):
    quiet = QuietHours(**{"from": begin}, to=end)
    assert {hour for hour in range(24) if quiet.hold_back(NOON.replace(hour=hour, minute=0, second=0))} == hours


@pytest.mark.parametrize(
    ("begin", "end", "first_min", "last_min"),
    [
        ("02:30", "07:00", 30, 360),  # from the first half past two on
        ("22:00", "02:30", 0, 90),  # to the second one
        ("02:10", "02:50", 10, 110),  # from the first to the second
        ("02:30", "01:00", 30, 480),
    ],
)
def test_quiet_hours_last_through_both_hours_when_clocks_go_back(begin: str, end: str, first_min: int, last_min: int):
    """Berlin has 02:00 to 03:00 twice: from 00:00 to 01:00 UTC, and from 01:00 to 02:00 UTC."""
    quiet, zone = QuietHours(**{"from": begin}, to=end), ZoneInfo("Europe/Berlin")
    midnight = datetime(2026, 10, 25, tzinfo=UTC)
    found = [m for m in range(0, 480, 10) if quiet.hold_back((midnight + timedelta(minutes=m)).astimezone(zone))]
    assert found == list(range(first_min, last_min, 10))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"from": 1320, "to": "07:00"}, "expected a time of day in quotes"),
        ({"from": "24:00", "to": "07:00"}, "expected a time of day in quotes"),
        ({"from": "7:00", "to": "07:00"}, "expected a time of day in quotes"),
        ({"from": "07:00", "to": "07:00"}, "expected two times"),
        ({"from": "22:00", "to": "07:00", "timezone": "Europe/Berlim"}, "did you mean Europe/Berlin"),
        ({"from": "22:00", "to": "07:00", "timezone": "../etc/passwd"}, "expected a time zone"),
    ],
)
def test_quiet_hours_that_are_none(options: dict[str, object], complaint: str):
    with pytest.raises(ValidationError, match=complaint):
        QuietHours.model_validate(options)


def test_quiet_hours_are_printed_as_they_are_written():
    written = {"from": "22:00", "to": "07:00"}
    config = NotifyConfig.model_validate({"urls": ["json://x"], "quiet_hours": written})
    assert config.model_dump(mode="json", exclude_defaults=True)["quiet_hours"] == written


@pytest.mark.parametrize("options", [{}, {"urls": []}, {"urls": ["json://x"], "urls_file": "f"}])
def test_somebody_must_be_told(options: dict[str, object]):
    with pytest.raises(ValidationError, match="expected one of urls and urls_file"):
        NotifyConfig.model_validate(options)


@pytest.mark.parametrize("url", ["nothing://URLSECRET", "URLSECRET", "json://a, json://b", ""])
def test_an_address_that_apprise_does_not_know_is_not_quoted(url: str, caplog: pytest.LogCaptureFixture):
    config = NotifyConfig.model_validate({"urls": ["json://localhost", url]})
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError, match=r"phone\.urls\[1\]: expected") as caught:
        open_notifications("phone", config, OutboxConfig())
    assert "URLSECRET" not in str(caught.value) + caplog.text + repr(config)


def test_addresses_in_a_file(tmp_path: Path):
    path = tmp_path / "urls"
    path.write_text("# mine\njson://localhost/a\n\n  json://localhost/b  \n")
    sinks = open_notifications("phone", NotifyConfig(urls_file=path), OutboxConfig(path=tmp_path / "o.db"))
    assert [sink.name for sink in sinks] == ["notify.phone.1", "notify.phone.2"]
    path.write_text("# none\n")
    with pytest.raises(ConfigError, match=r"phone\.urls_file: expected an address on each line"):
        open_notifications("phone", NotifyConfig(urls_file=path), OutboxConfig(path=tmp_path / "o.db"))
    with pytest.raises(ConfigError, match="No such file"):
        open_notifications("phone", NotifyConfig(urls_file=tmp_path / "none"), OutboxConfig())


def test_tried_again_until_it_is_taken(
    engine: Engine, outbox: OutboxConfig, receiver: Receiver, caplog: pytest.LogCaptureFixture
):
    answers = iter([answer(500), answer(503)])
    receiver.decide = lambda request: next(answers, answer(200))
    url = f"json://127.0.0.1:{receiver.port}/URLSECRET"
    (sink,) = open_notifications("phone", NotifyConfig.model_validate({"urls": [url], "body": "{stream}"}), outbox)
    worker = Worker(sink, outbox)
    engine.commit(("gate", "dog"), ("yard", "dog"))
    with caplog.at_level(logging.WARNING):  # as the service logs what libraries say
        worker.start()
        wait_for(lambda: len(receiver.taken) == 2)
        worker.stop()
        assert worker.join(DEADLINE_S)
    assert worker.error is None
    assert [request.json["message"] for request in receiver.requests] == ["gate", "gate", "gate", "yard"]
    assert "URLSECRET" not in caplog.text


def test_what_fails_until_it_is_old_is_let_go(engine: Engine, outbox: OutboxConfig, receiver: Receiver, tmp_path: Path):
    engine.commit(("gate", "dog"), ("yard", "dog"))
    reader = OutboxReader(outbox.path)
    stored = reader.read(0, 10)
    reader.close()
    phone = Phone(receiver, tmp_path, max_age_s=300, body="{stream}")
    phone.now = stored[0].event.decided_at
    receiver.decide = lambda request: answer(500)
    with pytest.raises(SinkError, match="did not take it"):
        phone.sink.publish(stored)
    phone.now += timedelta(seconds=301)
    with Watch("too_old") as watch:
        assert phone.sink.publish(stored) == 2
    assert (watch.count, len(receiver.requests)) == (2, 1)


def test_a_service_that_is_down_holds_no_other_up(engine: Engine, outbox: OutboxConfig, receiver: Receiver):
    def decide(request: Request) -> Answer:
        return answer(500 if request.path == "/down" else 200)

    receiver.decide = decide
    urls = [f"json://127.0.0.1:{receiver.port}/{name}" for name in ("down", "up")]
    service = Service(outbox)
    service.config = PublishersConfig.model_validate(
        {**service.config.model_dump(), "notifications": {"phone": {"urls": urls}}}
    )
    service.start()
    try:
        engine.commit(n=3)
        wait_for(lambda: len(receiver.taken) == 3)
    finally:
        service.stop()
    assert {request.path for request in receiver.taken} == {"/up"}
