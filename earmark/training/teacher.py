"""The teacher: `Mn04`, which has heard AudioSet, hears our scenes and every file of unknown content.

Its local features and logits say much more about a sound than the name of its class, and they are there for sounds that
nobody labelled, too. Mapped to our classes they say what else may sound in a recording. Nothing of it ships: the head
that learns to predict it is dropped at export.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from earmark.evaluation.audioset import AudioSetMap, read_names
from earmark.training.mn04 import COLUMN_S, Mn04

COLUMN = round(16_000 * COLUMN_S)
"""Samples at 16 kHz from one column to the next."""
_CLASS_LIST = "class_labels_indices.csv"
_LEAST_LOGIT = -9.0
"""Less is as good as nothing: how sure the teacher is that there are no bagpipes teaches little."""


@dataclass(frozen=True)
class Taught:
    """What the teacher makes of a scene, a row for each column; its centre lies at ``i * COLUMN`` samples.

    Attributes:
        targets: Local features and logits, float32 ``[W, D]``.
        scores: Of our classes, float32 ``[W, C]`` in [0, 1]; 0 for those that AudioSet lacks.
    """

    targets: NDArray[np.float32]
    scores: NDArray[np.float32]


class Teacher:
    """The teacher; another process opens its file for itself.

    Args:
        path: ``mn04_as_mAP_432.pt``, beside its list of classes.
        labels: Ours.

    Raises:
        ConfigError: One of the files is missing or holds something else.
    """

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self.network = Mn04(path)
        self._labels = labels
        self._to_ours = AudioSetMap(read_names(path.with_name(_CLASS_LIST)), labels)

    def __reduce__(self) -> tuple[type[Self], tuple[Path, tuple[str, ...]]]:
        return type(self), (self.network.path, self._labels)

    def __call__(self, audio: NDArray[np.float32]) -> Taught:
        """Teach of ``audio [n]``, float32 in [-1, 1] at 16 kHz."""
        heard = self.network(audio)
        targets = np.concatenate([heard.features, np.maximum(heard.logits, _LEAST_LOGIT)], axis=1)
        return Taught(targets, self.scores(heard.logits))

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores ``[..., C]`` of our classes from the network's logits ``[..., 527]``."""
        return self._to_ours(1 / (1 + np.exp(-logits)))
