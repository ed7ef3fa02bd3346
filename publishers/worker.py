"""One thread a sink: from its durable cursor through the outbox, whatever other sinks do."""

import random
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from earmark.contracts.errors import OutboxError, UnreadableEventError
from earmark.outbox import Cursors, OutboxReader, StoredEvent
from earmark.outbox.config import OutboxConfig
from earmark.telemetry import metrics
from publishers.filters import Begin
from publishers.sinks import Interruptible, Sink, SinkError
from publishers.source import OutboxSource

BATCH_EVENTS = 256
POLL_S = 0.5
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 30.0
MOST_REFUSALS = 3
"""How often a sink may fail at one event in a way that nobody foresaw, before the event is skipped."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Backoff:
    """Exponential waits with jitter, so that many who failed together do not come back together.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until_s = 0.0
        self.failures = 0
        """How many came in a row."""

    def failed(self, least_s: float = 0.0) -> float:
        """Note a failure; the seconds to wait, ``least_s`` or a little more where that is longer."""
        longest = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(self.failures, 16))
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 -- no secret
        wait_s = max(longest * jitter, least_s * (1.0 + 0.1 * jitter))
        self.failures += 1
        self._until_s = self._clock() + wait_s
        return wait_s

    def succeeded(self) -> None:
        """Note a success."""
        self.failures = 0
        self._until_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether it is too early to try again."""
        return self._clock() < self._until_s


def enter_outbox(cursors: Cursors, reader: OutboxReader, beginnings: Mapping[str, Begin]) -> None:
    """Give a place to each sink that has none, and say which of them pass over events that are kept.

    Raises:
        OutboxError: The outbox or the cursors cannot be used.
    """
    oldest, newest = reader.oldest_seq(), reader.newest_seq()
    for sink in cursors.enter(reader.outbox_id, beginnings, oldest=oldest, newest=newest):
        _log.warning("a new sink begins with what happens from now on", sink=sink, hint="begin: oldest sends all kept")


class Worker:
    """Moves events from the outbox to one sink, in order, until `stop`.

    A batch is published first and remembered afterwards: a sink that dies in between sees the batch again, and takes
    each event once by its ``seq``.

    Args:
        sink: Where events go; the caller closes it after `join`.
        outbox: Where they come from.
        clock: Monotonic seconds, for retries.
        begin: Where a sink begins that joins others at an outbox.
    """

    def __init__(
        self,
        sink: Sink,
        outbox: OutboxConfig,
        clock: Callable[[], float] = time.monotonic,
        *,
        begin: Begin = "oldest",
    ) -> None:
        self.sink = sink
        self.error: Exception | None = None
        """What ended the thread, where that was no call of `stop`."""
        self._config = outbox
        self._begin_at: Begin = begin
        self._source = OutboxSource(outbox.path)
        self._cursors: Cursors | None = None
        self._backoff = Backoff(clock)
        self._cursor_backoff = Backoff(clock)
        self._outbox_id = ""
        self._seq = self._remembered = 0
        self._refused_seq = self._n_refusals = 0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look into the outbox now."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end after the batch that it is at."""
        self._stop.set()
        if isinstance(self.sink, Interruptible):
            self.sink.interrupt()
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; whether it ended, or never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._turn():
                    self._wake.wait(POLL_S)
                    self._wake.clear()
        except Exception as error:  # noqa: BLE001 -- the service supervises this thread and raises it
            self.error = error
        finally:
            self._source.close()
            if self._cursors is not None:
                self._cursors.close()

    def _turn(self) -> bool:
        """Publish one batch; whether there may be more at once."""
        try:
            is_more = self._advance()
        except (OutboxError, SinkError) as error:
            self._failed(error)
            return False
        self._remember()
        return is_more

    def _advance(self) -> bool:
        reader = self._source.reader()
        if self._backoff.is_waiting:
            self._show_depth(reader.newest_seq())
            return False
        if reader.outbox_id != self._outbox_id:
            self._begin(reader)
        newest = reader.newest_seq()
        self._show_depth(newest)
        self._stay_within(newest)
        self._take(reader.read(self._seq, BATCH_EVENTS, through=newest), newest)
        self._show_depth(newest)
        self.sink.tick(self._seq)
        if self._backoff.failures:
            _log.info("sink goes on", sink=self.sink.name)
            self._backoff.succeeded()
        return self._seq < newest

    def _take(self, batch: list[StoredEvent], newest: int) -> None:
        """Go as far as the sink takes a batch, and over an event that another release wrote."""
        try:
            taken = self._publish(batch)
        except UnreadableEventError as error:
            taken = [event for event in batch if event.seq < error.seq]
            if not taken:
                self._skip(error.seq, error)
                return
            taken = self._publish(taken)
        except (OutboxError, SinkError):
            raise
        except Exception as error:  # noqa: BLE001 -- a client library's: one event must not end the sink
            _log.debug("a sink refuses a batch; its events go one by one", sink=self.sink.name, error=repr(error))
            self._take_singly(batch)
            return
        self._move(taken, taken[-1].seq if taken else newest)

    def _take_singly(self, batch: list[StoredEvent]) -> None:
        """Find the event that the sink cannot take; skip it where it fails again and again."""
        for event in batch:
            if self._stop.is_set():
                return
            try:
                self._publish([event])
            except UnreadableEventError as error:
                self._skip(error.seq, error)
                continue
            except (OutboxError, SinkError):
                raise
            except Exception as error:  # noqa: BLE001 -- the library's again
                self._note_refusal(event.seq, error)
            else:
                self._move([event], event.seq)

    def _note_refusal(self, seq: int, error: Exception) -> None:
        """Skip an event that was refused `MOST_REFUSALS` times.

        Raises:
            SinkError: It is tried again later.
        """
        self._n_refusals = self._n_refusals + 1 if seq == self._refused_seq else 1
        self._refused_seq = seq
        if self._n_refusals < MOST_REFUSALS:
            raise SinkError(f"event {seq} cannot be published: {error!r}") from error
        _log.error("an event cannot be published", sink=self.sink.name, seq=seq, exc_info=error)
        self._skip(seq, error)

    def _publish(self, batch: list[StoredEvent]) -> list[StoredEvent]:
        taken = self.sink.publish(batch) if batch else None
        return [event for event in batch if taken is None or event.seq <= taken]

    def _skip(self, seq: int, error: Exception) -> None:
        self._move([], seq - 1)
        self._seq = seq
        metrics.SINK_LOST.labels(self.sink.name).inc()
        _log.warning("event skipped", sink=self.sink.name, seq=seq, error=str(error) or repr(error))

    def _begin(self, reader: OutboxReader) -> None:
        if self._cursors is None:
            self._cursors = Cursors(self._config.cursors_path)
        # Another outbox in the place of one that was read is new to all sinks.
        begin = "oldest" if self._outbox_id else self._begin_at
        enter_outbox(self._cursors, reader, {self.sink.name: begin})
        cursor = self._cursors.get(self.sink.name, reader.outbox_id)
        self._seq = self.sink.resume(reader, cursor)
        self._remembered = cursor
        self._outbox_id = reader.outbox_id
        _log.info("sink begins", sink=self.sink.name, outbox=reader.outbox_id, since=self._seq)

    def _stay_within(self, newest: int) -> None:
        """Step back where the outbox lost its end with the machine's power, and the cursor did not."""
        if self._seq > newest:
            _log.warning("outbox ends before the sink's cursor", sink=self.sink.name, cursor=self._seq, newest=newest)
            self._seq = newest

    def _move(self, taken: list[StoredEvent], end: int) -> None:
        """Everything through ``end`` is settled; what was neither taken nor skipped is gone."""
        lost = end - self._seq - len(taken)
        if lost:
            metrics.SINK_LOST.labels(self.sink.name).inc(lost)
            _log.warning("retention removed events before the sink took them", sink=self.sink.name, lost=lost)
        metrics.SINK_EVENTS.labels(self.sink.name).inc(len(taken))
        self._seq = end

    def _show_depth(self, newest: int) -> None:
        metrics.SINK_DEPTH.labels(self.sink.name).set(max(0, newest - self._seq))

    def _remember(self) -> None:
        """Write the cursor; a full disk holds no event back, it only makes a restart repeat some."""
        if self._cursors is None or self._seq == self._remembered or self._cursor_backoff.is_waiting:
            return
        try:
            self._cursors.set(self.sink.name, self._outbox_id, self._seq)
        except OutboxError as error:
            metrics.SINK_FAILURES.labels(self.sink.name).inc()
            retry_s = self._cursor_backoff.failed()
            _log.warning("cursor not written", sink=self.sink.name, error=str(error), retry_s=round(retry_s, 2))
            return
        self._cursor_backoff.succeeded()
        self._remembered = self._seq

    def _failed(self, error: OutboxError | SinkError) -> None:
        metrics.SINK_FAILURES.labels(self.sink.name).inc()
        retry_s = self._backoff.failed(error.wait_s if isinstance(error, SinkError) else 0.0)
        _log.warning("sink failed", sink=self.sink.name, error=str(error), retry_s=round(retry_s, 2))
