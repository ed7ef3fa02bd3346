"""Streams that hear something, for tests of zones."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from earmark.contracts.clock import samples_to_ns
from earmark.contracts.events import SoundEvent, event_id
from earmark.outbox import Outbox, OutboxReader, StreamCommit
from tests.support.events import make_event

START = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = {"yard": ("barn", "gate", "shed")}
EPOCHS = {"barn": 1, "gate": 2, "shed": 3, "cellar": 4}
RATE_HZ = 16_000


def at(time_s: float) -> datetime:
    return START + timedelta(seconds=time_s)


def begins(stream: str, begin_s: float, label: str = "dog", **fields: object) -> SoundEvent:
    """An onset of a stream whose first sample was heard at `START`."""
    sample, epoch = round(begin_s * RATE_HZ), EPOCHS[stream]
    identity = {"event_id": event_id(stream, epoch, label, sample), "epoch": f"{epoch:016x}"}
    times = {"onset_time": START + timedelta(microseconds=samples_to_ns(sample, RATE_HZ) // 1000)}
    return make_event(sample, stream, label).model_copy(update={**identity, **times, **fields})


def ends(onset: SoundEvent, end_s: float, **fields: object) -> SoundEvent:
    n_samples = round(end_s * RATE_HZ) - onset.onset_sample
    length = timedelta(microseconds=samples_to_ns(n_samples, RATE_HZ) // 1000)
    extent = {"offset_sample": onset.onset_sample + n_samples, "offset_time": onset.onset_time + length}
    return onset.model_copy(update={"phase": "offset", **extent, **fields})


def sound(stream: str, begin_s: float, end_s: float, label: str = "dog", **fields: object) -> list[SoundEvent]:
    """Both phases."""
    onset = begins(stream, begin_s, label)
    return [onset, ends(onset, end_s, **fields)]


def hear(outbox: Outbox, *events: SoundEvent) -> None:
    """Commit each stream's events, all in one transaction."""
    streams = sorted({event.stream for event in events})
    commits = [
        StreamCommit(stream, outbox.load(stream).revision, None, [event for event in events if event.stream == stream])
        for stream in streams
    ]
    assert outbox.commit(commits) == set()


def told(outbox: Outbox, stream: str = "yard") -> list[SoundEvent]:
    """What the outbox holds of a stream or a zone."""
    reader = OutboxReader(outbox.path)
    try:
        return [stored.event for stored in reader.read(0, 10_000, streams=[stream])]
    finally:
        reader.close()


def check_in_turn(events: list[SoundEvent]) -> list[SoundEvent]:
    """The offsets of events of one zone and label, which must follow their onsets one by one, none twice."""
    onsets, offsets = events[::2], events[1::2]
    assert [event.phase for event in events] == ["onset", "offset"] * len(offsets)
    assert [event.event_id for event in onsets] == [event.event_id for event in offsets]
    assert len({event.event_id for event in onsets}) == len(onsets)
    for onset, offset in zip(onsets, offsets, strict=True):
        assert set(onset.heard_by) <= set(offset.heard_by)
        assert onset.heard_by[0] == onset_owner(onset)
        assert (onset.onset_sample, onset.onset_time) == (offset.onset_sample, offset.onset_time)
    return offsets


def onset_owner(onset: SoundEvent) -> str:
    """Whose epoch a zone's onset has."""
    return next(stream for stream, epoch in EPOCHS.items() if f"{epoch:016x}" == onset.epoch)


def interleave(queues: Iterable[list[SoundEvent]], chance: random.Random) -> Iterator[list[SoundEvent]]:
    """One to three events of one stream at a time, each stream's in order."""
    left = [list(queue) for queue in queues if queue]
    while left:
        queue = chance.choice(left)
        yield [queue.pop(0) for _ in range(min(len(queue), chance.randint(1, 3)))]
        left = [queue for queue in left if queue]


def script(n_sounds: int = 150) -> Iterator[tuple[str, int, list[SoundEvent]]]:
    """What three streams commit, and which commit of theirs it is: each hears every sound, a little apart."""
    chance = random.Random(1)  # noqa: S311 -- no secret
    numbers = dict.fromkeys(ZONES["yard"], 0)
    for n in range(n_sounds):
        heard = [sound(stream, 10 * n + chance.random() / 2, 10 * n + 2 + chance.random()) for stream in numbers]
        for events in interleave(heard, chance):
            stream = events[0].stream
            yield stream, numbers[stream], events
            numbers[stream] += 1
