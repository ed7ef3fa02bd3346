"""What is kept of a stretch of a stream: scores, and the sound unless something forbids it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import Pcm
from publishers.clips.files import Clip, EventScores, NoClip
from publishers.clips.memory import Excerpt
from publishers.http.about import About

LOUDEST = 3
"""Labels whose scores are kept beside the event's own."""
MARGIN_S = 1.0
"""A forbidden label may not be heard so long before and after a clip either: a score comes later than its sound."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of one event; ``pcm`` is what ``scores.clip`` tells of."""

    scores: EventScores
    pcm: Pcm | None


class Cutter:
    """Cuts what is kept of events.

    Args:
        about: The model's labels and thresholds, and which streams allow clips.
        forbid_labels: Labels, or groups of them, that no clip may hold.
    """

    def __init__(self, about: About, forbid_labels: Sequence[str]) -> None:
        spec = about.spec
        self._about = about
        self._labels = spec.labels if spec else ()
        self._delay = spec.delay_frames if spec else 0
        groups = spec.groups if spec else {}
        forbidden = {label for name in forbid_labels for label in groups.get(name, (name,))}
        self._forbidden = [label for label in self._labels if label in forbidden]
        self._checks = bool(forbid_labels)
        self._can_check = forbidden.issubset(self._labels)
        delay_s = self._delay * spec.output_hop / spec.sample_rate_hz if spec else 0.0
        self.margin_s = delay_s + (MARGIN_S if self._checks else 0.0)
        """How much beyond a stretch `cut` wants to see on either side."""

    def cut(self, event: SoundEvent, first: int, end: int, around: Excerpt) -> Kept | None:
        """What is kept of an event.

        Args:
            event: The event.
            first: First sample that is wanted.
            end: The sample after the last one.
            around: What is known from `margin_s` before to `margin_s` after.

        Returns:
            None where nothing is known of the stretch, or of the model that scored it.
        """
        if event.model != self._about.model:
            return None
        begin = first // around.hop - around.first_frame
        n_frames = -(-end // around.hop) - first // around.hop
        scores = around.scores[begin + self._delay : begin + self._delay + n_frames]
        known = np.flatnonzero(~np.isnan(scores[:, 0]))
        if not len(known):
            return None
        scores = scores[: known[-1] + 1]
        clip, pcm, no_clip = self._cut_clip(event, first, end, around)
        return Kept(
            self._tell(event, first // around.hop * around.hop, scores, around.hop, clip=clip, no_clip=no_clip), pcm
        )

    # The sound.

    def _cut_clip(
        self, event: SoundEvent, first: int, end: int, around: Excerpt
    ) -> tuple[Clip | None, Pcm | None, NoClip | None]:
        if event.stream not in self._about.clips:
            return None, None, "not_allowed"
        if self._checks:
            end = min(end, self._checked_end(event, around))
            if end <= event.onset_sample:
                return None, None, "unscored"
            if refusal := self._refuse(event.stream, around, first, end):
                return None, None, refusal
        begin = around.first_frame * around.hop
        is_heard = np.repeat(around.is_heard, around.hop)[first - begin : max(0, end - begin)]
        if not is_heard[event.onset_sample - first :].any():
            return None, None, "gone"
        heard = np.flatnonzero(is_heard)
        skipped, n_samples = int(heard[0]), int(heard[-1] - heard[0]) + 1
        pcm = around.pcm.reshape(-1)[first - begin + skipped :][:n_samples]
        clip = Clip(first_sample=first + skipped, n_samples=n_samples, missing_samples=n_samples - len(heard))
        return clip, pcm, None

    def _checked_end(self, event: SoundEvent, around: Excerpt) -> int:
        """The sample through which enough scores came behind to know that nothing forbidden is heard.

        The stream's end, a gap and what the monitor lost are alike: what is behind says nothing of what was before.
        """
        onset = event.onset_sample // around.hop - around.first_frame
        unscored = np.flatnonzero(np.isnan(around.scores[onset:, 0]))
        n_scored = onset + int(unscored[0]) if len(unscored) else len(around.scores)
        return (around.first_frame + n_scored) * around.hop - round(self.margin_s * event.sample_rate_hz)

    def _refuse(self, stream: str, around: Excerpt, first: int, end: int) -> NoClip | None:
        """Why the sound between two samples is not kept, where its scores are the reason."""
        if not self._can_check:
            return "unscored"
        smoothing = {**self._about.smoothing(), **self._about.smoothing(stream)}
        for label in self._forbidden:
            # From there on an event of it would go on.
            if (around.scores[:, self._labels.index(label)] >= smoothing[label].offset_threshold).any():
                return "forbidden"
        frames = slice(first // around.hop - around.first_frame, -(-end // around.hop) - around.first_frame)
        is_unscored = np.isnan(around.scores[frames, 0])
        return "unscored" if (around.is_heard[frames] & is_unscored).any() else None

    # The scores.

    def _tell(
        self,
        event: SoundEvent,
        first_sample: int,
        scores: NDArray[np.float32],
        hop: int,
        *,
        clip: Clip | None,
        no_clip: NoClip | None,
    ) -> EventScores:
        chosen = self._choose(event.label, np.nanmax(scores, axis=0))
        before_s = (first_sample - event.onset_sample) / event.sample_rate_hz
        return EventScores(
            event_id=event.event_id,
            stream=event.stream,
            epoch=event.epoch,
            first_sample=first_sample,
            first_time=event.onset_time + timedelta(seconds=before_s),
            hop=hop,
            sample_rate_hz=event.sample_rate_hz,
            labels=tuple(self._labels[label] for label in chosen),
            scores=tuple(tuple(map(_rounded, scores[:, label].tolist())) for label in chosen),
            clip=clip,
            no_clip=no_clip,
        )

    def _choose(self, label: str, peaks: NDArray[np.float32]) -> list[int]:
        own = [self._labels.index(label)] if label in self._labels else []
        loudest = [index for index in np.argsort(-peaks).tolist() if index not in own]
        return own + loudest[:LOUDEST]


def _rounded(score: float) -> float | None:
    return None if np.isnan(score) else round(score, 3)
