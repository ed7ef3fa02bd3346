"""Who is shown what an analyser does: every scored step of some streams, every answer of the judge."""

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.buffers import Slots
from engine.confirmation import Verdict
from engine.runtimes import Audio, Scores
from engine.stream import Stream

Observer: TypeAlias = Callable[[Sequence[str], NDArray[np.int64], Scores, Audio], None]
"""Told of every scored step: streams ``[B]``, first sample of their first frame ``[B]``, scores ``[B, T, C]``, and the
audio ``[B, T * output_hop]`` in [-1, 1]; all of them the observer's to keep."""
VerdictObserver: TypeAlias = Callable[[Stream, Verdict], None]
"""Called with every answer of the judge and the stream that it is about, which is borrowed."""


class Observation:
    """The observers of one analyser.

    Attributes:
        on_verdict: Called for every answer of the judge; None for nobody.
    """

    def __init__(self) -> None:
        self.on_verdict: VerdictObserver | None = None
        self._observer: Observer | None = None
        self._streams: Collection[str] | None = None
        self._is_observed = np.zeros(0, bool)

    @property
    def is_on(self) -> bool:
        """Whether scored steps of any stream are observed."""
        return self._observer is not None

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        self._is_observed = np.concatenate([self._is_observed, np.zeros(n_slots - len(self._is_observed), bool)])

    def begin(self, observer: Observer | None, streams: Collection[str] | None, opened: Collection[Stream]) -> None:
        """Call ``observer`` for every scored step of ``streams``, None for all; ``opened`` are those that are open."""
        self._observer, self._streams = observer, streams
        for stream in opened:
            self.enter(stream.slot, stream.name)

    def enter(self, slot: int, name: str) -> None:
        """A stream is at this slot from now on."""
        self._is_observed[slot] = self.is_on and (self._streams is None or name in self._streams)

    def shows(self, slots: Slots) -> NDArray[np.bool_]:
        """Which of these are observed, bool ``[B]``."""
        return self._is_observed[slots]

    def show(self, streams: Sequence[str], position: NDArray[np.int64], scores: Scores, audio: Audio) -> None:
        """Call the observer, if there is one; the arguments are its own."""
        if self._observer is not None:
            self._observer(streams, position, scores, audio)
