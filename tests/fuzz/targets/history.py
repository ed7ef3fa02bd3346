"""Requests at the history socket, answered from an outbox that retention has shortened."""

import contextlib
import json
import tempfile
from pathlib import Path

from pydantic import ValidationError

from earmark.outbox import Outbox, OutboxReader, StreamCommit
from publishers.history import HistoryRequest, answer_request
from tests.support.events import make_event

_N = 20
SEEDS = [
    b"{}",
    b'{"since": 3, "limit": 4}',
    b'{"since": 0, "streams": ["gate"], "labels": ["dog", "siren"], "through": 9}',
    b'{"since": null, "through": 9223372036854775807}',
]


def _make() -> OutboxReader:
    path = Path(tempfile.mkdtemp(prefix="earmark-fuzz-")) / "outbox.db"
    with contextlib.closing(Outbox(path)) as outbox:
        for number in range(_N):
            event = make_event(number, stream=("gate", "yard")[number % 2])
            outbox.commit([StreamCommit(event.stream, number // 2, None, [event])])
    return OutboxReader(path)


_reader = _make()


def check(data: bytes) -> None:
    try:
        request = HistoryRequest.model_validate_json(data)
    except ValidationError:
        return
    answer = json.loads(answer_request(_reader, request))
    events = answer["events"]
    assert len(events) <= request.limit
    assert (answer["newest"], answer["oldest"]) == (_N, 1)
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert all(request.since < event["seq"] <= answer["covered"] for event in events)
    assert all(not request.streams or event["stream"] in request.streams for event in events)
    assert all(not request.labels or event["label"] in request.labels for event in events)
