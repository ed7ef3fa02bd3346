"""What trains fastest on this machine: 16 or 32 bits, and how many threads beside the process that mixes scenes.

Half the bits take twice as long on a CPU that has no instructions for them, so nothing is assumed: a few steps of each
kind are timed when a run starts.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

_STEPS = 2
"""Timed of each kind, after one that is not."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class Pace:
    """How a run computes, and how long a step and its scenes take so.

    Attributes:
        bf16: Whether arithmetic has 16 bits where it may.
        threads: Of the training process.
        step_s: A training step.
        scenes_s: Mixing and encoding a step's fresh scenes, in one process.
    """

    bf16: bool
    threads: int
    step_s: float
    scenes_s: float

    def expected_s(self, cores: int) -> float:
        """A step when both go on side by side: the slower one decides where each has cores of its own."""
        work = self.step_s * self.threads + self.scenes_s
        return max(self.step_s, self.scenes_s, work / cores)


def measured_pace(
    step: Callable[[bool, int], None],
    scenes_s: float,
    *,
    bf16: bool | None,
    threads: int | None,
    cores: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Pace:
    """Time training steps, and choose.

    Args:
        step: One step with 16 bits or not, on so many threads; it changes nothing that is kept.
        scenes_s: What mixing and encoding a step's fresh scenes took.
        bf16: Settles the bits; None tries both.
        threads: Settles the threads; None tries one less than there are cores, and as many.
        cores: Of this machine; None asks the system.
        clock: Seconds.
    """
    cores = cores or len(os.sched_getaffinity(0))
    bits = (False, True) if bf16 is None else (bf16,)
    counts: Sequence[int] = sorted({max(1, cores - 1), cores}) if threads is None else (threads,)
    if len(bits) * len(counts) == 1:
        return Pace(bits[0], counts[0], 0.0, scenes_s)
    paces = [Pace(b, n, _timed(step, b, n, clock), scenes_s) for b in bits for n in counts]
    best = min(paces, key=lambda pace: pace.expected_s(cores))
    for pace in paces:
        _log.info("timed", bf16=pace.bf16, threads=pace.threads, step_s=round(pace.step_s, 3))
    _log.info(
        "chosen",
        bf16=best.bf16,
        threads=best.threads,
        scenes_s=round(scenes_s, 3),
        expected_step_s=round(best.expected_s(cores), 3),
    )
    return best


def _timed(step: Callable[[bool, int], None], bf16: bool, threads: int, clock: Callable[[], float]) -> float:  # noqa: FBT001
    step(bf16, threads)
    start = clock()
    for _ in range(_STEPS):
        step(bf16, threads)
    return (clock() - start) / _STEPS
