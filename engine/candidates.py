"""Onsets that wait for the judge, and events that it is asked about again: what is known of each, and the rules.

Everything here is a function of the audio: a question lies at a sample, and its answer depends on the window that ends
there. So candidates can be written into a checkpoint at any sample, and read back.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from earmark.contracts.clock import NS
from earmark.contracts.errors import OutboxError
from engine.smoothing import Transition, close_all

FORMAT: Literal[4] = 4
"""Of the line that candidates add before a smoother's state. Releases without judges refuse such a checkpoint."""


class Heard(BaseModel):
    """How loud and how sure a sound was so far, as in `engine.smoothing.Transition`."""

    model_config = ConfigDict(extra="forbid")

    score_peak: float
    score_mean: float
    power: float

    @classmethod
    def of(cls, told: Transition) -> "Heard":
        """What a transition says of it."""
        return cls(score_peak=told.score_peak, score_mean=told.score_mean, power=told.power)


class Candidate(BaseModel):
    """One sound of one label that the smoother has decided on.

    Attributes:
        label: Its label, or a group.
        onset: Where it began; of a sound whose event the judge has ended, where that ended.
        onset_ns: UTC of that sample, nanoseconds since 1970.
        ask_at: Where the window of the next question ends.
        confirmed_at: Where the judge agreed last: the event is published; None for one that is not.
        is_refused: Whether the judge has refused it, or ended its event.
        offset: Where the sound ended before the judge was asked; None for one that lasts.
        heard: Of its extent, where ``offset`` is known; of what came up to ``confirmed_at``, where that is.
    """

    model_config = ConfigDict(extra="forbid")

    label: str
    onset: int
    onset_ns: int
    ask_at: int
    confirmed_at: int | None = None
    is_refused: bool = False
    offset: int | None = None
    heard: Heard | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether its onset is published, and its offset not."""
        return self.confirmed_at is not None

    @property
    def is_unasked(self) -> bool:
        """Whether the judge has not heard of it."""
        return not self.is_confirmed and not self.is_refused

    def move_onset(self, onset: int, sample_rate_hz: int) -> None:
        """Let it begin at ``onset``, where that is later."""
        later = max(0, onset - self.onset)
        self.onset += later
        self.onset_ns += later * NS // sample_rate_hz

    def confirm(self, slot: int, at: int, heard: Heard | None, *, again: int) -> list[Transition]:
        """The judge agrees with it at sample ``at``, up to which ``heard`` says what it was.

        Returns:
            Its onset, where that was not published; its offset too, where it has ended.
        """
        is_news = not self.is_confirmed
        self.heard, self.confirmed_at, self.ask_at = heard, at, at + again
        told = [self._told(slot, None, at)] if is_news else []
        return told if self.offset is None else [*told, self._told(slot, self.offset, at)]

    def refuse(self, slot: int, at: int, *, again: int, sample_rate_hz: int) -> list[Transition]:
        """The judge does not agree with it at sample ``at``.

        Returns:
            Its offset, where its event was published: at the sample at which the judge agreed last.
        """
        told: list[Transition] = []
        if self.confirmed_at is not None:
            told = [self._told(slot, self.confirmed_at, at)]
            self.move_onset(self.confirmed_at, sample_rate_hz)
        self.confirmed_at, self.heard, self.is_refused, self.ask_at = None, None, True, at + again
        return told

    def end(self, told: Transition) -> None:
        """The sound ended before the judge was asked about it."""
        self.offset, self.heard = told.offset, Heard.of(told)

    def _told(self, slot: int, offset: int | None, decided: int) -> Transition:
        if self.heard is None:
            raise LookupError(f"candidate {self.label!r} at {self.onset} was published with nothing heard of it")
        extent = {"onset": self.onset, "onset_ns": self.onset_ns, "offset": offset}
        return Transition(slot=slot, label=self.label, decided=decided, **extent, **self.heard.model_dump())


class _Line(BaseModel):
    """The first line of a checkpoint with candidates."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[4]
    candidates: list[Candidate]


def with_candidates(candidates: list[Candidate], state: bytes) -> bytes:
    """A smoother's state with candidates before it; the same bytes without any."""
    if not candidates:
        return state
    return _Line(format=FORMAT, candidates=candidates).model_dump_json(exclude_defaults=True).encode() + b"\n" + state


def split_candidates(saved: bytes) -> tuple[list[Candidate], bytes]:
    """Undo `with_candidates`.

    Raises:
        OutboxError: The bytes are damaged.
    """
    first, _, state = saved.partition(b"\n")
    try:
        if json.loads(first).get("format") != FORMAT:
            return [], saved
        return _Line.model_validate_json(first).candidates, state
    except (AttributeError, ValueError, ValidationError) as error:
        raise OutboxError(f"expected a checkpoint, got {len(saved)} other bytes; delete the outbox") from error


def close_published(saved: bytes, slot: int, decided: int) -> list[Transition]:
    """As `engine.smoothing.close_all`, of the sounds whose onsets are published."""
    candidates, state = split_candidates(saved)
    return published_ends(close_all(state, slot, decided), candidates)


def published_ends(ends: Iterable[Transition], candidates: Iterable[Candidate]) -> list[Transition]:
    """The ends of sounds whose onsets are published, with the onsets that were."""
    lasting = {each.label: each for each in candidates if each.offset is None}
    return [
        published_end(told, candidate) if (candidate := lasting.get(told.label)) else told
        for told in ends
        if told.label not in lasting or lasting[told.label].is_confirmed
    ]


def published_end(told: Transition, candidate: Candidate) -> Transition:
    """The end of a confirmed sound, which may have been published with a later onset than the smoother's."""
    offset = max(told.offset or 0, candidate.onset)
    return replace(told, onset=candidate.onset, onset_ns=candidate.onset_ns, offset=offset)
