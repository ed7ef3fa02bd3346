"""``python -m tests.fuzz TARGET CORPUS [OPTION...]``: mutate what is in a folder until a target breaks.

The options are libFuzzer's. A target breaks where it raises, takes `MOST_CPU_S` of processor time for one input, or
wants `MOST_BYTES` of memory more than it had to begin with, touched or not.
"""

import importlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import atheris
import structlog

from tests.fuzz.mutating import mutate_json

MOST_CPU_S = 1.0
MOST_BYTES = 1 << 30
_TRIES = 5
_JSON = {"answers", "bundle", "history", "monitor"}
_OURS = ["earmark", "engine", "publishers", "streamer", "yaml"]


def main() -> None:
    name, corpus, *options = sys.argv[1:]
    structlog.configure(processors=[_drop])
    with atheris.instrument_imports(include=_OURS):
        target = importlib.import_module(f"tests.fuzz.targets.{name}")
    Path(corpus).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.SEEDS):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
        target.check(seed)  # imports what is imported late, before anybody counts
    (pages, *_) = Path("/proc/self/statm").read_text(encoding="ascii").split()
    most = int(pages) * resource.getpagesize() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    mutator = {"custom_mutator": mutate_json} if name in _JSON else {}
    atheris.Setup([sys.argv[0], corpus, "-keep_seed=1", *options], _bounded(target.check), **mutator)
    atheris.Fuzz()


def _drop(_logger: object, _method: str, _event: object) -> NoReturn:
    raise structlog.DropEvent


def _bounded(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def spend(data: bytes) -> float:
        began_s = time.process_time()
        check(data)
        return time.process_time() - began_s

    def bounded(data: bytes) -> None:
        spent_s = spend(data)
        for _ in range(_TRIES):  # a busy machine's page faults cost a second by themselves
            if spent_s <= MOST_CPU_S:
                return
            spent_s = spend(data)
        raise RuntimeError(f"expected less than {MOST_CPU_S:g} s for {len(data)} bytes, took {spent_s:.1f} s")

    return bounded


if __name__ == "__main__":
    main()
