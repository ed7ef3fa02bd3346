"""The engine as a process: blocks from a PULL socket, commits to the outbox, acknowledgements on a PUB socket.

One thread. It reads what has come, analyses all of it, commits, acknowledges; so nothing piles up between the socket
and the outbox, and a slow engine shows as rings that fill.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from itertools import compress

import numpy as np
import structlog

from earmark.contracts.bundle import Bundle, Smoothing, load_bundle
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.errors import ConfigError, OutboxFullError
from earmark.contracts.streams import Ack, AudioBlock, Record
from earmark.outbox import Outbox, StreamCommit, Waker
from earmark.outbox.config import OutboxConfig
from earmark.telemetry import metrics
from earmark.telemetry.refusals import Refusals
from engine.analyser import Analyser
from engine.config import EngineConfig
from engine.confirmation import open_confirmation
from engine.coverage import MINUTE_S, MINUTES, Coverage
from engine.gate import Gate, Message, receiving_context
from engine.groups import with_groups
from engine.monitor import Monitor
from engine.rivals import Rivals, excess
from engine.runtimes.choosing import open_runtime

_POLL_MS = 100
_DRAIN_BYTES = 1 << 20
_SECOND_S = 1.0
_RETRY_S = 0.5
_PRUNE_AGAIN_S = 0.05
"""Old events go in pieces of a millisecond, between which audio is taken: ten thousand a second at most."""
_LAST_S = 2.0
_MOST_QUESTIONS = 8
"""Streams that the judge is asked about in one turn, so that many candidates at once hold nobody up for long."""
_SAVE_COVERAGE_S = 5.0

_log = structlog.get_logger()


def max_lag_s(config: EngineConfig, bundle: Bundle, ring_s: float) -> float:
    """How far a stream may fall behind: what the ring holds, less what a restart needs of it.

    Raises:
        ConfigError: The ring holds no more than that.
    """
    if config.max_lag_s is not None:
        return config.max_lag_s
    restart_s = bundle.spec.window_s + bundle.spec.warmup_s + config.checkpoint_s + 10
    if ring_s <= restart_s:
        raise ConfigError(f"expected streamer.ring_s above {restart_s:g} s with this bundle, got {ring_s:g}; raise it")
    return ring_s - restart_s


class EngineService:
    """Runs an engine until it is stopped.

    Args:
        config: The section ``engine``.
        outbox: The section ``outbox``.
        ring_s: What the streamers' rings hold.
        streams: Those that should be heard; their coverage counts from the start.
        overrides: Per stream and label, what changes of the bundle's smoothing.
        zones: The streams of each zone, those of other engines too.
        clips: Streams whose audio publishers of this machine may ask for.

    Raises:
        BundleError: The bundle cannot be used.
        GpuError: The configuration insists on a GPU that cannot be used.
        OutboxError: The outbox cannot be used.
        ConfigError: The ring is too short for the bundle.
    """

    def __init__(
        self,
        config: EngineConfig,
        outbox: OutboxConfig,
        *,
        ring_s: float = 120.0,
        streams: Collection[str] = (),
        overrides: Mapping[str, Mapping[str, SmoothingOverride]] | None = None,
        zones: Mapping[str, Collection[str]] | None = None,
        clips: Collection[str] = (),
    ) -> None:
        bundle = with_groups(load_bundle(config.bundle, config.preset), config.groups)
        self._config = config
        self._bundle = bundle
        self._spec = bundle.spec
        self._outbox_config = outbox
        self._outbox = Outbox(outbox.path, outbox.durability, zones=zones or {}, fusion_ms=config.fusion_ms)
        self._ring_s = ring_s
        self._clips = clips
        self._analyser = Analyser(
            open_runtime(bundle, config),
            checkpoint_s=config.checkpoint_s,
            max_fill_s=config.max_fill_s,
            max_lag_s=max_lag_s(config, bundle, ring_s),
            smoothing=overridden(bundle, overrides or {}),
            confirmation=open_confirmation(bundle, config.confirm, config.threads),
        )
        rate, now_s = self._analyser.sample_rate_hz, time.monotonic()
        self._stored_coverage = self._outbox.load_coverage()
        self._coverage = {name: Coverage(rate, now_s, self._stored_coverage.pop(name, ())) for name in streams}
        self._expected = frozenset(streams)
        self._leaving: set[str] = set()
        self._untended: list[str] = []
        self._idle_s = 0.0
        self._left_open = self._outbox.open_streams()
        self._heard_at_idle_s = dict.fromkeys(self._left_open, 0.0)
        self._refusals = Refusals()
        self._rivals = Rivals()
        self._stop = threading.Event()
        self._on_alive: Callable[[], None] = lambda: None

    def run(
        self,
        stop: threading.Event,
        on_ready: Callable[[], None] = lambda: None,
        on_alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve until ``stop`` is set.

        Args:
            stop: Ends the loop within a poll.
            on_ready: Called once the sockets are bound.
            on_alive: Called at least once a second.

        Raises:
            ConfigError: An address cannot be bound, or a key file cannot be used.
        """
        self._stop, self._on_alive = stop, on_alive
        context = receiving_context()
        try:
            with (
                closing(Gate(context, self._config, self._refusals)) as self._gate,
                closing(Waker(self._outbox.path)) as self._waker,
            ):
                self._monitor = Monitor(
                    context, self._outbox.path, self._analyser, self._spec, clips=self._clips, refusals=self._refusals
                )
                on_ready()
                self._serve()
                self._take_what_has_come()
                self._settle(is_last=True)
                self._untended = list(self._coverage)
                self._tend_some(0.0)
                self._save_coverage(time.monotonic())
        finally:
            context.destroy(linger=0)
            self._outbox.close()

    def _serve(self) -> None:
        due_s = prune_s = save_s = 0.0
        while not self._stop.is_set():
            self._monitor.look_up()
            self._receive()
            self._commit()
            for stream in self._analyser.unacknowledged():
                self._gate.send_ack(self._analyser.ack(stream))
            self._tend_some(due_s - time.monotonic())
            if (now_s := time.monotonic()) >= due_s:
                due_s = now_s + _SECOND_S
                self._housekeep()
                self._on_alive()
            if now_s >= save_s:
                save_s = now_s + _SAVE_COVERAGE_S
                self._save_coverage(now_s)
            if now_s >= prune_s:
                prune_s = now_s + (_PRUNE_AGAIN_S if self._prune() else _SECOND_S)

    def reload(
        self,
        streams: Collection[str],
        overrides: Mapping[str, Mapping[str, SmoothingOverride]],
        clips: Collection[str],
    ) -> None:
        """Expect other streams, and smooth otherwise from the next frame on. Called from ``on_alive``.

        A stream that is not expected any more is heard and measured until its epoch has ended.

        Args:
            streams: Those that should be heard.
            overrides: As at the start.
            clips: As at the start.
        """
        self._monitor.allow(clips)
        self._analyser.set_smoothing(overridden(self._bundle, overrides))
        expected = frozenset(streams)
        self._leaving = (self._leaving | self._expected) - expected
        for name in expected:
            self._measure_from_now(name)
        self._expected = expected

    # In.

    def _receive(self) -> None:
        """Take what has come, up to a megabyte, so that no call works for long."""
        waited_from_s = time.monotonic()
        has_message = self._gate.wait(0 if self._analyser.has_questions else _POLL_MS)
        self._idle_s += time.monotonic() - waited_from_s
        if not has_message:
            return
        arrived_s = time.monotonic()
        until_s = arrived_s + self._config.max_wait_ms / 1000
        messages = self._gate.drain(_DRAIN_BYTES)
        room = _DRAIN_BYTES - _size(messages)
        while room > 0 and (left_s := until_s - time.monotonic()) > 0:
            if self._gate.wait(math.ceil(left_s * 1000)):
                more = self._gate.drain(room)
                messages += more
                room -= _size(more)
        self._take_messages(messages, arrived_s)

    def _take_what_has_come(self) -> None:
        """Commit what streamers sent before the end: whoever is told to end after them loses none of it."""
        until_s = time.monotonic() + _LAST_S
        while self._gate.wait(0) and time.monotonic() < until_s:
            self._receive()
            self._commit()

    def _take_messages(self, messages: list[Message], now_s: float) -> None:
        table = self._gate.read(messages)
        is_taken = self._analyser.accept_many(table, now_s)
        self._heard_at_idle_s.update(dict.fromkeys(compress(table.names, is_taken), self._idle_s))
        left = np.flatnonzero(~is_taken)
        is_excess = excess(table, left, self._analyser.streams)
        rows: list[int] = left[is_excess].tolist()
        for name, n_records in Counter(table.names[i] for i in rows).items():
            self._refusals.count("too_many_records", name, "expected one epoch and fewer records at once", n_records)
        for i in left[~is_excess].tolist():
            self._take(table.record(i), now_s, messages[table.message[i]].sender)

    def _take(self, record: Record, now_s: float, sender: str) -> None:
        streams = self._analyser.streams
        is_open = record.stream in streams and streams[record.stream].epoch == record.epoch
        if not is_open and not self._take_up(record, now_s, sender):
            return
        stream = streams[record.stream]
        self._heard_at_idle_s[record.stream] = self._idle_s
        asked = stream.resend_from
        refusal = self._analyser.accept(record, now_s)
        if refusal is not None:
            self._refusals.count(refusal, record.stream, self._explain(refusal, record))
        if stream.resend_from != asked:
            self._gate.send_ack(self._analyser.ack(stream))

    def _take_up(self, record: Record, now_s: float, sender: str) -> bool:
        """Open the epoch of a record that is not open here.

        Returns:
            Whether it is open now: not where that epoch is over, has to wait for its turn, or is of one stream too
            many.
        """
        if record.stream not in self._coverage and len(self._coverage) >= self._config.max_streams:
            explanation = f"expected at most {self._config.max_streams} streams; engine.max_streams allows more"
            self._refusals.count("too_many_streams", "a peer", explanation)
            return False
        ended_at = self._outbox.retired_end(record.stream, record.epoch)
        if ended_at is not None:
            if not (isinstance(record, AudioBlock) and record.end):
                self._refusals.count(
                    "dead_epoch", record.stream, "expected a block of the newest epoch, got one that is over"
                )
            self._gate.send_ack(Ack(record.stream, record.epoch, ended_at, ended_at, is_over=True))
            return False
        living = self._analyser.streams.get(record.stream)
        if not self._rivals.may_take_up(record.stream, living, now_s):
            self._refusals.count("rival_epoch", record.stream, "expected the epoch that is heard, got another one")
            if living is not None:
                self._rivals.tell(record.stream, sender, now_s)
            return False
        self._rivals.note_change(record.stream, sender, now_s, was_living=living is not None)
        if living is not None:
            self._analyser.mark(record.stream)
            self._commit()
            self._forget(record.stream)
        stream = self._analyser.open(record.stream, record.epoch, self._outbox.load(record.stream))
        self._measure_from_now(record.stream)
        if stream.retired:
            self._commit()  # a late block of the old epoch may follow in this very message
        return record.stream in self._analyser.streams

    def _explain(self, refusal: str, record: Record) -> str:
        if refusal == "sample_rate":
            rate = self._analyser.sample_rate_hz
            return (
                f"model {self._analyser.model!r} wants {rate} Hz, stream {record.stream!r} sends "
                f"{record.sample_rate_hz} Hz; set streams.{record.stream}.sample_rate_hz: {rate}"
            )
        return f"samples {record.first_sample} to {record.end_sample}: {refusal}"

    # Out.

    def _commit(self) -> None:
        """Make what was decided durable, however long the disk is full, and acknowledge it."""
        commits = self._analyser.collect(_MOST_QUESTIONS)
        while commits:
            began_s = time.perf_counter()
            try:
                refused = self._outbox.commit(commits)
            except OutboxFullError as error:
                metrics.OUTBOX_FAILING.set(1)
                _log.error("the outbox takes no commits; audio waits in the rings", explanation=str(error))
                self._on_alive()
                if self._stop.wait(_RETRY_S):
                    for commit in commits:
                        self._forget(commit.stream)  # a later checkpoint without these events must not be written
                    return
            else:
                metrics.OUTBOX_FAILING.set(0)
                metrics.COMMIT_SECONDS.observe(time.perf_counter() - began_s)
                self._tell(commits, refused)
                return

    def _tell(self, commits: list[StreamCommit], refused: set[str]) -> None:
        """Wake the publishers, acknowledge what is durable, and let go of what another engine has taken."""
        if any(commit.events for commit in commits):
            self._waker.wake()
        for commit in commits:
            if commit.stream in refused:
                metrics.CHECKPOINTS_REFUSED.inc()
                _log.warning("another engine decided on this stream; reading it again", stream=commit.stream)
                self._forget(commit.stream)
                self._heard_at_idle_s.pop(commit.stream, None)
                continue
            if commit.checkpoint is None:
                self._measure(commit.stream, time.monotonic())
            self._gate.send_ack(self._analyser.committed(commit))
            self._count_events(commit)

    def _count_events(self, commit: StreamCommit) -> None:
        for event in commit.events:
            if event.phase == "onset":
                metrics.EVENTS.labels(event.stream, event.label).inc()
            if event.delay_ms is not None:
                metrics.DELAY_SECONDS.observe(event.delay_ms / 1000)
        for label in commit.refused:
            metrics.REFUSED_BY_JUDGE.labels(commit.stream, label).inc()

    def _forget(self, name: str) -> None:
        if name in self._analyser.streams:
            if name in self._coverage:  # one that was left open and never heard is not measured
                self._measure(name, time.monotonic())
            self._analyser.drop(name)

    # Every second.

    def _tend_some(self, left_s: float) -> None:
        """Measure and acknowledge streams, so many that all had their turn when ``left_s`` has passed."""
        n_left = math.ceil(len(self._coverage) * max(0.0, left_s) / _SECOND_S)
        now_s = time.monotonic()
        while len(self._untended) > n_left:
            name = self._untended.pop()
            self._measure(name, now_s)
            if (stream := self._analyser.streams.get(name)) is not None:
                self._gate.send_ack(self._analyser.ack(stream))

    def _housekeep(self) -> None:
        self._gate.tend()
        self._tend_some(0.0)
        self._monitor.show_statuses()
        for name in [name for name in self._leaving if name not in self._analyser.streams]:
            self._stop_measuring(name)
        self._untended = list(self._coverage)
        self._end_silent()
        self._settle()

    def _end_silent(self) -> None:
        """End what is open of streams that have not been heard for as long as their rings hold.

        That counts those too that an earlier engine left open, unless another one has gone on with them since.
        """
        silent = [name for name, heard_s in self._heard_at_idle_s.items() if self._idle_s - heard_s > self._ring_s]
        if not silent:
            return
        for name in silent:
            del self._heard_at_idle_s[name]
            if name not in self._analyser.streams and not self._reopen(name):
                continue
            _log.warning("nothing came for as long as its ring holds; its open events end", stream=name)
            self._analyser.interrupt(name)
        self._commit()
        for name in silent:
            self._forget(name)

    def _reopen(self, name: str) -> bool:
        """Take up a stream as it was left open, where nobody has gone on with it."""
        stored = self._outbox.load(name)
        if stored.checkpoint is None or stored.revision != self._left_open.get(name):
            return False
        self._analyser.open(name, stored.checkpoint.epoch, stored)
        return True

    def _settle(self, *, is_last: bool = False) -> None:
        try:
            if self._outbox.settle(is_last=is_last):
                self._waker.wake()
        except OutboxFullError as error:
            _log.warning("the ends of zones' events wait", explanation=str(error))

    def _measure(self, name: str, now_s: float) -> None:
        coverage = self._coverage[name]
        if name in self._analyser.streams:
            metrics.ANALYSED_SAMPLES.labels(name).inc(self._analyser.measure(name, coverage, now_s))
        ratio = coverage.ratio(now_s)
        metrics.COVERAGE.labels(name).set(ratio)
        self._monitor.note_status(name, ratio, coverage.span_s(now_s), now_s)

    def _measure_from_now(self, name: str) -> None:
        """Measure a stream, if it is not measured yet; from where an engine before this one ended, if there was one."""
        if name not in self._coverage:
            stored = self._stored_coverage.pop(name, ())
            self._coverage[name] = Coverage(self._analyser.sample_rate_hz, time.monotonic(), stored)

    def _save_coverage(self, now_s: float) -> None:
        minutes = [minute for name, coverage in self._coverage.items() for minute in coverage.take_changed(name)]
        try:
            self._outbox.save_coverage(minutes, int(now_s // MINUTE_S) - MINUTES)
        except OutboxFullError as error:
            _log.warning("what was analysed could not be stored", explanation=str(error))

    def _stop_measuring(self, name: str) -> None:
        """Nobody expects this stream any more, and it has ended."""
        self._leaving.discard(name)
        del self._coverage[name]
        metrics.COVERAGE.remove(name)

    def _prune(self) -> int:
        kept = self._outbox_config
        try:
            return self._outbox.prune(kept.max_age_days * 86_400, int(kept.max_size_mb * (1 << 20)))
        except OutboxFullError as error:
            _log.warning("retention could not delete old events", explanation=str(error))
            return 0


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.body) for message in messages)


def overridden(
    bundle: Bundle, overrides: Mapping[str, Mapping[str, SmoothingOverride]]
) -> dict[str, dict[str, Smoothing]]:
    """Per stream and label, the smoothing where it is not the bundle's."""
    return {
        stream: {label: override.apply(bundle.spec.smoothing_of(label)) for label, override in labels.items()}
        for stream, labels in overrides.items()
    }
