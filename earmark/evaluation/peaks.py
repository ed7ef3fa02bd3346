"""The highest score of each class in each file, and whether it was right: what calibration is judged and fitted by.

Real recordings have no times, so a frame's score cannot be right or wrong there. A file's peak can: it is what an
event's ``score_peak`` would be, and the class is in the file or is not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.evaluation.annotations import Annotations
from earmark.evaluation.calibration import Reliability
from earmark.evaluation.real import RealRecording, judged_labels
from earmark.evaluation.scoring import ScoredFiles
from engine.runtimes import Scores


@dataclass(frozen=True, eq=False)
class Peaks:
    """N files, C classes.

    Attributes:
        scores: The highest median of 3 frames, float32 ``[N, C]``.
        is_true: Whether the class is in the file, bool ``[N, C]``.
        is_known: Whether that is known, bool ``[N, C]``.
    """

    scores: NDArray[np.float32]
    is_true: NDArray[np.bool_]
    is_known: NDArray[np.bool_]

    @classmethod
    def of_scenes(cls, scenes: Annotations, scored: ScoredFiles, ignored: Annotations | None = None) -> "Peaks":
        """Of scenes, of which everything is known but the classes that have nothing except ``ignored`` extents."""
        is_true = _present(scenes, scenes, scored.labels)
        is_ignored = _present(scenes, ignored or {}, scored.labels)
        return cls(_peaks(scenes, scored), is_true, is_true | ~is_ignored)

    @classmethod
    def of_recordings(cls, recordings: Sequence[RealRecording], scored: ScoredFiles) -> "Peaks":
        """Of real recordings: what is allowed may be there or not, and what the list cannot judge is unknown."""
        labels, judged = scored.labels, judged_labels(recordings)
        is_true = np.array([[label == one.expected for label in labels] for one in recordings], np.bool_)
        is_absent = [[label in judged and not one.permits(label) for label in labels] for one in recordings]
        is_true = is_true.reshape(-1, len(labels))
        scores = _peaks((one.file for one in recordings), scored)
        return cls(scores, is_true, is_true | np.array(is_absent, np.bool_).reshape(is_true.shape))

    @property
    def reliability(self) -> Reliability:
        """How often peaks were right."""
        return Reliability.empty().add(self.scores[self.is_known], self.is_true[self.is_known])


def _present(names: Iterable[str], annotations: Annotations, labels: Sequence[str]) -> NDArray[np.bool_]:
    """Which classes each file has an extent of, bool ``[N, C]``."""
    named = [{event.label for event in annotations.get(name, ())} for name in names]
    present = np.array([[label in of_file for label in labels] for of_file in named], np.bool_)
    return present.reshape(-1, len(labels))


def _peaks(names: Iterable[str], scored: ScoredFiles) -> NDArray[np.float32]:
    peaks = [_peak(scored.scores[name]) for name in names]
    return np.array(peaks, np.float32).reshape(-1, len(scored.labels))


def _peak(scores: Scores) -> NDArray[np.float32]:
    """The highest median of 3 frames of each class, ``[C]``; of the frames themselves where there are fewer."""
    if len(scores) < 3:
        return scores.max(axis=0, initial=0.0)
    first, second, third = scores[:-2], scores[1:-1], scores[2:]
    lower, upper = np.minimum(first, second), np.maximum(first, second)
    return np.maximum(lower, np.minimum(upper, third)).max(axis=0)
