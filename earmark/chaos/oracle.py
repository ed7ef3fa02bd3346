"""What a service must have told, whatever happened to it: the events of an undisturbed run, every one, once.

A streamer of a file that dies takes its epoch with it. Of that epoch there must be the events of an undisturbed run of
the audio up to where the outbox says that it ended, and what was open there ends with ``interrupted``. The next epoch
hears the file from its begin.

Every sink has every event of the outbox, in its order, once. The samples of every epoch that ended by itself are
those of its scene; where no engine of a stream died, its metrics tell the same: analysed + lost + shed = sent.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from earmark.chaos.staging import Staging
from earmark.chaos.undisturbed import hear
from earmark.contracts.events import SoundEvent, event_id
from earmark.contracts.streams import format_epoch
from engine.analyser import Analyser
from engine.confirmation import open_confirmation
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.service import overridden

SCORE_TOLERANCE = 1e-3
LEVEL_TOLERANCE_DB = 0.11
_MOST_TOLD = 5


@dataclass(frozen=True)
class Epoch:
    """One run of a stream's source.

    Attributes:
        stream: Its stream.
        number: Its name.
        end: Where the outbox says that it is over; None where it never knew it.
        is_last: Whether no other came after it.
    """

    stream: str
    number: int
    end: int | None
    is_last: bool


class Reference:
    """Undisturbed runs of a staging's scenes, up to any sample. Any thread may ask."""

    def __init__(self, staging: Staging) -> None:
        self.sounds = staging.sounds
        bundle = staging.service.bundle
        self._analyser = Analyser(
            OnnxRuntime(bundle),
            checkpoint_s=1e6,
            smoothing=overridden(bundle, staging.config.overrides),
            confirmation=open_confirmation(bundle, staging.config.engine.confirm),
        )
        self._cached = lru_cache(maxsize=1024)(self._run)
        self._lock = threading.Lock()

    def events(self, epoch: Epoch, *, ends: bool) -> list[SoundEvent]:
        """What must have been told of an epoch.

        Args:
            epoch: With an end.
            ends: Whether its source ended there; it was interrupted otherwise.
        """
        with self._lock:
            return self._cached(epoch.stream, epoch.number, epoch.end or 0, ends)

    def _run(self, stream: str, number: int, end: int, ends: bool) -> list[SoundEvent]:  # noqa: FBT001 -- a cache's key
        return hear(self._analyser, stream, number, self.sounds[stream][:end], ends=ends)


def epoch_differences(reference: Reference, epoch: Epoch, told: Sequence[SoundEvent]) -> list[str]:
    """What an epoch's events lack, and have too much."""
    where, length = f"{epoch.stream}, epoch {format_epoch(epoch.number)}", len(reference.sounds[epoch.stream])
    if epoch.end is None:
        return [f"{where}: {len(told)} events of an epoch that the outbox does not know"] if told else []
    if epoch.is_last and epoch.end != length:
        return [f"{where}: ended at sample {epoch.end} of {length}"]
    endings = (True,) if epoch.is_last else (True, False) if epoch.end == length else (False,)
    found = [_compare(reference.events(epoch, ends=ends), told) for ends in endings]
    return [f"{where}: {difference}" for difference in min(found, key=len)]


def _compare(expected: Sequence[SoundEvent], told: Sequence[SoundEvent]) -> list[str]:
    wanted, got = {_key(event): event for event in expected}, {_key(event): event for event in told}
    differences = [f"missing {describe(wanted[key])}" for key in wanted.keys() - got.keys()]
    differences += [f"not expected {describe(got[key])}" for key in got.keys() - wanted.keys()]
    for key in wanted.keys() & got.keys():
        differences += _unlike(wanted[key], got[key])
    return differences[:_MOST_TOLD]


def _key(event: SoundEvent) -> tuple[object, ...]:
    return event.label, event.phase, event.onset_sample, event.offset_sample, event.reason


def _unlike(expected: SoundEvent, told: SoundEvent) -> list[str]:
    differences = [
        f"{describe(told)}: {name} {getattr(told, name)}, not {getattr(expected, name)}"
        for name in ("score_peak", "score_mean")
        if abs(getattr(expected, name) - getattr(told, name)) > SCORE_TOLERANCE
    ]
    levels = expected.level_db, told.level_db
    if (None in levels and levels[0] != levels[1]) or (
        levels[0] is not None and levels[1] is not None and abs(levels[0] - levels[1]) > LEVEL_TOLERANCE_DB
    ):
        differences.append(f"{describe(told)}: level_db {levels[1]}, not {levels[0]}")
    if told.event_id != event_id(told.stream, int(told.epoch, 16), told.label, told.onset_sample):
        differences.append(f"{describe(told)}: another event's id")
    return differences


def describe(event: SoundEvent) -> str:
    """An event in a few words."""
    reason = f" ({event.reason})" if event.reason else ""
    until = "" if event.offset_sample is None else f" to {event.offset_sample}"
    return f"{event.phase} of {event.label} at {event.onset_sample}{until}{reason}"


def sink_differences(name: str, expected: Sequence[SoundEvent], got: Sequence[SoundEvent]) -> list[str]:
    """What a sink lacks of the outbox, and what it has twice or in another order."""
    ids = Counter((event.event_id, event.phase) for event in got)
    differences = [f"{name}: {n} times {key}" for key, n in ids.items() if n > 1]
    stored = {event.seq: event for event in expected}
    heard = {event.seq: event for event in got}
    differences += [f"{name}: lacks seq {seq}, {describe(stored[seq])}" for seq in stored.keys() - heard.keys()]
    differences += [f"{name}: has seq {seq}, which the outbox lacks" for seq in heard.keys() - stored.keys()]
    differences += [
        f"{name}: seq {seq} is another event" for seq in stored.keys() & heard.keys() if stored[seq] != heard[seq]
    ]
    if not differences and [event.seq for event in got] != sorted(heard):
        differences.append(f"{name}: not in order")
    return differences[:_MOST_TOLD]


def count_differences(what: str, sent: int, counted: Mapping[str, float]) -> list[str]:
    """Whether what was sent is what became of it."""
    if sum(counted.values()) == sent:
        return []
    parts = " + ".join(f"{name} {value:.0f}" for name, value in counted.items())
    return [f"{what}: sent {sent}, but {parts} = {sum(counted.values()):.0f}"]
