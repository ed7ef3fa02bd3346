"""Exactly once: whatever happens between microphone and subscriber, at any step, the events are the same.

Hypothesis drives the real ring, feed, sender, engine service, outbox, cursors and sinks' worker through crashes,
stalls, moves and losses. CI runs a fixed choice; ``HYPOTHESIS_PROFILE=long python -m pytest -s tests/stateful`` runs
at random until it finds something, and prints what it did.
"""

import logging
import os
import shutil
import sqlite3
import time
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import engine.service
from earmark.contracts.bundle import load_bundle
from earmark.contracts.clock import SampleClock
from earmark.contracts.events import SoundEvent
from earmark.outbox import Outbox
from earmark.outbox.config import OutboxConfig
from engine.config import EngineConfig
from engine.judging import ConfirmConfig
from tests.stateful.disk import DiedError
from tests.stateful.network import Network
from tests.stateful.parts import RING_S, Clock, Decider, Publisher, Recorder, Site
from tests.stateful.truth import RATE_HZ, Epoch, undisturbed
from tests.support.audio import tones
from tests.support.judge_bundle import write_judge_bundle
from tests.support.simulation import START_NS, stored_events
from tests.support.tiny_bundle import write_tiny_bundle

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
PROFILE = (
    settings(max_examples=1_000_000, stateful_step_count=60, print_blob=True)
    if IS_LONG
    else settings(max_examples=40, stateful_step_count=40, derandomize=True, database=None)
)
STREAMS = ("gate", "file", "yard")
ENGINES = ("tcp://127.0.0.1:7701", "tcp://127.0.0.1:7703")
SMOOTHED = {"checkpoint_s": 0.5, "max_fill_s": 0.3}
NEVER_S = 1e6
SETTLED_AFTER = 60
NUMBER = st.integers(0, 5)
EVERYTHING = (
    "ack lost",
    "commit",
    "device gap",
    "disk failed",
    "end",
    "engine crash",
    "engine dies after COMMIT",
    "engine dies before COMMIT",
    "engine sleeps",
    "event",
    "interrupt",
    "message lost",
    "move",
    "overrun",
    "publisher crash",
    "refused commit",
    "refused record",
    "shed",
    "sleeper replaced",
    "streamer restart",
)


class Service(RuleBasedStateMachine):
    """All processes of a service, under every fault. ``folder`` has the bundle and an empty outbox."""

    folder: Path
    seen: Counter[str]
    most_questions = 2
    """So few that a stream may wait for the judge when its engine dies."""

    def __init__(self):
        super().__init__()
        self.site = None

    @initialize(
        n_streams=st.integers(1, 3),
        n_engines=st.integers(1, 2),
        sheds=st.booleans(),
        judged=st.booleans(),
        seed=st.integers(0, 3),
    )
    def begin(self, n_streams: int, n_engines: int, sheds: bool, judged: bool, seed: int):
        self.temporary = TemporaryDirectory(prefix="exactly-once-")
        own = Path(self.temporary.name)
        self.outbox = OutboxConfig(path=own / "outbox.db")
        shutil.copy(self.folder / "outbox.db", self.outbox.path)
        self.patches = pytest.MonkeyPatch()
        self.clock = Clock()
        self.patches.setattr(
            engine.service, "time", SimpleNamespace(monotonic=self.clock, perf_counter=time.perf_counter)
        )
        self.network = Network()
        self.sounds = {name: _tones(seed + i) for i, name in enumerate(STREAMS[:n_streams])}
        self.epochs: dict[tuple[str, int], Epoch] = {}
        self.config = EngineConfig(
            bundle=str(self.folder / "tiny"),
            runtime="onnxruntime",
            max_lag_s=4.0 if sheds else NEVER_S,
            confirm=ConfirmConfig(bundle=str(self.folder / "judge"), after_s=0.2, again_s=0.4) if judged else None,
            **SMOOTHED,
        )
        self.patches.setattr(engine.service, "_MOST_QUESTIONS", self.most_questions)
        self.addresses = ENGINES[:n_engines]
        self.sleepers: list[Decider] = []
        self.engines = {address: self._engine(address) for address in self.addresses}
        self.sink = Recorder()
        self.publisher = Publisher(self.sink, self.outbox, self.clock)
        self._start_streamer()

    def _engine(self, address: str) -> Decider:
        return Decider(
            self.network,
            address,
            self.clock,
            config=self.config,
            outbox=self.outbox,
            epochs=self.epochs,
            seen=self.seen,
        )

    def _start_streamer(self):
        epochs: dict[str, Epoch] = {}
        for name in self.sounds:
            clock = SampleClock(RATE_HZ)
            clock.observe(0, START_NS + round(self.clock.now_s * 1e9))
            epoch = Epoch(name, 1 + len(self.epochs), name == "file", clock)
            epochs[name] = self.epochs[name, epoch.number] = epoch
        self.site = Site(self.network, self.clock, epochs, self.addresses)

    def _awake(self, number: int) -> Decider | None:
        awake = [decider for decider in self.engines.values() if not decider.is_asleep]
        awake.sort(key=lambda decider: not decider.service._analyser.streams)
        return awake[number % len(awake)] if awake else None

    def _crash(self, decider: Decider):
        self.seen["engine crash"] += 1
        decider.die()
        self.engines[decider.address] = self._engine(decider.address)

    @property
    def hears(self) -> bool:
        return any(feed.ring.end_sample is None for feed in self.site.feeds.values())

    @property
    def has_landed(self) -> bool:
        return any(epoch.has_landed for epoch in self.site.epochs.values())

    @property
    def works(self) -> bool:
        return any(not each.is_asleep and each.service._analyser.streams for each in self.engines.values())

    # Sounds.

    def _sound(self, stream: str, n_samples: int):
        at = (self.site.epochs[stream].number * 7_919 + len(self.site.epochs[stream].pcm)) % (40 * RATE_HZ)
        return np.resize(self.sounds[stream][at:], n_samples)

    def _name(self, number: int) -> str:
        """A stream, one that goes on if there is one."""
        feeds = self.site.feeds
        going_on = [name for name in self.sounds if feeds[name].ring.end_sample is None] or list(self.sounds)
        return going_on[number % len(going_on)]

    def _push(self, number: int):
        busy = [push for push in self.network.pushes if push.in_flight]
        return busy[number % len(busy)]

    @rule(n_rounds=st.integers(1, 6))
    def listen(self, n_rounds: int):
        """All goes well for a while."""
        for _ in range(n_rounds):
            for stream in self.sounds:
                self.site.hear(stream, self._sound(stream, 5_000))
            self._exchange()

    @rule(number=NUMBER, n_rounds=st.integers(1, 3))
    def listen_to_one(self, number: int, n_rounds: int):
        """One stream is heard, the others are late."""
        for _ in range(n_rounds):
            stream = self._name(number)
            self.site.hear(stream, self._sound(stream, 9_000))
            self._exchange()

    def _exchange(self):
        self.clock.now_s += 0.3
        self.site.turn(ticks=True)
        for push in self.network.pushes:
            push.deliver(100)
        for decider in self.engines.values():
            if not decider.is_asleep:
                decider.turn()
        self.site.turn()

    @precondition(lambda self: self.hears)
    @rule(number=NUMBER, n_samples=st.integers(1, 30_000))
    def hear(self, number: int, n_samples: int):
        stream = self._name(number)
        self.site.hear(stream, self._sound(stream, n_samples))

    @precondition(lambda self: self.hears)
    @rule(number=NUMBER)
    def overrun(self, number: int):
        """More than the ring holds comes at once."""
        stream = self._name(number)
        self.seen["overrun"] += 1
        self.site.hear(stream, self._sound(stream, round((RING_S + 0.7) * RATE_HZ)))

    @precondition(lambda self: self.hears)
    @rule(number=NUMBER, n_samples=st.integers(1, 9_000))
    def device_gap(self, number: int, n_samples: int):
        self.seen["device gap"] += 1
        self.site.miss(self._name(number), n_samples)

    @precondition(lambda self: self.hears and self.has_landed)
    @rule(number=NUMBER)
    def end(self, number: int):
        self.seen["end"] += 1
        self.site.end(self._name(number))

    # The streamer and the network.

    @rule(waits_s=st.sampled_from([0.0, 0.5, 1.5]))
    def send(self, waits_s: float):
        self.clock.now_s += waits_s
        self.site.turn(ticks=waits_s > 0)

    @precondition(lambda self: any(push.in_flight for push in self.network.pushes))
    @rule(number=NUMBER, n_messages=st.integers(1, 8))
    def deliver(self, number: int, n_messages: int):
        self._push(number).deliver(n_messages)

    @precondition(lambda self: any(push.in_flight for push in self.network.pushes))
    @rule(number=NUMBER)
    def lose_in_flight(self, number: int):
        """A connection breaks."""
        push = self._push(number)
        self.seen["message lost"] += len(push.in_flight)
        push.in_flight.clear()

    @precondition(lambda self: any(sub.in_flight for sub in self.network.subs))
    @rule(n_messages=st.integers(1, 8))
    def lose_acks(self, n_messages: int):
        sub = next(sub for sub in self.network.subs if sub.in_flight)
        for _ in range(min(n_messages, len(sub.in_flight))):
            sub.in_flight.popleft()
            self.seen["ack lost"] += 1

    @precondition(lambda self: self.has_landed)
    @rule()
    def restart_streamer(self):
        self.seen["streamer restart"] += 1
        self.site.close()
        self._start_streamer()

    @precondition(lambda self: len(self.addresses) > 1)
    @rule(engines=st.sampled_from([ENGINES[:1], ENGINES[1:], ENGINES]))
    def move(self, engines: tuple[str, ...]):
        """Streams go to other shards, in the midst of their epochs."""
        self.seen["move"] += 1
        self.site.move(engines)

    # Engines.

    @rule(number=NUMBER)
    def engine_turn(self, number: int):
        if decider := self._awake(number):
            decider.turn()

    @rule(number=NUMBER)
    def receive(self, number: int):
        """A turn up to where it would commit."""
        if decider := self._awake(number):
            decider.service._receive()

    @rule(number=NUMBER)
    def tend(self, number: int):
        if decider := self._awake(number):
            decider.tend()

    @rule(number=NUMBER, idles_s=st.sampled_from([1.0, RING_S + 1]))
    def hear_nothing(self, number: int, idles_s: float):
        """Nothing comes for so long, then the engine looks after its streams."""
        if decider := self._awake(number):
            decider.idles_s = idles_s
            decider.turn()
            decider.tend()

    @precondition(lambda self: self.works)
    @rule(number=NUMBER, where=st.sampled_from(["anywhere", "dies before", "dies after"]))
    def crash(self, number: int, where: str):
        """The engine dies now, or in its next commit."""
        if decider := self._awake(number):
            decider.disk.break_down("" if where == "anywhere" else where)
            try:
                if where != "anywhere":
                    decider.turn()
            except DiedError:
                self.seen[f"engine {where} COMMIT"] += 1
            self._crash(decider)

    @precondition(lambda self: self.works)
    @rule(
        number=NUMBER,
        fault=st.sampled_from(["full", "broken"]),
        n_times=st.integers(1, 2),
        then=st.sampled_from(["mended", "stops", "dies"]),
    )
    def disk_fails(self, number: int, fault: str, n_times: int, then: str):
        """The engine's next commit fails, several times; then there is room, or the engine is stopped or dies."""
        decider = self._awake(number)
        if decider is None:
            return
        decider.disk.break_down(fault)
        decider.disk_is_full_for, decider.then = n_times, then
        n_before = self.seen["disk failed"]
        try:
            decider.turn()
        except DiedError:
            self._crash(decider)
            return
        decider.disk.mend()
        if then == "stops" and self.seen["disk failed"] > n_before:
            self._crash(decider)

    @precondition(lambda self: self.works)
    @rule(number=NUMBER, in_a_turn=st.booleans())
    def sleep(self, number: int, in_a_turn: bool):
        """It falls asleep between two turns, or with something that it has not committed."""
        if decider := self._awake(number):
            if in_a_turn:
                for stream in self.sounds:
                    self.site.hear(stream, self._sound(stream, 20_000))
                self.site.turn()
                for push in self.network.pushes:
                    push.deliver(100)
                decider.service._receive()
            self.seen["engine sleeps"] += 1
            decider.is_asleep = True

    @precondition(lambda self: any(decider.is_asleep for decider in self.engines.values()))
    @rule(number=NUMBER)
    def replace_sleeper(self, number: int):
        """Another engine takes over, while the sleeper is still there with all that it knows."""
        asleep = [decider for decider in self.engines.values() if decider.is_asleep]
        if asleep:
            decider = asleep[number % len(asleep)]
            self.sleepers.append(decider)
            self.engines[decider.address] = self._engine(decider.address)
            self.seen["sleeper replaced"] += 1

    @precondition(lambda self: self.sleepers or any(decider.is_asleep for decider in self.engines.values()))
    @rule(number=NUMBER)
    def wake_up(self, number: int):
        """A sleeper goes on where it was, whether or not another engine has taken over."""
        asleep = [decider for decider in self.engines.values() if decider.is_asleep] + self.sleepers
        if asleep:
            decider = asleep[number % len(asleep)]
            decider.is_asleep = False
            decider.commit()
            decider.turn()
            decider.tend()

    # Publishers.

    @rule(plan=st.sampled_from(["take", "take", "part", "refuse", "take and fail", "take and die"]))
    def publish(self, plan: str):
        self.clock.now_s += 0.2
        self.sink.plan = plan
        try:
            self.publisher.turn()
        except DiedError:
            self._restart_publisher()

    @rule(fault=st.sampled_from(["", "broken", "dies before", "dies after"]))
    def remember_badly(self, fault: str):
        """The cursor cannot be written, or the publishers die around it."""
        self.publisher.disk.fault = fault
        try:
            self.publisher.turn()
        except DiedError:
            self._restart_publisher()
        self.publisher.disk.fault = ""

    def _restart_publisher(self):
        self.seen["publisher crash"] += 1
        self.publisher.close()
        self.publisher = Publisher(self.sink, self.outbox, self.clock)

    # What must hold.

    @invariant()
    def no_cursor_is_ahead_of_its_sink(self):
        if self.site is not None:
            assert self.publisher.cursor <= self.sink.newest

    def teardown(self):
        if self.site is None:
            return
        try:
            self.settle()
            self.compare()
        finally:
            self.site.close()
            for decider in [*self.engines.values(), *self.sleepers]:
                decider.die()
            self.publisher.close()
            self.patches.undo()
            self.temporary.cleanup()

    def settle(self):
        """No more faults: everything has to come to rest."""
        for sleeper in self.sleepers:
            sleeper.commit()
            sleeper.tend()
            sleeper.die()
        self.sleepers.clear()
        for decider in self.engines.values():
            decider.is_asleep = False
        for stream in self.sounds:
            self.site.end(stream)
        self.sink.plan = "take"
        for n_rounds in range(SETTLED_AFTER):
            self._exchange()
            for decider in self.engines.values():
                decider.tend()
            self.clock.now_s += 1.0
            self.publisher.turn()
            n_events = self.publisher.worker._source.reader().newest_seq()
            if self.site.is_finished and self.sink.newest == n_events:
                self.seen["rounds to settle"] = max(self.seen["rounds to settle"], n_rounds)
                return
        pytest.fail("it does not settle")

    def compare(self):
        """Every event is there once, and is what an undisturbed engine says; every subscriber got it."""
        events = stored_events(self.outbox.path)
        self.seen["event"] += len(events)
        self.check_order(events)
        assert [stored.event for stored in self.sink.taken] == events
        landed = [epoch for epoch in self.epochs.values() if epoch.has_landed]
        self.seen["epoch"] += len(landed)
        path, settings = self.outbox.path.with_name("expected.db"), {**SMOOTHED, "confirm": self.config.confirm}
        expected = essence(undisturbed(self.bundle(), path, landed, **settings))
        got = essence(events)
        for event in events:
            holes = self.epochs[event.stream, int(event.epoch, 16)].holes
            assert not any(event.onset_sample in hole for hole in holes), "an onset lies where nothing was heard"
        for epoch in landed:
            epoch.check_end()
            if epoch.durable.is_short_of_replay:
                self.seen["epoch short of its replay"] += 1
                continue
            ours, theirs = (
                {key: event for key, event in some.items() if key[0] == epoch.number} for some in (got, expected)
            )
            assert ours.keys() == theirs.keys()
            for key, event in ours.items():
                assert event == pytest.approx(theirs[key], abs=0.11), key

    def check_order(self, events: list[SoundEvent]):
        phases = Counter((event.event_id, event.phase) for event in events)
        assert all(n == 1 for n in phases.values())
        has_begun: set[str] = set()
        for event in events:
            if event.phase == "onset":
                has_begun.add(event.event_id)
            else:
                has_begun.remove(event.event_id)
        assert not has_begun, "an onset has no offset"

    def bundle(self):
        return load_bundle(str(self.folder / "tiny"))


@cache
def _tones(seed: int):
    return tones(seed, 60)


def essence(events: list[SoundEvent]):
    """What must be the same whatever happened in between; scores and levels nearly."""
    return {
        (
            int(event.epoch, 16),
            event.event_id,
            event.phase,
            event.label,
            event.onset_sample,
            event.offset_sample,
            event.reason,
            str(event.onset_time),
            str(event.offset_time),
        ): (event.score_peak * 100, event.score_mean * 100, event.level_db or 0.0)
        for event in events
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with short windows, and an outbox in which every event wants a page more, and so finds a full disk."""
    folder = tmp_path_factory.mktemp("exactly-once")
    write_tiny_bundle(folder / "tiny", window_s=1.6, warmup_s=0.64)
    write_judge_bundle(folder / "judge")
    connection = sqlite3.connect(folder / "outbox.db")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.close()
    Outbox(folder / "outbox.db").close()
    return folder


@pytest.fixture
def machine(folder: Path) -> type[Service]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return type("Service", (Service,), {"folder": folder, "seen": Counter()})


@pytest.mark.timeout(0 if IS_LONG else 300)
def test_every_event_is_told_exactly_once(machine: type[Service]):
    try:
        run_state_machine_as_test(
            machine, settings=settings(PROFILE, deadline=None, suppress_health_check=list(HealthCheck))
        )
    finally:
        print("\n".join(f"{n:8} {what}" for what, n in sorted(machine.seen.items())))


@pytest.mark.parametrize("judged", [False, True])
def test_a_day_on_which_everything_happens(machine: type[Service], judged: bool):
    """Each fault once at least, so that none of them ever stops to be one."""
    service = machine()
    service.most_questions = 1000  # else a stream may wait where its engine should commit and die
    service.begin(n_streams=3, n_engines=2, sheds=True, judged=judged, seed=1)
    service.listen(n_rounds=6)
    for where in ("anywhere", "dies before", "dies after"):
        for number in (0, 1):
            service.sleep(number=number, in_a_turn=True)
            service.wake_up(number=0)
            service.hear(number=0, n_samples=30_000)
            service.send(waits_s=0.5)
            service.deliver(number=0, n_messages=8)
            service.crash(number=number, where=where)
            service.listen(n_rounds=4)
    for fault in ("full", "broken"):
        for then in ("mended", "stops", "dies"):
            service.hear(number=0, n_samples=30_000)
            service.send(waits_s=0.5)
            service.deliver(number=0, n_messages=8)
            service.disk_fails(number=0, fault=fault, n_times=2, then=then)
            service.listen(n_rounds=4)
    for plan in ("part", "refuse", "take and fail", "take and die"):
        service.publish(plan=plan)
        service.listen(n_rounds=3)
    for fault in ("broken", "dies before", "dies after"):
        service.remember_badly(fault=fault)
        service.listen(n_rounds=3)
    for engines in (ENGINES[:1], ENGINES[1:], ENGINES):
        service.move(engines=engines)
        service.listen(n_rounds=3)
        service.device_gap(number=0, n_samples=9_000)
        service.listen(n_rounds=3)
    service.sleep(number=0, in_a_turn=True)
    service.replace_sleeper(number=0)
    service.listen(n_rounds=6)
    service.wake_up(number=0)
    service.hear_nothing(number=0, idles_s=RING_S + 1)
    service.hear(number=0, n_samples=9_000)
    service.send(waits_s=0.0)
    service.lose_in_flight(number=0)
    service.listen(n_rounds=3)
    service.hear(number=0, n_samples=9_000)
    service.send(waits_s=0.5)
    service.deliver(number=0, n_messages=8)
    service.engine_turn(number=0)
    service.tend(number=0)
    service.lose_acks(n_messages=1)
    service.overrun(number=0)
    service.overrun(number=0)
    service.listen(n_rounds=8)
    service.restart_streamer()
    service.listen(n_rounds=4)
    service.end(number=0)
    service.listen(n_rounds=4)
    service.teardown()
    assert [what for what in EVERYTHING if not service.seen[what]] == [], service.seen
