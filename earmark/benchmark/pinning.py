"""Which core does what: what is measured has one for itself, where the machine has two."""

import os
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

_LONGEST_S = 7_200.0

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Cores:
    """Numbers of cores; the same twice where there is only one.

    Attributes:
        measured: For what is measured.
        load: For what sends to it and listens.
    """

    measured: int
    load: int

    @classmethod
    def choose(cls) -> "Cores":
        """The last and the first that this process may use; the first is the busiest on most machines."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[-1], allowed[0])


@contextmanager
def pinned(core: int) -> Generator[None]:
    """Keep this thread, and the processes and threads that it starts inside, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def pool_on(core: int, niceness: int = 0) -> Generator[ProcessPoolExecutor]:
    """One fresh process that does what it is given, on one core from its first instruction on.

    So libraries that start a thread a core start none.

    Args:
        core: Where.
        niceness: How far others on that core come first.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=os.nice, initargs=(niceness,)) as pool:
        with pinned(core):
            pool.submit(int).result(_LONGEST_S)
        yield pool


def on_core(core: int, function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """What ``function`` returns in a fresh process on that core.

    Raises:
        Exception: Whatever it raised there.
    """
    with pool_on(core) as pool:
        return pool.submit(function, *arguments, **options).result(_LONGEST_S)
