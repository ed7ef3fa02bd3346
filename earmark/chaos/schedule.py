"""From a seed to a schedule of faults. The same seed always makes the same one, on every machine."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

STREAMER, ENGINE, PUBLISHERS = "streamer", "engine", "publishers"
PROCESSES = (STREAMER, ENGINE, PUBLISHERS)
"""What faults hit; which of several engines is drawn by ``Fault.chance``."""
LONGEST_S = 3.0

INSTANT = ("kill", "terminate", "power", "reset", "foreign", "repeated")
LASTING = ("stop", "cut", "stuck", "delay", "disk_full", "disk_read_only", "clock", "descriptors", "memory")
KINDS = (*INSTANT, *LASTING)
_OF_PROCESSES = ("kill", "terminate", "stop", "descriptors", "memory")
_RARE = {"power": 0.4}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: One of `KINDS`.
        targets: The processes that it hits; empty where it hits the network, the disk or the clock.
        duration_s: How long it lasts; 0 where it is over at once.
        chance: In [0, 1); decides what a fault leaves open, e.g. which engine and how far a clock steps.
    """

    kind: str
    targets: tuple[str, ...]
    duration_s: float
    chance: float

    def __str__(self) -> str:
        words = [self.kind, "+".join(self.targets), f"{self.duration_s:.1f} s" if self.duration_s else ""]
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class Step:
    """Faults that begin together.

    Attributes:
        pause_s: How long nothing happens before.
        faults: One or two.
        waits: Whether the service may recover, which is timed, before the next step.
    """

    pause_s: float
    faults: tuple[Fault, ...]
    waits: bool

    def __str__(self) -> str:
        return " & ".join(map(str, self.faults)) + ("" if self.waits else " ...")


def make_schedule(seed: int, n_steps: int = 5, kinds: Sequence[str] = KINDS) -> list[Step]:
    """Draw a schedule.

    Args:
        seed: Decides everything.
        n_steps: How many steps it has.
        kinds: What may be drawn.
    """
    rng = random.Random(seed)  # noqa: S311 -- repeatable, guards no secret
    return [_step(rng, kinds) for _ in range(n_steps)]


def _step(rng: random.Random, kinds: Sequence[str]) -> Step:
    n_faults = 2 if rng.random() < 0.3 else 1
    faults = tuple(_fault(rng, kind) for kind in _kinds(rng, kinds, n_faults))
    return Step(pause_s=round(rng.uniform(0, 0.8), 2), faults=faults, waits=rng.random() < 0.7)


def _kinds(rng: random.Random, kinds: Sequence[str], n: int) -> list[str]:
    return rng.choices(kinds, [_RARE.get(kind, 1.0) for kind in kinds], k=n)


def _fault(rng: random.Random, kind: str) -> Fault:
    targets: tuple[str, ...] = ()
    if kind in _OF_PROCESSES:
        targets = tuple(sorted(rng.sample(PROCESSES, rng.choices((1, 2, 3), (6, 2, 1))[0])))
    # Most are short: a service that has just begun to recover is hit again.
    duration_s = round(LONGEST_S * rng.random() ** 2 + 0.05, 2) if kind in LASTING else 0.0
    return Fault(kind, targets, min(duration_s, LONGEST_S), rng.random())
