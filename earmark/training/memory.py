"""What a bundle remembers of the sounds that it was trained on, so that classes can be added without their audio.

A few frames of every class, and of none, as the network hears them: the GRU's output, in 8 bits, and the classes that
were true (replay of compressed features; Hayes et al., "REMIND your neural network to prevent catastrophic forgetting",
ECCV 2020). Beside them a frame of each second of real recordings of places, music, speech and sounds of all kinds. A
new class must not be detected there. No audio can be made from frames again. The engine never reads them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import BundleError

MEMORY_FILE = "memory.npz"
N_PER_LABEL, N_EMPTY, N_REAL = 60, 1000, 8000
"""Frames of each class, of no class, and of real recordings, at most."""
_SCALE = 127
"""What a GRU puts out lies between -1 and 1."""


@dataclass(frozen=True)
class Memory:
    """Remembered frames.

    Attributes:
        heard: What the GRU put out, float32 ``[N, hidden]`` in [-1, 1].
        labels: The classes of each frame, bool ``[N, C]``, in the order of the bundle.
        real: What the GRU put out once a second in real recordings, float32 ``[M, hidden]``; nobody marked the classes
            in them.
    """

    heard: NDArray[np.float32]
    labels: NDArray[np.bool_]
    real: NDArray[np.float32]

    @classmethod
    def choose(
        cls,
        heard: NDArray[np.float32],
        labels: NDArray[np.bool_],
        real: NDArray[np.float32],
        rng: np.random.Generator,
    ) -> Self:
        """Some frames of each class, of none, and of real recordings, out of many; arguments as the attributes."""
        found = [_some(rng, labels[:, c], N_PER_LABEL) for c in range(labels.shape[1])]
        chosen = np.concatenate([*found, _some(rng, ~labels.any(axis=1), N_EMPTY)])
        return cls(heard[chosen], labels[chosen], real[rng.permutation(len(real))[:N_REAL]])

    def save(self, folder: Path) -> None:
        """Write it into a bundle."""
        heard, real = (np.rint(frames * _SCALE).astype(np.int8) for frames in (self.heard, self.real))
        np.savez_compressed(folder / MEMORY_FILE, heard=heard, labels=np.packbits(self.labels, axis=1), real=real)

    @classmethod
    def load(cls, folder: Path, n_labels: int) -> Self:
        """The memory of the bundle in ``folder``, which has ``n_labels`` classes.

        Raises:
            BundleError: It has none, or not one of its own.
        """
        try:
            with (folder / MEMORY_FILE).open("rb") as file, np.load(file, allow_pickle=False) as saved:
                heard, labels = saved["heard"], saved["labels"]
                real = saved["real"] if "real" in saved else heard[:0]  # bundles made before 0.6.1 have none
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise BundleError(
                f"expected {MEMORY_FILE} in {folder}, which classes are added by, found none that can be read: {error}"
            ) from error
        if len(heard) != len(labels) or labels.shape[1] != -(-n_labels // 8):
            raise BundleError(
                f"expected {folder / MEMORY_FILE} to tell of {n_labels} classes a frame, got {heard.shape} and "
                f"{labels.shape}; export the bundle again"
            )
        frames, real = (part.astype(np.float32) / _SCALE for part in (heard, real))
        return cls(frames, np.unpackbits(labels, axis=1, count=n_labels).astype(bool), real)


def _some(rng: np.random.Generator, is_one: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    return rng.permutation(np.flatnonzero(is_one))[:count]
