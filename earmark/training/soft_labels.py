"""Soft labels: what a larger bundle believes of our scenes, for a small model to learn beside the labels.

Hinton et al., "Distilling the knowledge in a neural network", 2015; ADR 24. They say what the labels cannot: which
sound is drowned by the others, and what it could have been instead.
"""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec, load_bundle
from earmark.contracts.errors import ConfigError
from earmark.training.streaming import StreamedModel

_COMPARED = ("labels", "front_end", "hops_per_score", "delay_frames")


class SoftLabels:
    """A bundle that teaches; another process opens it for itself.

    Args:
        folder: The bundle.
        own: What the model that learns will be: of the same classes and features, and as late.

    Raises:
        BundleError: It cannot be read.
        ConfigError: It is of another kind.
    """

    def __init__(self, folder: Path, own: BundleSpec) -> None:
        self._folder, self._own = folder, own
        bundle = load_bundle(folder)
        if other := [name for name in _COMPARED if getattr(bundle.spec, name) != getattr(own, name)]:
            raise ConfigError(
                f"expected teacher_bundle {folder} to have the {' and '.join(other)} of the model that learns from it, "
                "got others; train it with the same list and settings, or leave teacher_bundle out"
            )
        self.model = bundle.model_path
        self._network = StreamedModel(self.model, bundle.spec.states)

    def __reduce__(self) -> tuple[type[Self], tuple[Path, BundleSpec]]:
        return type(self), (self._folder, self._own)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of ``features [B, T, n_mels]`` from fresh states, float32 ``[B, T / hops_per_score, C]``."""
        return self._network.scores(features, features.shape[1])
