"""A clips' sink over real files, with a monitor that a test speaks for."""

from datetime import UTC, datetime, timedelta

import numpy as np

from earmark.contracts.events import SoundEvent, event_id
from earmark.contracts.monitor import StepAudio, StepScores
from earmark.contracts.streams import format_epoch
from earmark.outbox import StoredEvent
from publishers.clips.config import ClipsConfig
from publishers.clips.files import ClipFiles
from publishers.clips.index import ClipIndex
from publishers.clips.retention import ClipRetention
from publishers.clips.sink import ClipsSink
from publishers.http.about import About
from tests.support.uptime import Machine

RATE_HZ, HOP = 16_000, 640
BEGAN = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


class Monitor:
    """Hands on what `Room` says."""

    def __init__(self):
        self.takers = {}

    def watch_scores(self, take):
        self.takers["scores"] = take
        return lambda: self.takers.pop("scores")

    def watch_audio(self, stream, take):
        self.takers[stream] = take
        return lambda: self.takers.pop(stream)


class Room:
    """Streams ``gate``, which allows clips, and ``yard``, which does not, heard by the tiny bundle.

    Args:
        folder: For the files.
        bundle: Whose labels there are.
        config: Of the sink.
    """

    def __init__(self, folder, bundle, **config):
        self.folder = folder
        self.labels = bundle.spec.labels
        self.monitor = Monitor()
        self.now_s = 1000.0
        self.machine = Machine()
        self.config = ClipsConfig.model_validate(
            {"folder": folder, "before_s": 1.0, "after_s": 1.0, "max_s": 10.0, "forbid_labels": [], **config}
        )
        self.about = About(("gate", "yard"), bundle.identity, bundle.spec, clips=("gate",))
        self.files = ClipFiles(folder)
        self.at = 0
        self.pcm = np.zeros(0, np.int16)
        self.seq = 0
        self.retention = None
        self.start()

    def start(self):
        """The sink of a fresh process."""
        self.close()
        index = ClipIndex(self.folder.with_name("outbox.db.clips"), self.machine)
        self.retention = ClipRetention(self.folder, index, lambda: self.now_s)
        self.sink = ClipsSink(
            self.config,
            self.monitor,
            self.about,
            self.retention,
            streams=self.about.clips,
            clock=lambda: self.now_s,
        )
        self.sink.resume(None, 0)

    def close(self):
        """What a killed process leaves is closed."""
        if self.retention is not None:
            self.retention.close()

    def hear(self, seconds, stream="gate", epoch=7, audio=True, scored=True, **scores):
        """Noise in steps of the engine, scored 0.01 but for what ``scores`` says by label."""
        rng = np.random.default_rng(self.at)
        values = np.full(len(self.labels), 0.01, np.float32)
        for label, score in scores.items():
            values[self.labels.index(label)] = score
        for _ in range(round(seconds * RATE_HZ / HOP)):
            pcm = rng.integers(-30_000, 30_000, HOP).astype(np.int16)
            if scored:
                step = StepScores((stream,), (format_epoch(epoch),), (self.at,), HOP, RATE_HZ, values[None, None])
                self.monitor.takers["scores"](step)
            if audio and stream in self.about.clips:
                self.monitor.takers[stream](StepAudio(stream, format_epoch(epoch), self.at, pcm))
            self.pcm = np.concatenate([self.pcm, pcm])
            self.at += HOP
            self.now_s += HOP / RATE_HZ

    def tell(self, onset_s, offset_s=None, *, label="low", stream="gate", epoch=7, reason=None):
        """An event reaches the sink; its id and both phases as the outbox has them."""
        onset = round(onset_s * RATE_HZ)
        event = SoundEvent(
            event_id=event_id(stream, epoch, label, onset),
            seq=0,
            stream=stream,
            epoch=format_epoch(epoch),
            label=label,
            phase="onset",
            onset_sample=onset,
            offset_sample=None,
            sample_rate_hz=RATE_HZ,
            onset_time=BEGAN + timedelta(seconds=onset_s),
            offset_time=None,
            score_peak=0.9,
            score_mean=0.8,
            level_db=-20.0,
            reason=None,
            decided_at=BEGAN,
            delay_ms=1.0,
            model=self.about.model,
        )
        if offset_s is not None:
            event = event.model_copy(
                update={
                    "phase": "offset",
                    "offset_sample": round(offset_s * RATE_HZ),
                    "offset_time": BEGAN + timedelta(seconds=offset_s),
                    "reason": reason,
                }
            )
        self.seq += 1
        self.sink.publish([StoredEvent(self.seq, stream, label, event.model_dump_json(exclude={"seq"}))])
        self.sink.tick(self.seq)
        return event
