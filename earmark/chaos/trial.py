"""One schedule from its begin to its verdict."""

import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from earmark.benchmark.measuring import wait_until
from earmark.chaos.faults import FAULTS, Active
from earmark.chaos.lab import Lab, lab
from earmark.chaos.oracle import Epoch, Reference, count_differences, epoch_differences, sink_differences
from earmark.chaos.schedule import ENGINE, STREAMER, Fault, Step
from earmark.chaos.staging import Staging
from earmark.contracts.errors import EarmarkError
from earmark.contracts.events import SoundEvent
from streamer.sender import find_engine

RECOVERS_WITHIN_S = 60.0
_MAY_RAISE = {"memory", "descriptors"}
_REFUSED = "earmark_refused_records_total"
_UNREADABLE = ("foreign", "version", "truncated", "header")


@dataclass
class Outcome:
    """What came of a schedule.

    Attributes:
        staging: What was broken.
        seed: It made the schedule.
        schedule: In words.
        recoveries: Per step that could be timed: its kinds and how long the service took, seconds.
        skipped: Kinds that this machine does not allow, and why.
        differences: What nobody can explain; empty is good.
        events: How many were told.
        took_s: Wall time.
    """

    staging: str
    seed: int
    schedule: list[str]
    recoveries: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    differences: list[str] = field(default_factory=list[str])
    events: int = 0
    took_s: float = 0.0
    log: str = ""

    def as_data(self) -> dict[str, Any]:
        """For a results file; the log is for people."""
        data = asdict(self)
        del data["log"]
        return data


def run_trial(staging: Staging, reference: Reference, seed: int, schedule: Sequence[Step]) -> Outcome:
    """Run a schedule against a service of its own, and judge it."""
    with lab(staging) as made:
        outcome = hit(made, reference, seed, schedule)
        if not outcome.differences and (code := made.stop()) != 0:
            outcome.differences.append(f"expected the service to end with 0, got {code}")
    return outcome


def hit(made: Lab, reference: Reference, seed: int, schedule: Sequence[Step]) -> Outcome:
    """Run a schedule against a service, and judge all that it has told since its start."""
    began_s, n_logged = time.monotonic(), len(made.log_text())
    outcome = Outcome(made.staging.name, seed, [str(step) for step in schedule])
    try:
        for step in schedule:
            _run_step(made, step, outcome)
        _finish(made)
        outcome.differences += _judge(made, reference, outcome)
        kinds = {fault.kind for step in schedule for fault in step.faults}
        if "Traceback" in made.log_text()[n_logged:] and not kinds & _MAY_RAISE:
            outcome.differences.append("a traceback in the log")
    except (TimeoutError, EarmarkError) as error:
        outcome.differences.append(str(error))
    if outcome.differences:
        outcome.log = made.log_text()
    outcome.took_s = round(time.monotonic() - began_s, 1)
    return outcome


def _run_step(made: Lab, step: Step, outcome: Outcome) -> None:
    threading.Event().wait(step.pause_s)
    active: list[Active] = []
    for fault in step.faults:
        if why := FAULTS[fault.kind].impossible(made):
            outcome.skipped[fault.kind] = why
        else:
            active.append(FAULTS[fault.kind](made, fault))
    began_s = time.monotonic()
    for each in active:
        each.begin()
    for each in sorted(active, key=lambda each: each.fault.duration_s):
        left_s = began_s + each.fault.duration_s - time.monotonic()
        threading.Event().wait(max(0.0, left_s))
        each.end()
    if step.waits and active:
        faults = [each.fault for each in active]
        outcome.recoveries.append((_kind(faults), round(_recover(made, faults), 2)))


def _kind(faults: Sequence[Fault]) -> str:
    """What recoveries are compared by."""
    if len(faults) > 1:
        return "two at once"
    kind, targets = faults[0].kind, faults[0].targets
    return f"{kind} {targets[0] if len(targets) == 1 else 'several'}" if targets else kind


def _recover(made: Lab, faults: Sequence[Fault]) -> float:
    """How long it takes until every engine commits what it heard after the fault, and the sinks have all of before."""
    began_s = time.monotonic()
    before = made.revisions()
    seq = made.newest_seq()

    def is_well() -> bool:
        now = made.revisions()
        return all(now[name] > before[name] for name in before) and made.sinks_have(seq) and made.is_ready()

    told = " & ".join(map(str, faults))
    wait_until(is_well, f"the service to recover from {told}", RECOVERS_WITHIN_S)
    return time.monotonic() - began_s


def _finish(made: Lab) -> None:
    """Let every scene come to its end and every sink hear of it."""
    made.hurry()
    made.wait_until_ready()
    scenes = made.staging.sounds

    def is_over() -> bool:
        epochs = made.epochs()
        return all(
            name in epochs and made.outbox.retired_end(name, epochs[name][-1]) == len(pcm)
            for name, pcm in scenes.items()
        )

    wait_until(is_over, "every scene to be decided on to its end", RECOVERS_WITHIN_S)
    newest = made.newest_seq()
    wait_until(lambda: made.sinks_have(newest), "every sink to have every event", RECOVERS_WITHIN_S)


def _judge(made: Lab, reference: Reference, outcome: Outcome) -> list[str]:
    differences: list[str] = []
    stored = made.stored_events()
    outcome.events = len(stored)
    ends: dict[str, list[Epoch]] = {}
    for name, numbers in made.epochs().items():
        ends[name] = [
            Epoch(name, number, made.outbox.retired_end(name, number), is_last=number == numbers[-1])
            for number in numbers
        ]
    for name in made.staging.sounds:
        for epoch in ends[name]:
            told = [event for event in stored if (event.stream, int(event.epoch, 16)) == (name, epoch.number)]
            differences += epoch_differences(reference, epoch, told)
    known = {(epoch.stream, epoch.number) for epochs in ends.values() for epoch in epochs}
    differences += [
        f"an event of {event.stream}, which is silent or has no such epoch"
        for event in stored
        if event.stream in made.idle or (event.stream, int(event.epoch, 16)) not in known
    ]
    lines = [SoundEvent.model_validate_json(line) for line in made.lines()]
    differences += sink_differences("jsonl", stored, lines)
    differences += sink_differences("zeromq", stored, made.audience.events)
    differences += _counts(made, ends)
    return differences


def _counts(made: Lab, ends: dict[str, list[Epoch]]) -> list[str]:
    """Metrics against samples, where the process that counts lived throughout."""
    if made.was_switched_off:
        return []
    differences: list[str] = []
    engines = [proxy.address for proxy in made.proxies]
    for i, sent_bad in enumerate(made.sent_bad):
        if made.restarts(f"{ENGINE}-{i}") == 0:
            refused = {why: made.values(f"{ENGINE}-{i}", _REFUSED, reason=why) for why in _UNREADABLE}
            differences += count_differences(f"messages that nobody can read, engine {i}", sent_bad, refused)
    for name, pcm in made.staging.sounds.items():
        engine = f"{ENGINE}-{engines.index(find_engine(name, engines))}"
        if made.restarts(engine) == 0:
            sent = sum(epoch.end or 0 for epoch in ends[name])
            counted = {
                "analysed": made.values(engine, "earmark_analysed_samples_total", stream=name),
                "lost": made.values(engine, "earmark_gap_samples_total", stream=name),
            }
            differences += count_differences(name, sent, counted)
        if made.restarts(STREAMER) == 0:
            captured = made.values(STREAMER, "earmark_captured_samples_total", stream=name)
            differences += count_differences(name, len(pcm), {"captured": captured})
    return differences
