"""Which events a sink takes."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader
from earmark.outbox.config import OutboxConfig
from publishers.config import PublishersConfig
from publishers.filters import EventFilter, duration_of
from publishers.notify.config import OnsetFilter
from tests.publishers.publishing import Engine
from tests.support.events import make_event


def event(**changes: object) -> SoundEvent:
    return make_event(1, "gate", "dog").model_copy(update=changes)


def offset(duration_s: float) -> SoundEvent:
    start = event()
    n_samples = int(duration_s * start.sample_rate_hz)
    return event(
        phase="offset",
        offset_sample=start.onset_sample + n_samples,
        offset_time=start.onset_time + timedelta(seconds=duration_s),
    )


@pytest.mark.parametrize(
    ("wanted", "fits", "does_not"),
    [
        ({"streams": ["gate"]}, event(), event(stream="yard")),
        ({"labels": ["dog", "siren"]}, event(label="siren"), event(label="cat")),
        ({"phases": ["offset"]}, offset(1), event()),
        ({"min_score_peak": 0.7}, event(score_peak=0.7), event(score_peak=0.699)),
        ({"min_level_db": -30}, event(level_db=-30.0), event(level_db=-30.1)),
        ({"min_level_db": -300}, event(), event(level_db=None)),
        ({"min_duration_s": 2}, offset(2), offset(1.99)),
        ({"min_duration_s": 2}, offset(3), event()),
        ({"streams": ["gate"], "labels": ["dog"]}, event(), event(label="cat")),
    ],
)
def test_each_condition_counts(wanted: dict[str, object], fits: SoundEvent, does_not: SoundEvent):
    chosen = EventFilter.model_validate(wanted)
    assert (chosen.takes(fits), chosen.takes(does_not)) == (True, False)
    assert EventFilter().takes(does_not), "without conditions everything is taken"


def test_reading_from_the_outbox_agrees(engine: Engine, outbox: OutboxConfig):
    engine.commit(("gate", "dog"), ("gate", "cat"), ("yard", "dog"))
    reader = OutboxReader(outbox.path)
    chosen = EventFilter(streams=("gate",), labels=("dog",))
    stored = reader.read(0, 10)
    reader.close()
    assert [chosen.read(item) for item in stored] == [stored[0].event, None, None]
    assert [chosen.takes(item.event) for item in stored] == [True, False, False]


def test_people_are_told_onsets_unless_they_want_more():
    assert OnsetFilter().phases == ("onset",)
    assert OnsetFilter(labels=("dog",)).phases == ("onset",)
    assert EventFilter(labels=("dog",)).phases == ("onset", "offset")


@pytest.mark.parametrize("kind", [EventFilter, OnsetFilter])
def test_what_could_never_be_taken_is_refused(kind: type[EventFilter]):
    with pytest.raises(ValidationError, match="expected offset among phases"):
        kind(phases=("onset",), min_duration_s=1)
    with pytest.raises(ValidationError, match="phases"):
        kind(phases=())


def test_durations_are_exact():
    assert duration_of(event()) is None
    assert duration_of(offset(3600)) == 3600.0


def test_names_of_sinks_are_checked():
    with pytest.raises(ValidationError, match="a sink's name is 1 to 32"):
        PublishersConfig.model_validate({"webhooks": {"My hook": {"url": "http://localhost"}}})
