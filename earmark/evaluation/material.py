"""What smoothing is tuned on: mixed scenes, whose events have times, and real recordings, of which a list says less."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from earmark.evaluation.annotations import Annotations, LabelledEvent
from earmark.evaluation.counting import ClassTruth, Flags
from earmark.evaluation.events import count_events, within_collar
from earmark.evaluation.ignoring import drop_ignored
from earmark.evaluation.real import RealCounts, RealRecording, judged_labels, measure_real
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.simulation import Floats, Ints

N_FOLDS = 5
MUSIC = "music"
"""The kind of recordings in which wrong events have a budget of their own."""
_SCENE = "scene"


@dataclass(frozen=True, eq=False)
class Material:
    """Scored files, and what is true of them.

    Attributes:
        scored: Scores by the bundle; every file is either a scene or a real recording.
        scenes: The true events of each scene. Events of other labels than the bundle's are ignored.
        recordings: The real recordings; ``file`` is their name in ``scored``.
        ignored: Extents in scenes that count neither as found nor as missed; see `earmark.evaluation.ignoring`.
    """

    scored: ScoredFiles
    scenes: Annotations
    recordings: Sequence[RealRecording] = ()
    ignored: Annotations = field(default_factory=Annotations)

    @cached_property
    def watched(self) -> dict[str, RealRecording]:
        """Where wrong events are counted, by file: the real recordings; without any, the scenes."""
        if self.recordings:
            return {one.file: one for one in self.recordings}
        durations_s = self.scored.durations_s
        return {
            name: RealRecording(name, "", self._present(name), _SCENE, name, durations_s[name]) for name in self.scenes
        }

    def _present(self, name: str) -> frozenset[str]:
        """The classes that sound in a scene, ignored or not."""
        return frozenset(event.label for event in (*self.scenes[name], *self.ignored.get(name, ())))

    @cached_property
    def judged(self) -> frozenset[str]:
        """The classes that may be wrong."""
        return judged_labels(self.watched.values()) if self.recordings else frozenset(self.scored.labels)

    @property
    def fold(self) -> Ints:
        """The fold of each file, int64 ``[N]``; scenes and recordings are dealt out in turn."""
        is_scene = self.is_scene
        place = np.where(is_scene, np.cumsum(is_scene), np.cumsum(~is_scene)) - 1
        return place % N_FOLDS

    @property
    def is_scene(self) -> Flags:
        """Which files are scenes, bool ``[N]``."""
        return np.array([name in self.scenes for name in self.scored.scores], np.bool_)

    @property
    def is_music(self) -> Flags:
        """Which files are music, bool ``[N]``."""
        watched = self.watched
        return np.array([name in watched and watched[name].kind == MUSIC for name in self.scored.scores], np.bool_)

    def of_fold(self, fold: int) -> ScoredFiles:
        """The files of one fold."""
        names = [name for name, of in zip(self.scored.scores, self.fold, strict=True) if of == fold]
        scores, durations_s = self.scored.scores, self.scored.durations_s
        return replace(
            self.scored,
            scores={name: scores[name] for name in names},
            durations_s={name: durations_s[name] for name in names},
        )

    def truth_of(self, label: str) -> ClassTruth:
        """What is true of one class."""
        watched, names = self.watched, tuple(self.scored.scores)
        table = self._extents(self.scenes, label)
        is_judged = label in self.judged
        return ClassTruth(
            table[:, 0].astype(np.int64),
            table[:, 1],
            table[:, 2],
            np.array([name in watched and watched[name].expected == label for name in names], np.bool_),
            np.array([is_judged and name in watched and not watched[name].permits(label) for name in names], np.bool_),
            self._extents(self.ignored, label),
        )

    def _extents(self, annotations: Annotations, label: str) -> Floats:
        """File, onset and offset of every extent of a class, float64 ``[M, 3]``."""
        extents = [
            (place, event.onset_s, event.offset_s)
            for place, name in enumerate(self.scored.scores)
            for event in annotations.get(name, ())
            if event.label == label
        ]
        return np.array(extents, np.float64).reshape(-1, 3)

    def outcome(self, found: Mapping[str, Sequence[LabelledEvent]]) -> "Outcome":
        """Judge the events of all files."""
        labels, durations_s = self.scored.labels, self.scored.durations_s
        measures = measure_real(list(self.watched.values()), found, durations_s, labels)
        in_scenes = drop_ignored({name: found[name] for name in self.scenes}, self.scenes, self.ignored)
        tally = count_events(self.scenes, in_scenes, labels, within_collar())
        return Outcome(measures.total, measures.by_kind, tally.micro.f1)


@dataclass(frozen=True)
class Outcome:
    """What some smoothing does.

    Attributes:
        watched: In real recordings; without any, what is wrong in scenes.
        by_kind: The same for each kind of recording.
        event_f1: Of scenes' events, all classes together; NaN where there are none.
    """

    watched: RealCounts
    by_kind: dict[str, RealCounts]
    event_f1: float

    def figures(self) -> dict[str, float]:
        """For ``bundle.json``; without those that there is nothing to measure on for."""
        figures = {
            "found_share": self.watched.found_share,
            "wrong_per_hour": self.watched.wrong_per_hour,
            "wrong_share": self.watched.wrong_share,
            "music_wrong_share": self.music_wrong_share,
            "scene_event_f1": self.event_f1,
        }
        return {name: round(float(value), 4) for name, value in figures.items() if math.isfinite(value)}

    @property
    def music_wrong_share(self) -> float:
        """Share of the time of music in which something wrong is detected; NaN without music."""
        return self.by_kind.get(MUSIC, RealCounts()).wrong_share
