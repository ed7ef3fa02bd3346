"""Processor time by stage of the hot path."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

STAGES = ("parse", "place", "features", "network", "smooth", "commit", "rest")
"""Of one hop, in order: messages are parsed, put into the streams' buffers, made features of, scored, smoothed and
committed. ``network`` has the states' way in and out of the bank too; ``rest`` is batching, windows and events."""
MODEL = ("features", "network")
"""The model step."""


class StageClock:
    """Counts processor seconds by name; what is inside another stage counts for both."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        """Count what is done inside."""
        began_s = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - began_s

    def wrap(self, owner: type, name: str, stage: str) -> None:
        """Count the time of a class's method from now on, in this process."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            with self(stage):
                return method(*arguments, **options)

        setattr(owner, name, timed)

    def split(self) -> dict[str, float]:
        """Seconds of each of `STAGES`, which together are those of ``all``."""
        seconds = {stage: self.seconds[stage] for stage in ("parse", "place", "features", "smooth", "commit")}
        seconds["network"] = self.seconds["step"] - seconds["features"]
        seconds["rest"] = self.seconds["all"] - sum(seconds.values())
        return {stage: seconds[stage] for stage in STAGES}
