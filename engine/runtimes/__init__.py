"""What runs a bundle's model. Every runtime owns a bank of states; callers know rows of it and nothing else."""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle

Audio: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int32]
Scores: TypeAlias = NDArray[np.float32]


class Runtime(Protocol):
    """One model and the states of many streams."""

    @property
    def bundle(self) -> Bundle:
        """What is run."""
        ...

    @property
    def n_rows(self) -> int:
        """Rows that the bank has."""
        ...

    def reserve(self, n_rows: int) -> None:
        """Make the bank hold at least ``n_rows``; rows that are there keep their state."""
        ...

    def reset(self, rows: Rows) -> None:
        """Make these rows as if they had never heard anything."""
        ...

    def step(self, rows: Rows, audio: Audio) -> Scores:
        """Advance some rows by whole output hops.

        Args:
            rows: int32 ``[B]``, distinct rows of the bank.
            audio: float32 ``[B, T * output_hop]`` in [-1, 1]; borrowed, not kept.

        Returns:
            Scores in [0, 1], float32 ``[B, T, C]``, owned by the caller; frame t has seen audio up to its own last
            sample only.

        Raises:
            ShapeError: ``audio`` does not hold whole output hops for every row.
        """
        ...
