"""The service's processes: each is the real thing, with the test's network, disk and clock around it."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from earmark.contracts.streams import Gap, GapReason
from earmark.contracts.wire import decode_ack
from earmark.outbox import Cursors, OutboxReader, StoredEvent, StreamCommit
from earmark.outbox.config import OutboxConfig
from engine.config import EngineConfig
from engine.gate import Gate
from engine.service import EngineService
from publishers.sinks import SinkError
from publishers.worker import Worker
from streamer.feed import Feed
from streamer.ring import Ring
from streamer.sender import Sender, Wake
from tests.stateful.disk import DiedError, Disk
from tests.stateful.network import Network, Pub, Pull
from tests.stateful.truth import RATE_HZ, Act, Decided, Epoch

RING_S = 6.0
_PIECE = 4_096


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Site:
    """A streamer: its rings, feeds and sender. The test plays the captures.

    Args:
        network: Where it sends.
        clock: Monotonic time.
        epochs: Of its streams.
        engines: Their addresses.
    """

    def __init__(self, network: Network, clock: Clock, epochs: Mapping[str, Epoch], engines: Sequence[str]):
        self.epochs = epochs
        self._network = network
        self._wake = Wake()
        self.feeds = {
            name: Feed(
                name,
                epoch.number,
                Ring(round(RING_S * RATE_HZ)),
                epoch.clock,
                sample_rate_hz=RATE_HZ,
                can_wait=epoch.can_wait,
                now=clock,
            )
            for name, epoch in epochs.items()
        }
        self.move(engines)

    def move(self, engines: Sequence[str]):
        """Send to these engines from now on."""
        self._network.disconnect()
        self._sender = Sender(engines, self._wake, self._network)
        for name, feed in self.feeds.items():
            self._sender.add(feed)
            self._wake.tell(name)

    def hear(self, stream: str, pcm: np.ndarray):
        """As a capture does: a source that can wait does so when there is no room."""
        epoch, ring = self.epochs[stream], self.feeds[stream].ring
        for at in range(0, len(pcm), _PIECE):
            piece = pcm[at : at + _PIECE]
            if ring.end_sample is not None or (epoch.can_wait and not ring.wait_for_room(len(piece), 0.0)):
                return
            ring.append(piece)
            epoch.hear(piece)
            self._wake.tell(stream)

    def miss(self, stream: str, n_samples: int):
        """The device was away."""
        if self.feeds[stream].ring.end_sample is None:
            self.feeds[stream].ring.append_gap(n_samples, GapReason.DEVICE, estimated=True)
            self.epochs[stream].hear(np.zeros(n_samples, np.int16), is_lost=True)

    def end(self, stream: str):
        if self.feeds[stream].ring.end_sample is None:
            self.feeds[stream].ring.mark_end()
        self._wake.tell(stream)

    def turn(self, *, ticks: bool = False):
        """What the sender's loop does."""
        if ticks:
            self._sender._tick()
        for stream in sorted(self._wake.take()):
            self._sender._look_at(self.feeds[stream])
        for line in self._sender._lines.values():
            self._sender._take_acks(line)
            line.pump()

    @property
    def is_finished(self) -> bool:
        return not self._sender._unfinished

    def close(self):
        self._network.disconnect()
        self._wake.close()


class Decider:
    """An engine, and what it has decided on but not committed.

    Args:
        network: Where it listens.
        address: On which address; whoever had it before hears nothing any more.
        clock: Monotonic time.
        config: How it is set.
        outbox: Shared with the other engines.
        epochs: All there were, by stream and number.
        seen: Counts what happens.
    """

    def __init__(
        self,
        network: Network,
        address: str,
        clock: Clock,
        *,
        config: EngineConfig,
        outbox: OutboxConfig,
        epochs: Mapping[tuple[str, int], Epoch],
        seen: Counter[str],
    ):
        self.address, self._clock, self._epochs, self._seen = address, clock, epochs, seen
        self.service = service = EngineService(config, outbox, ring_s=RING_S)
        self.is_asleep = False
        self.idles_s = 0.1
        inbox = network.inboxes[address] = deque[bytes]()
        service._gate = gate = Gate.__new__(Gate)  # without its sockets
        gate._door, gate._sender_is, gate._refusals = None, None, service._refusals
        gate._blocks, gate._acks = Pull(inbox, self._idle), Pub(network, address, self._check_ack)
        service._waker = SimpleNamespace(wake=lambda: None)
        service._monitor = SimpleNamespace(note_status=lambda *_: None, show_statuses=lambda: None)
        service._stop = SimpleNamespace(wait=self._wait_for_disk)
        self.disk = service._outbox._connection = Disk(service._outbox._connection, at="COMMIT")
        self.disk_is_full_for = 0
        self.then = "mended"
        self._pending: dict[str, Decided] = {}
        self._tap()

    # What an engine does in its loop.

    def turn(self):
        self.service._receive()
        self.commit()

    def commit(self):
        service = self.service
        service._commit()
        for stream in service._analyser.unacknowledged():
            service._gate.send_ack(service._analyser.ack(stream))

    def tend(self):
        self.service._housekeep()
        self.service._tend_some(0.0)

    def die(self):
        """All that is not in the outbox is lost."""
        self.service._outbox.close()

    def _idle(self):
        self._clock.now_s += self.idles_s
        self.idles_s = 0.1

    def _wait_for_disk(self, timeout_s: float) -> bool:
        """Called when a commit found the disk full; True ends the engine."""
        self._seen["disk failed"] += 1
        self._clock.now_s += timeout_s
        self.disk_is_full_for -= 1
        if self.disk_is_full_for > 0:
            return False
        self.disk.mend()
        if self.then == "dies":
            raise DiedError
        return self.then == "stops"

    # What is seen of it.

    def _tap(self):
        """Watch what it decides, and which of it becomes durable."""
        analyser, outbox = self.service._analyser, self.service._outbox
        analyser.observe(self._heard)
        accept, interrupt, count_gap = analyser.accept, analyser.interrupt, analyser._count_gap
        open_, drop, commit = analyser.open, analyser.drop, outbox.commit

        def watch_open(name, epoch, stored):
            self._pending[name] = Decided()
            return open_(name, epoch, stored)

        def watch_drop(name):
            del self._pending[name]
            drop(name)

        def watch_accept(record, now_s):
            stream = analyser.streams[record.stream]
            needed, decided = stream.needed, int(analyser._decided[stream.slot])
            refusal = accept(record, now_s)
            self._seen["refused record"] += refusal is not None
            if refusal is None and isinstance(record, Gap) and record.reason == GapReason.OVERRUN:
                pending = self._pending[record.stream]
                pending.lost.append((max(needed, decided), record.end_sample))
                pending.is_short_of_replay |= needed < decided
            return refusal

        def watch_gap(stream, reason, n_samples):
            if reason == GapReason.SHED:
                self._act(stream, "shed", n_samples)
            count_gap(stream, reason, n_samples)

        def watch_interrupt(name):
            self._act(analyser.streams[name], "interrupt", 0)
            interrupt(name)

        def watch_commit(commits):
            before = {commit.stream: outbox.load(commit.stream).revision for commit in commits}
            refused = None
            try:
                refused = commit(commits)
            finally:
                self._landed(commits, before, refused)
            return refused

        analyser.open, analyser.drop, analyser.accept = watch_open, watch_drop, watch_accept
        analyser._count_gap, analyser.interrupt, outbox.commit = watch_gap, watch_interrupt, watch_commit

    def _heard(self, names, position, _scores, audio):
        for name, begin, heard in zip(names, position.tolist(), audio, strict=True):
            self._pending[name].heard.append((begin, heard))

    def _act(self, stream, kind, n_samples):
        self._seen[kind] += 1
        analyser = self.service._analyser
        analyser.advance()
        decided = int(analyser._decided[stream.slot])
        needed = max(stream.needed, decided)
        to = decided + n_samples if kind == "shed" else needed
        self._pending[stream.name].acts.append(Act(kind, needed, decided, to))

    def _landed(self, commits: list[StreamCommit], before: dict[str, int], refused: set[str] | None):
        """After a commit, or what should have been one: did the right streams' parts become durable?"""
        if self.disk._connection.in_transaction:
            return  # it died
        outbox, analyser = self.service._outbox, self.service._analyser
        for commit in commits:
            now = outbox.load(commit.stream).revision
            is_stale = before[commit.stream] != commit.revision
            has_landed = now != before[commit.stream]
            assert not (is_stale and has_landed), "two deciders committed the same revision"
            if refused is not None:
                assert has_landed == (commit.stream not in refused)
            self._seen["commit"] += has_landed
            self._seen["refused commit"] += is_stale
            if has_landed:
                self._land(commit, analyser)

    def _land(self, commit: StreamCommit, analyser):
        stream = analyser.streams[commit.stream]
        epoch = self._epochs[commit.stream, stream.epoch]
        epoch.land(self._pending[commit.stream])
        self._pending[commit.stream] = Decided()
        epoch.needed = max(epoch.needed, stream.needed)
        if commit.checkpoint is None:
            epoch.has_ended = True
        else:
            assert commit.checkpoint.decided_sample >= epoch.decided, "it decides anew what is decided"
            epoch.decided = commit.checkpoint.decided_sample

    def _check_ack(self, message: bytes):
        """Nothing may be forgotten that is not durable."""
        ack = decode_ack(message)
        outbox = self.service._outbox
        ended_at, point = outbox.retired_end(ack.stream, ack.epoch), outbox.load(ack.stream).checkpoint
        durable = 0
        if ended_at is not None:
            durable = ended_at
        elif point is not None and point.epoch == ack.epoch:
            durable = point.row_start
        assert ack.keep_sample <= durable, f"{ack} lets go of more than {durable}, which is durable"


class Recorder:
    """A sink that remembers what it took, whatever happens to the publishers."""

    name = "recorder"

    def __init__(self):
        self.taken: list[StoredEvent] = []
        self.plan = "take"
        """``take``, ``part``, ``refuse``, ``take and fail`` or ``take and die``; for one batch."""
        self._newest = 0

    @property
    def newest(self) -> int:
        return self._newest

    def resume(self, _outbox: OutboxReader, cursor: int) -> int:
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> int | None:
        plan, self.plan = self.plan, "take"
        if plan == "refuse":
            raise SinkError("busy")
        took = events[: 1 + len(events) // 2] if plan == "part" else events
        for event in took:
            assert event.seq <= self._newest + 1, f"event {self._newest + 1} was skipped"
            if event.seq == self._newest + 1:
                self._newest = event.seq
                self.taken.append(event)
        if plan == "take and fail":
            raise SinkError("no answer")
        if plan == "take and die":
            raise DiedError
        return took[-1].seq

    def tick(self, seq: int):
        pass

    def close(self):
        pass


class Publisher:
    """The publishers' worker of one sink."""

    def __init__(self, sink: Recorder, outbox: OutboxConfig, clock: Clock):
        self._outbox = outbox
        self.worker = Worker(sink, outbox, clock)
        self.worker._cursors = Cursors(outbox.cursors_path)
        self.disk = self.worker._cursors._connection = Disk(self.worker._cursors._connection, at="INSERT")

    def turn(self):
        self.worker._turn()

    @property
    def cursor(self) -> int:
        """Where a new worker would go on."""
        reader = self.worker._source.reader()
        return self.worker._cursors.get("recorder", reader.outbox_id)

    def close(self):
        self.worker._source.close()
        self.worker._cursors.close()
