"""Answers of a history, as a subscriber gets them."""

from pydantic import ValidationError

from earmark.client import _parse_answer
from earmark.contracts.errors import WireError
from earmark.contracts.events import SoundEvent
from tests.support.events import make_event

_EVENTS = ",".join(make_event(number).model_copy(update={"seq": number}).model_dump_json() for number in (1, 2))
SEEDS = [
    b'{"outbox":"a","newest":2,"oldest":1,"covered":2,"events":[]}',
    f'{{"outbox":"a","newest":2,"oldest":1,"covered":2,"events":[{_EVENTS}]}}'.encode(),
]


def check(data: bytes) -> None:
    try:
        answer = _parse_answer(data)
    except WireError as error:
        assert error.reason == "version"
        return
    assert answer.newest >= 0
    assert answer.covered >= 0
    for stored in answer.events:
        try:
            event = SoundEvent.model_validate(stored, extra="ignore")
        except ValidationError:
            continue  # a subscriber goes over it
        assert SoundEvent.model_validate_json(event.model_dump_json()) == event
