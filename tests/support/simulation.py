"""A streamer's ring and an engine in one process, without sockets, to be crashed at any step.

The ring is the whole recording as a list of records; the engine is the real `Analyser` over a real `Outbox`. Random
draws decide how much is delivered, when the analyser works, what is lost or repeated, and when the engine dies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import AudioBlock, Gap, GapReason, Record
from earmark.contracts.wire import encode_records, read_messages
from earmark.outbox import Outbox, OutboxReader
from engine.analyser import Analyser
from engine.confirmation import open_confirmation
from engine.judging import ConfirmConfig
from engine.runtimes.onnxruntime import OnnxRuntime

RATE_HZ = 16_000
START_NS = 1_700_000_000_000_000_000


def make_records(
    pcm: NDArray[np.int16],
    *,
    stream: str = "gate",
    epoch: int = 7,
    block: int = 1000,
    gaps: Sequence[tuple[int, int]] = (),
) -> list[Record]:
    """The records of one epoch: ``pcm`` in blocks, with gaps ``(at, n)`` that replace those samples, and the end."""
    common = {"stream": stream, "epoch": epoch, "sample_rate_hz": RATE_HZ, "newest_sample": len(pcm), "can_wait": True}
    records: list[Record] = []
    at = 0
    for gap_at, gap_n in [*gaps, (len(pcm), 0)]:
        while at < gap_at:
            end = min(at + block, gap_at)
            records.append(
                AudioBlock(first_sample=at, captured_at_ns=START_NS + at * 62_500, pcm=pcm[at:end], **common)
            )
            at = end
        if gap_n:
            records.append(Gap(first_sample=at, captured_at_ns=0, n_samples=gap_n, reason=GapReason.DEVICE, **common))
            at += gap_n
    end = AudioBlock(
        first_sample=len(pcm), captured_at_ns=START_NS + len(pcm) * 62_500, pcm=pcm[:0], end=True, **common
    )
    return [*records, end]


class Engine:
    """One life of an engine over an outbox.

    Args:
        bundle: What it runs.
        outbox: Where it commits.
        confirm: What confirms its onsets.
        most_questions: Streams that the judge is asked about in one commit; None for all.
        settings: The analyser's.
    """

    def __init__(
        self,
        bundle: Bundle,
        outbox: Path,
        *,
        confirm: ConfirmConfig | None = None,
        most_questions: int | None = None,
        **settings: float,
    ) -> None:
        self.outbox = Outbox(outbox)
        confirmation = open_confirmation(bundle, confirm)
        self.analyser = Analyser(OnnxRuntime(bundle), confirmation=confirmation, **settings)
        self.keep: dict[str, int] = {}
        self.refused: list[tuple[str, str]] = []
        """Streams and labels of onsets that the judge refused, once it is durable."""
        self._most_questions = most_questions

    def deliver(self, record: Record) -> str | None:
        """Hand a record over, as the service does; why it was refused."""
        streams = self.analyser.streams
        if record.stream not in streams or streams[record.stream].epoch != record.epoch:
            end = self.outbox.retired_end(record.stream, record.epoch)
            if end is not None:
                self.keep[record.stream] = end
                return "dead_epoch"
            if record.stream in streams:
                self.analyser.mark(record.stream)
                self.commit()
                if record.stream in streams:
                    self.analyser.drop(record.stream)
            if self.analyser.open(record.stream, record.epoch, self.outbox.load(record.stream)).retired:
                self.commit()
        return self.analyser.accept(record, 0.0)

    def deliver_together(self, records: Sequence[Record]) -> None:
        """Hand records over as one message, as the service does with what has come."""
        table, errors = read_messages([encode_records(records)])
        assert not errors
        is_taken = self.analyser.accept_many(table, 0.0)
        for i in np.flatnonzero(~is_taken).tolist():
            self.deliver(table.record(i))

    def commit(self) -> set[str]:
        """Analyse and commit; the streams that were refused."""
        commits = self.analyser.collect(self._most_questions)
        refused = self.outbox.commit(commits)
        for commit in commits:
            if commit.stream in refused:
                self.analyser.drop(commit.stream)
            else:
                ack = self.analyser.committed(commit)
                self.keep[commit.stream] = ack.keep_sample
                self.refused += [(commit.stream, label) for label in commit.refused]
        return refused

    def die(self) -> None:
        """Lose everything that is not in the outbox."""
        self.outbox.close()


def stored_events(outbox: Path) -> list[SoundEvent]:
    """All events of an outbox."""
    reader = OutboxReader(outbox)
    events = [stored.event for stored in reader.read(0, 1_000_000)]
    reader.close()
    return events


def essence(events: Sequence[SoundEvent]) -> list[tuple[object, ...]]:
    """What must be the same whatever crashed in between."""
    return sorted(
        (
            e.event_id,
            e.phase,
            e.label,
            e.onset_sample,
            e.offset_sample or -1,
            e.reason or "",
            str(e.onset_time),
            str(e.offset_time),
        )
        for e in events
    )


def run_undisturbed(bundle: Bundle, outbox: Path, records: Sequence[Record], **settings: Any) -> list[SoundEvent]:
    """The events of a run in which nothing goes wrong."""
    engine = Engine(bundle, outbox, **settings)
    has_gaps = any(isinstance(record, Gap) for record in records)
    for record in records:
        # a block that ends before the first whole hop after a gap is not needed any more
        assert engine.deliver(record) in ({None, "repeated"} if has_gaps else {None})
    while records[-1].stream in engine.analyser.streams:
        engine.commit()  # more than once where it may not ask the judge about everything at once
    engine.die()
    return stored_events(outbox)


def run_disturbed(
    bundle: Bundle, outbox: Path, records: Sequence[Record], rng: np.random.Generator, crashes: int, **settings: Any
) -> list[SoundEvent]:
    """The events of a run with so many crashes, and losses, repeats and long batches between them."""
    engine = Engine(bundle, outbox, **settings)
    stream, end = records[-1].stream, records[-1].end_sample
    cursor, kept = 0, 0
    steps = 0
    while engine.keep.get(stream, 0) < end:
        steps += 1
        assert steps < 100_000, "does not settle"
        upcoming = records[cursor : cursor + int(rng.integers(1, 40))]
        n_each = rng.choice([0, 1, 2], len(upcoming), p=[0.02, 0.96, 0.02])
        arriving = [record for record, n in zip(upcoming, n_each, strict=True) for _ in range(n)]
        if rng.random() < 0.5:
            for record in arriving:
                engine.deliver(record)
        elif arriving:
            engine.deliver_together(arriving)
        cursor += len(upcoming)
        if rng.random() < 0.7:
            engine.commit()
            kept = max(kept, engine.keep.get(stream, 0))
        open_stream = engine.analyser.streams.get(stream)
        if open_stream is not None and open_stream.resend_from >= 0:
            assert open_stream.resend_from >= kept, "asks for audio that the ring may have forgotten"
            cursor = next(
                i
                for i, record in enumerate(records)
                if record.end_sample > open_stream.resend_from or i == len(records) - 1
            )
        if crashes and rng.random() < 0.15:
            crashes -= 1
            engine.die()
            engine = Engine(bundle, outbox, **settings)
            engine.keep[stream] = kept
        if cursor >= len(records):
            cursor = len(records) - 1
    engine.die()
    return stored_events(outbox)
