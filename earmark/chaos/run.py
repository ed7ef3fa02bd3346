"""Schedule after schedule, each written down when it is over, so that a run which was killed goes on."""

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from earmark.benchmark.tables import Table, markdown
from earmark.chaos.oracle import Reference
from earmark.chaos.schedule import make_schedule
from earmark.chaos.staging import Staging
from earmark.chaos.trial import Outcome, run_trial
from earmark.contracts.errors import ConfigError

_WORST = 5
_ADAPTER = TypeAdapter(Outcome)


def run_schedules(
    staging: Staging, first_seed: int, minutes: float, results: Path | None, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run the schedules of ``first_seed``, the one after it, and so on.

    Args:
        staging: What they hit.
        first_seed: Of the first one.
        minutes: No schedule begins later than that; one runs at least.
        results: JSON Lines, one a schedule, that is appended to. Seeds that are in it are done.
        tell: Called after each schedule.

    Returns:
        All outcomes, those of the file too.

    Raises:
        ConfigError: ``results`` is no such file, or is of another configuration.
    """
    until_s = time.monotonic() + 60 * minutes
    reference = Reference(staging)
    outcomes: list[Outcome] = []
    if results is not None:
        try:
            results.open("a").close()  # better now than after the first schedule
        except OSError as error:
            raise ConfigError(f"expected to write to {results}, got: {error.strerror}; name another place") from error
        outcomes = read_results(results, staging.name)
    done = {outcome.seed for outcome in outcomes}
    for seed in itertools.count(first_seed):
        if seed in done:
            continue
        outcome = run_trial(staging, reference, seed, make_schedule(seed))
        outcomes.append(outcome)
        if results is not None:
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome.as_data()) + "\n")
        tell(outcome)
        if time.monotonic() >= until_s:
            return outcomes
    raise AssertionError("seeds never end")


def read_results(path: Path, staging: str) -> list[Outcome]:
    """What a results file holds; empty where there is none. A line that a kill cut off is cut off for good.

    Raises:
        ConfigError: It is no results file, or of another configuration.
    """
    if not path.exists():
        return []
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    if torn:
        path.write_bytes(whole + b"\n" if whole else b"")
    try:
        outcomes = [_ADAPTER.validate_json(line) for line in whole.splitlines()]
    except ValidationError as error:
        raise ConfigError(f"{path}: expected results of earmark chaos, got {error.errors()[0]['msg']}") from error
    for outcome in outcomes:
        if outcome.staging != staging:
            raise ConfigError(
                f"{path}: expected results of {staging}, got some of {outcome.staging}; name another file"
            )
    return outcomes


def recovery_table(outcomes: Sequence[Outcome]) -> str:
    """Times to recover by what had happened, as Markdown."""
    times: dict[str, list[float]] = {}
    for kind, recovery_s in (each for outcome in outcomes for each in outcome.recoveries):
        times.setdefault(kind, []).append(recovery_s)
    rows = [
        (kind, len(found), f"{quantile(found, 0.5):.2f}", f"{quantile(found, 0.99):.2f}", f"{max(found):.2f}")
        for kind, found in sorted(times.items())
    ]
    return markdown(Table(("fault", "times", "p50 s", "p99 s", "most s"), rows))


def in_words(outcome: Outcome) -> str:
    """One outcome, for people; with the service's log where something differs."""
    verdict = "DIFFERENT" if outcome.differences else "as undisturbed"
    steps = ", ".join(outcome.schedule)
    lines = [f"seed {outcome.seed}: {verdict}, {outcome.events} events, {outcome.took_s:.0f} s: {steps}"]
    lines += [f"  left out {kind}: {why}" for kind, why in outcome.skipped.items()]
    lines += [f"  {difference}" for difference in outcome.differences]
    return "\n".join([*lines, outcome.log] if outcome.log else lines)


def summary(outcomes: Sequence[Outcome]) -> str:
    """All outcomes, as Markdown."""
    different = [outcome for outcome in outcomes if outcome.differences]
    steps = [(recovery_s, kind, outcome.seed) for outcome in outcomes for kind, recovery_s in outcome.recoveries]
    longest = sorted(steps, reverse=True)[:_WORST]
    lines = [recovery_table(outcomes), "", "Longest:", ""]
    lines += [f"- {recovery_s:.2f} s after {kind}, seed {seed}" for recovery_s, kind, seed in longest]
    lines += ["", f"{len(outcomes)} schedules, {len(different)} with differences that no fault explains"]
    lines += [f"- seed {outcome.seed}: {'; '.join(outcome.differences)}" for outcome in different]
    return "\n".join(lines)


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that ``share`` of them do not pass."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
