"""The engine without its sockets and its outbox: records of audio in, what is to be committed out.

Everything that decides about an event is here and depends on nothing but the records, so that the service, the
`Detector` and the tests run the very same code. Per stream it keeps the sample clock whole (repeats, holes, gaps); over
all streams it cuts whole output hops, steps the model in batches and smooths the scores.
"""

import time
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Smoothing
from earmark.contracts.events import EndReason
from earmark.contracts.streams import Ack, AudioBlock, Gap, GapReason, Record
from earmark.contracts.wire import RecordTable
from earmark.outbox import Checkpoint, StoredStream, StreamCommit
from earmark.telemetry import metrics
from engine.buffers import AudioBuffers, Slots
from engine.candidates import close_published
from engine.confirmation import Answers, Confirmation
from engine.coverage import Coverage
from engine.events import make_event
from engine.groups import Groups
from engine.intake import plain_records
from engine.model_faults import ModelFaults
from engine.observation import Observation, Observer, VerdictObserver
from engine.runtimes import Runtime, Scores
from engine.runtimes.checking import unusable_rows
from engine.smoothing import Smoother, Transition, close_all
from engine.stream import NO_SAMPLE, Stream, StreamTable
from engine.tally import Tally
from engine.windows import Windows

_CATCH_UP_HOPS = (25, 5, 1)
"""Output hops of one step: one while a stream is live, more while it catches up."""
_MOST_HOPS = 6400
"""Output hops of all streams together in one step of the runtime, which cuts them as suits it: 16 MB of audio."""
_BUFFER_S = 4.0
ACK_S = 2.0
"""Audio after which a streamer is told that it came; it lets 4 s be on the way."""
_OF_SLOTS = ("_position", "_decided", "_checkpointed")
"""Arrays of the analyser with one entry a slot."""


class Analyser:
    """Analyses many streams with one model.

    Args:
        runtime: Runs the model; its bank belongs to this analyser.
        checkpoint_s: Audio between two checkpoints of a stream without events.
        max_fill_s: Gaps up to this length are filled with silence.
        max_lag_s: A stream that is further behind its source skips audio; None for never.
        smoothing: Per stream and label, where it is not the bundle's.
        confirmation: Has a second network confirm onsets before they are published; belongs to this analyser.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        checkpoint_s: float = 5.0,
        max_fill_s: float = 0.5,
        max_lag_s: float | None = None,
        smoothing: Mapping[str, Mapping[str, Smoothing]] | None = None,
        confirmation: Confirmation | None = None,
    ) -> None:
        spec = runtime.bundle.spec
        self.sample_rate_hz = spec.sample_rate_hz
        self.model = confirmation.identity if confirmation else runtime.bundle.identity
        self._runtime = runtime
        self._hop = spec.output_hop
        self._checkpoint = max(1, round(checkpoint_s * self.sample_rate_hz))
        self._ack_samples = round(ACK_S * self.sample_rate_hz)
        self._max_fill = round(max_fill_s * self.sample_rate_hz)
        self._max_lag = None if max_lag_s is None else round(max_lag_s * self.sample_rate_hz)
        self._smoothing = smoothing or {}
        self.streams: dict[str, Stream] = {}
        """By name. Borrowed: only this analyser changes them."""
        self._by_slot: list[Stream | None] = []
        self._free_slots: list[int] = []
        self._touched: set[str] = set()
        self._confirmation = confirmation
        longest = confirmation.longest_step if confirmation else max(_CATCH_UP_HOPS)
        self._step_hops = sorted({min(n_hops, longest) for n_hops in _CATCH_UP_HOPS}, reverse=True)
        room = max(round(_BUFFER_S * self.sample_rate_hz), 2 * self._hop)
        self._buffers = AudioBuffers(room, confirmation.window if confirmation else 0)
        self._windows = Windows(spec, runtime)
        self._groups = Groups(spec)
        self._smoother = Smoother(spec)
        self._table = StreamTable()
        self._tally = Tally()
        self._observation = Observation()
        self._model_faults = ModelFaults()
        self._position = np.zeros(0, np.int64)
        self._decided = np.zeros(0, np.int64)
        self._checkpointed = np.zeros(0, np.int64)

    def observe(self, observer: Observer | None, streams: Collection[str] | None = None) -> None:
        """Have ``observer`` told of what is scored from now on, of ``streams`` or of all; None tells nobody."""
        self._observation.begin(observer, streams, self.streams.values())

    def observe_verdicts(self, observer: VerdictObserver | None) -> None:
        """Call ``observer`` for every answer of the judge from now on; None disables it."""
        self._observation.on_verdict = observer

    def set_smoothing(self, smoothing: Mapping[str, Mapping[str, Smoothing]]) -> None:
        """Smooth streams otherwise from the next frame on: per stream and label, where it is not the bundle's.

        What is open stays open, and is judged by the new thresholds. The next `collect` writes a checkpoint of each
        stream that this changes: no frame that was decided on is ever decided on again by others.
        """
        changed = [name for name in self.streams if smoothing.get(name, {}) != self._smoothing.get(name, {})]
        self._smoothing = smoothing
        for name in changed:
            self._smoother.reconfigure(self.streams[name].slot, smoothing.get(name, {}))
            self.mark(name)

    # Streams come and go.

    def open(self, name: str, epoch: int, stored: StoredStream) -> Stream:
        """Take up a stream's epoch where the outbox left it, or at its begin.

        What the outbox has open of another epoch or of another bundle ends here; the next commit tells of it.
        """
        slot = self._take_slot(name)
        self._table.open(slot, epoch)
        stream = Stream(name, slot, epoch, stored.revision, self._table)
        self.streams[name] = self._by_slot[slot] = stream
        checkpoint = stored.checkpoint
        if checkpoint is not None and checkpoint.epoch != epoch:
            self._end_stored(stream, checkpoint, "interrupted")
            stream.retired.append((checkpoint.epoch, checkpoint.decided_sample))
            checkpoint = None
        if checkpoint is None:
            self._start(stream)
        else:
            self._resume(stream, checkpoint)
        return stream

    def _resume(self, stream: Stream, checkpoint: Checkpoint) -> None:
        stream.keep_sample = checkpoint.row_start
        if checkpoint.bundle != self.model:
            self._end_stored(stream, checkpoint, "model_changed")
            stream.needed = checkpoint.decided_sample
            self._start(stream)
            return
        stream.needed = checkpoint.row_start
        self._start(stream)
        self._decided[stream.slot] = self._checkpointed[stream.slot] = checkpoint.decided_sample
        state = checkpoint.state
        if self._confirmation is not None:
            state = self._confirmation.restore(stream.slot, state)
        self._smoother.restore(stream.slot, state)

    def _take_slot(self, name: str) -> int:
        if not self._free_slots:
            old = len(self._by_slot)
            new = max(4, 2 * old)
            self._buffers.grow(new)
            self._windows.grow(new)
            self._smoother.grow(new)
            for of_slots in (self._table, self._tally, self._observation, self._confirmation):
                if of_slots is not None:
                    of_slots.grow(new)
            for of_slots in _OF_SLOTS:
                array = getattr(self, of_slots)
                setattr(self, of_slots, np.concatenate([array, np.zeros((new - old, *array.shape[1:]), array.dtype)]))
            self._by_slot += [None] * (new - old)
            self._free_slots = list(range(new - 1, old - 1, -1))
        slot = self._free_slots.pop()
        self._tally.clear(slot)
        self._observation.enter(slot, name)
        self._smoother.configure(slot, self._smoothing.get(name, {}))
        return slot

    def _end_stored(self, stream: Stream, checkpoint: Checkpoint, reason: EndReason) -> None:
        """End what a checkpoint has open, of another epoch or by another model."""
        self._touched.add(stream.name)
        for told in close_published(checkpoint.state, stream.slot, checkpoint.decided_sample):
            self._tell(stream, told, reason, epoch=checkpoint.epoch, model=checkpoint.bundle)

    def _start(self, stream: Stream) -> None:
        """Begin a fresh row at the first whole output hop that is still to come, with nothing decided after it."""
        slot = stream.slot
        start = self._whole_hops(stream.needed)
        self._tally.advanced[slot] += start - stream.needed
        stream.needed = start
        self._buffers.clear(slot)
        self._smoother.clear(slot)
        if self._confirmation is not None:
            self._confirmation.clear(slot)
        self._windows.begin(slot, stream.name, start)
        self._position[slot] = self._decided[slot] = self._checkpointed[slot] = start

    def interrupt(self, name: str) -> None:
        """End a stream's open events because nothing comes any more; the next commit tells of it."""
        stream = self.streams[name]
        self._catch_up(stream.slot)
        self._end_open(stream, "interrupted")
        # In a replay less is needed next than was decided long ago; it must never be decided again.
        stream.needed = max(stream.needed, int(self._decided[stream.slot]))
        self._start(stream)

    def drop(self, name: str) -> None:
        """Forget a stream; what was not committed is lost and will come again from its streamer."""
        stream = self.streams.pop(name)
        self._count_received(name, stream.slot)
        self._touched.discard(name)
        self._windows.end(stream.slot)
        self._buffers.clear(stream.slot)
        if self._confirmation is not None:
            self._confirmation.clear(stream.slot)
        self._by_slot[stream.slot] = None
        self._free_slots.append(stream.slot)

    # Records come in.

    def accept_many(self, table: RecordTable, now_s: float) -> NDArray[np.bool_]:
        """Take all records at once that simply go on with an open stream, as `accept` would one by one.

        Args:
            table: The records.
            now_s: Monotonic time of their arrival.

        Returns:
            bool ``[M]``: those that were taken. The others are for `accept`, in their order.
        """
        is_taken = np.zeros(len(table.names), bool)
        if not self.streams or not table.names:
            return is_taken
        streams, clocks = self.streams, self._table
        slots = np.array([stream.slot if (stream := streams.get(name)) else -1 for name in table.names])
        plain = plain_records(
            table,
            slots,
            clocks,
            sample_rate_hz=self.sample_rate_hz,
            room=self._buffers.room,
            newest_allowed=None if self._max_lag is None else self._decided + self._max_lag,
        )
        if not len(plain.index):
            return is_taken
        headers = table.headers
        n_samples = headers["n_samples"][plain.index]
        self._buffers.append_many(plain.slots, plain.offset, table.pcm, table.begin[plain.index], n_samples)
        clocks.n_blocks += np.bincount(plain.slots, minlength=len(clocks.n_blocks))
        last, slots = plain.index[plain.is_last], plain.slots[plain.is_last]
        firsts = headers["first_sample"][last]
        ends = firsts + n_samples[plain.is_last]
        clocks.n_samples[slots] += ends - clocks.needed[slots]
        clocks.needed[slots] = ends
        clocks.newest[slots] = headers["newest_sample"][last]
        clocks.note_arrivals(slots, ends, now_s)
        self._smoother.set_anchors(slots, firsts, headers["captured_at_ns"][last])
        is_taken[plain.index] = True
        return is_taken

    def accept(self, record: Record, now_s: float) -> str | None:
        """Take a record of an open stream's epoch.

        Args:
            record: Audio or a gap.
            now_s: Monotonic time of its arrival.

        Returns:
            Why it was refused (``sample_rate``, ``repeated``, ``hole``), None when it was taken.
        """
        stream = self.streams[record.stream]
        if record.sample_rate_hz != self.sample_rate_hz:
            return "sample_rate"
        self._table.newest[stream.slot] = record.newest_sample
        refusal = self._place(stream, record, now_s)
        if refusal is None and self._max_lag is not None and not record.can_wait:
            self._shed(stream, record.newest_sample, self._max_lag)
        return refusal

    def _place(self, stream: Stream, record: Record, now_s: float) -> str | None:
        ends = isinstance(record, AudioBlock) and record.end
        if record.end_sample <= stream.needed and not ends:
            return "repeated"
        if record.first_sample > stream.needed:
            stream.resend_from = stream.needed
            return "hole"
        stream.resend_from = NO_SAMPLE
        if isinstance(record, Gap):
            self._take_gap(stream, record)
        else:
            self._table.note_arrivals(np.array([stream.slot]), np.array([record.end_sample]), now_s)
            self._table.n_blocks[stream.slot] += 1
            self._table.n_samples[stream.slot] += len(record.pcm)
            self._take_audio(stream, record)
        return None

    def _take_audio(self, stream: Stream, block: AudioBlock) -> None:
        slot = np.array([stream.slot])
        self._smoother.set_anchors(slot, np.array([block.first_sample]), np.array([block.captured_at_ns]))
        if block.end_sample > stream.needed:
            self._settle_gap(stream)
            self._append(stream, block.pcm[max(0, stream.needed - block.first_sample) :])
            stream.needed = max(stream.needed, block.end_sample)
        if block.end:
            stream.end = block.end_sample
            self._touched.add(stream.name)

    def _append(self, stream: Stream, pcm: NDArray[np.int16]) -> None:
        while len(pcm):
            room = int(self._buffers.room[stream.slot])
            self._buffers.append(stream.slot, pcm[:room])
            pcm = pcm[room:]
            if len(pcm):
                self._catch_up(stream.slot)

    # Gaps: touching ones are one, judged by their whole length when audio follows or as soon as they are too long.

    def _take_gap(self, stream: Stream, gap: Gap) -> None:
        slot = stream.slot
        if stream.gap_start == NO_SAMPLE:
            stream.gap_start = stream.needed
        lost = gap.end_sample - max(stream.needed, int(self._decided[slot]))
        if lost > 0:
            self._count_gap(stream, gap.reason, lost)
        stream.needed = gap.end_sample
        # Where a row begins the gap goes on that made it begin there, or there is nothing yet that silence would join.
        begins = stream.gap_start == self._windows.row_start[slot] == self._decided[slot]
        if begins or stream.needed - stream.gap_start > self._max_fill:
            self._break(stream, gap.reason)

    def _count_gap(self, stream: Stream, reason: GapReason, n_samples: int) -> None:
        self._tally.lost[stream.slot] += n_samples
        metrics.GAPS.labels(stream.name, reason.name.lower()).inc()
        metrics.GAP_SAMPLES.labels(stream.name, reason.name.lower()).inc(n_samples)

    def _settle_gap(self, stream: Stream) -> None:
        """Audio follows a gap that is short enough: fill it with silence."""
        if stream.gap_start == NO_SAMPLE:
            return
        n_samples, stream.gap_start = stream.needed - stream.gap_start, NO_SAMPLE
        unheard = max(0, min(n_samples, stream.needed - int(self._decided[stream.slot])))
        self._tally.fill(stream.slot, unheard)
        self._append(stream, np.zeros(n_samples, np.int16))

    def _break(self, stream: Stream, reason: GapReason) -> None:
        """A gap is too long to fill: what was open ends, and a fresh row begins after it.

        The parts of output hops on either side of it, which nobody will analyse, are lost with it.
        """
        self._catch_up(stream.slot)
        decided = int(self._decided[stream.slot])
        unheard, stream.gap_start = max(0, stream.gap_start - decided), NO_SAMPLE
        if stream.needed <= decided:
            self._replay_rest(stream)
            return
        self._end_open(stream, "gap")
        self._tally.advanced[stream.slot] += unheard
        cut = unheard + self._whole_hops(stream.needed) - stream.needed
        metrics.GAP_SAMPLES.labels(stream.name, reason.name.lower()).inc(cut)
        self._start(stream)

    def _replay_rest(self, stream: Stream) -> None:
        """The ring has lost the begin of what should be replayed: the row hears what is left, events go on."""
        slot = stream.slot
        stream.needed = sample = self._whole_hops(stream.needed)
        self._buffers.clear(slot)
        self._windows.begin(slot, stream.name, sample)
        self._position[slot] = sample

    def _shed(self, stream: Stream, newest_sample: int, max_lag: int) -> None:
        """Skip to the newest window start if the stream is too far behind with all that came analysed."""
        slot = stream.slot
        if newest_sample - self._decided[slot] <= max_lag:
            return
        self._catch_up(slot)
        decided = int(self._decided[slot])
        if newest_sample - decided <= max_lag:
            return
        target = self._windows.grid_start(slot, newest_sample)
        if target <= decided:
            return
        self._end_open(stream, "gap")
        self._count_gap(stream, GapReason.SHED, target - decided)
        stream.gap_start = NO_SAMPLE
        stream.needed = stream.resend_from = target
        self._start(stream)

    def _end_open(self, stream: Stream, reason: EndReason) -> None:
        slot, decided = stream.slot, int(self._decided[stream.slot])
        self._touched.add(stream.name)
        ends = close_all(self._smoother.save(slot), slot, decided)
        if self._confirmation is not None:
            # Where a stream is interrupted its audio may be gone already, so the judge is never asked then.
            is_heard = reason in {"end", "gap"} and self._position[slot] == decided
            window = self._buffers.latest(np.array([slot])) if is_heard else None
            answers, ends = self._confirmation.close(slot, ends, decided, window)
            self._take_answers(answers)
        for told in ends:
            self._tell(stream, told, reason)

    # The model steps.

    def advance(self, most_questions: int | None = None) -> None:
        """Analyse everything that is there in whole output hops.

        Args:
            most_questions: How many streams the judge is asked about at most; the others wait where they need its
                answer. None for all.
        """
        self._step_all()
        while self._confirmation is not None and most_questions != 0:
            slots = self._confirmation.due(self._position, most_questions)
            if not len(slots):
                return
            most_questions = None if most_questions is None else most_questions - len(slots)
            self._ask(slots)
            self._step_all()

    def _catch_up(self, slot: int) -> None:
        """Analyse everything that is there of a slot; other slots may wait for the judge."""
        self._step_all()
        while self._waits_for_judge(slot):
            self._ask(np.array([slot]))
            self._step_all()

    def _waits_for_judge(self, slot: int) -> bool:
        return self._confirmation is not None and bool(self._confirmation.ask_at[slot] == self._position[slot])

    def _ask(self, slots: Slots) -> None:
        if self._confirmation is not None:
            self._take_answers(self._confirmation.ask(slots, self._buffers.latest(slots), self._smoother))

    def _take_answers(self, answers: Answers) -> None:
        """Publish what the judge's answers decide."""
        for verdict in answers.verdicts:
            stream = self._at(verdict.slot)
            if verdict.is_first_refusal:
                stream.refused.append(verdict.label)
            if self._observation.on_verdict is not None:
                self._observation.on_verdict(stream, verdict)
        for told in answers.told:
            self._publish(told)

    def _step_all(self) -> None:
        """Take every step that is possible without an answer of the judge."""
        while groups := self._ready():
            for n_hops, slots in groups:
                n_streams = _MOST_HOPS // n_hops
                for first in range(0, len(slots), n_streams):
                    self._step(n_hops, slots[first : first + n_streams])

    def _ready(self) -> list[tuple[int, Slots]]:
        """Slots with whole output hops, by how many of them one step may take."""
        hops = self._buffers.fill // self._hop
        waiting = np.flatnonzero(hops)
        if not len(waiting):
            return []
        for slot in waiting[self._position[waiting] == self._windows.boundary[waiting]]:
            self._windows.cross(int(slot), int(self._position[slot]))
        position, decided = self._position[waiting], self._decided[waiting]
        limit = self._windows.boundary[waiting]
        limit = np.where(position < decided, np.minimum(limit, decided), limit)
        if self._confirmation is not None:
            limit = np.minimum(limit, self._confirmation.ask_at[waiting])
        hops = np.minimum(hops[waiting], (limit - position) // self._hop)
        groups: list[tuple[int, Slots]] = []
        for n_hops in self._step_hops:
            takes = hops >= n_hops
            if takes.any():
                groups.append((n_hops, waiting[takes]))
                hops[takes] = 0
        return groups

    def _step(self, n_hops: int, slots: Slots) -> None:
        warming = self._windows.warming[slots]
        warms = warming >= 0
        rows = np.concatenate([self._windows.row[slots], warming[warms]])
        heard = self._buffers.take(np.concatenate([slots, slots[warms]]), n_hops * self._hop)
        audio = heard[: len(slots)]
        began_s = time.perf_counter()
        all_scores = self._runtime.step(rows, heard)
        metrics.STEP_SECONDS.observe(time.perf_counter() - began_s)
        metrics.BATCH_SIZE.observe(len(rows))
        scores, position = all_scores[: len(slots)], self._position[slots]
        self._position[slots] += n_hops * self._hop
        is_new = position >= self._decided[slots]
        if (unusable := unusable_rows(all_scores)) is not None:
            restarted = unusable[: len(slots)].copy()
            np.logical_or.at(restarted, np.flatnonzero(warms), unusable[len(slots) :])
            for slot in slots[restarted].tolist():
                self._restart(slot)
            is_new &= ~restarted
        if is_new.any():
            new = slice(None) if is_new.all() else is_new  # a slice copies nothing
            hops = audio.reshape(len(slots), n_hops, self._hop)
            powers = np.vecdot(hops, hops).astype(np.float64) / self._hop
            if self._observation.is_on and (shown := is_new & self._observation.shows(slots)).any():
                names = [self._at(slot).name for slot in slots[shown]]
                self._observation.show(names, position[shown], scores[shown], audio[shown])
            self._decide(slots[new], position[new], scores[new], powers[new])

    def _restart(self, slot: int) -> None:
        """Its model's scores are no probabilities: what is open ends with a gap, and a fresh row hears what follows."""
        stream, position = self._at(slot), int(self._position[slot])
        lost = position - int(self._decided[slot])
        metrics.MODEL_RESTARTS.labels(stream.name).inc()
        self._model_faults.report(stream.name, position / self.sample_rate_hz, self.model)
        if lost > 0:  # in a replay all this was decided on before
            self._end_open(stream, "gap")
            self._smoother.clear(slot)
            if self._confirmation is not None:
                self._confirmation.clear(slot)
            self._tally.advanced[slot] += lost
            self._decided[slot] = position
        self._windows.begin(slot, stream.name, position)

    def _decide(self, slots: Slots, position: NDArray[np.int64], scores: Scores, powers: NDArray[np.float64]) -> None:
        n_samples = scores.shape[1] * self._hop
        self._decided[slots] += n_samples
        self._tally.add(slots, n_samples, powers)
        moved = self._smoother.update(slots, position, self._groups(scores), powers)
        if self._confirmation is not None:
            moved = [told for each in moved for told in self._confirmation.take(each)]
        for told in moved:
            self._publish(told)

    def _publish(self, told: Transition) -> None:
        stream = self._at(told.slot)
        self._touched.add(stream.name)
        self._tell(stream, told)

    def _at(self, slot: int) -> Stream:
        stream = self._by_slot[slot]
        if stream is None:
            raise LookupError(f"slot {slot} holds no stream")
        return stream

    def _tell(
        self,
        stream: Stream,
        told: Transition,
        reason: EndReason | None = None,
        *,
        epoch: int | None = None,
        model: str | None = None,
    ) -> None:
        stream.events.append(
            make_event(
                told,
                stream=stream.name,
                epoch=epoch or stream.epoch,
                sample_rate_hz=self.sample_rate_hz,
                model=model or self.model,
                reason=reason,
                arrived_at_s=self._table.arrived_at(stream.slot, told.decided) if reason is None else None,
            )
        )

    # What is to be committed comes out.

    def mark(self, name: str) -> None:
        """Make the next `collect` write a checkpoint of this stream."""
        self._touched.add(name)

    def collect(self, most_questions: int | None = None) -> list[StreamCommit]:
        """Analyse what is there; what the streams then have to commit: new events, ends, checkpoints that are due.

        A stream that waits for the judge commits later: no checkpoint lies before an answer and after its audio.

        Args:
            most_questions: As for `advance`.
        """
        self.advance(most_questions)
        due = np.flatnonzero(self._decided - self._checkpointed >= self._checkpoint)
        names = self._touched.union(stream.name for slot in due if (stream := self._by_slot[slot]) is not None)
        waiting = {name for name in names if self._waits_for_judge(self.streams[name].slot)}
        commits = [self._commit_of(self.streams[name]) for name in sorted(names - waiting)]
        self._touched = self._touched & waiting
        return commits

    @property
    def has_questions(self) -> bool:
        """Whether a stream waits for the judge, though nothing more of it need come."""
        return self._confirmation is not None and len(self._confirmation.due(self._position, 1)) > 0

    def _commit_of(self, stream: Stream) -> StreamCommit:
        slot = stream.slot
        decided, row_start = int(self._decided[slot]), int(self._windows.row_start[slot])
        if stream.end is None:
            state = self._smoother.save(slot)
            if self._confirmation is not None:
                state = self._confirmation.save(slot, state)
            checkpoint = Checkpoint(stream.epoch, decided, row_start, self.model, state)
        else:
            checkpoint = None
            self._end_open(stream, "end")
            stream.retired.append((stream.epoch, stream.end))
        self._checkpointed[slot] = self._decided[slot]
        commit = StreamCommit(stream.name, stream.revision, checkpoint, stream.events, stream.retired, stream.refused)
        stream.events, stream.retired, stream.refused = [], [], []
        return commit

    def committed(self, commit: StreamCommit) -> Ack:
        """Note that a commit is durable. A stream whose epoch has ended is forgotten.

        Returns:
            What to tell its streamer.
        """
        stream = self.streams[commit.stream]
        stream.revision += 1
        if commit.checkpoint is None:
            stream.keep_sample = stream.end or 0
            self.drop(stream.name)
        else:
            stream.keep_sample = commit.checkpoint.row_start
        return self.ack(stream)

    def unacknowledged(self) -> list[Stream]:
        """Streams of which `ACK_S` of audio came since their last `ack`."""
        behind = self._table.needed - self._table.acknowledged >= self._ack_samples
        return [stream for slot in np.flatnonzero(behind) if (stream := self._by_slot[slot]) is not None]

    def ack(self, stream: Stream) -> Ack:
        """What a stream's streamer should know now."""
        self._table.acknowledged[stream.slot] = stream.needed
        return Ack(stream.name, stream.epoch, stream.keep_sample, stream.needed, stream.resend_from)

    def measure(self, name: str, coverage: Coverage, now_s: float) -> int:
        """Move what was counted since the last call into ``coverage``; the samples that were analysed."""
        slot = self.streams[name].slot
        self._count_received(name, slot)
        return self._tally.move(slot, coverage, now_s)

    def take_level(self, stream: Stream) -> float | None:
        """Mean power of what a stream was heard to be since the last call, full scale 1; None where it was not."""
        return self._tally.take_level(stream.slot)

    def lag_s(self, stream: Stream) -> float:
        """Audio of a stream that its streamer had when it last sent, and that is not decided on, seconds."""
        newest = int(self._table.newest[stream.slot])
        return max(0, newest - int(self._decided[stream.slot])) / self.sample_rate_hz

    def utc_ns(self, stream: Stream, sample: int) -> int:
        """UTC of a stream's sample, nanoseconds since 1970."""
        return self._smoother.utc_ns(stream.slot, sample)

    def _count_received(self, name: str, slot: int) -> None:
        clocks = self._table
        metrics.RECEIVED_BLOCKS.labels(name).inc(int(clocks.n_blocks[slot]))
        metrics.RECEIVED_SAMPLES.labels(name).inc(int(clocks.n_samples[slot]))
        clocks.n_blocks[slot] = clocks.n_samples[slot] = 0

    def _whole_hops(self, sample: int) -> int:
        """The first whole output hop that is not before ``sample``."""
        return -(-sample // self._hop) * self._hop
