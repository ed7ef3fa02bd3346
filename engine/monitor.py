"""Shows the streams to whoever asks: statuses, frames, refused candidates, scores, and audio of those that allow it.

It costs nothing where nobody asks.

Features are computed again for the streams that are watched, so that no runtime has to hand out its own.
"""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec
from earmark.contracts.monitor import Frames, RefusedCandidate, StepAudio, StepScores, StreamStatus
from earmark.contracts.streams import format_epoch
from earmark.outbox.monitor import Asked, MonitorSender
from earmark.telemetry.refusals import Refusals
from engine.analyser import Analyser
from engine.confirmation import Verdict
from engine.frontend import LogMel
from engine.runtimes import Audio, Scores
from engine.stream import Stream

UP_S = 5.0
_LOWEST_DB = -120.0


class Monitor:
    """An engine's window.

    Args:
        context: The process's.
        outbox: Beside which publishers listen.
        analyser: Whose streams are shown.
        spec: Of the bundle that it runs.
        clips: Streams whose audio may be shown.
        refusals: Count who asks for another's.
    """

    def __init__(
        self,
        context: "zmq.Context[Any]",
        outbox: Path,
        analyser: Analyser,
        spec: BundleSpec,
        *,
        clips: Collection[str] = (),
        refusals: Refusals | None = None,
    ) -> None:
        self._sender = MonitorSender(context, outbox)
        self._analyser = analyser
        self._spec = spec
        self._front_end = LogMel(spec.front_end)
        self._clips = frozenset(clips)
        self._refusals = refusals or Refusals()
        self._asked = Asked()
        self._tails: dict[str, NDArray[np.float32]] = {}
        self._audible: frozenset[str] = frozenset()
        self._noted: list[StreamStatus] = []

    def look_up(self) -> None:
        """See who asks for what now."""
        asked = self._sender.asked()
        if asked is not self._asked:
            self._look(asked)

    def allow(self, clips: Collection[str]) -> None:
        """From now on show the audio of these streams alone."""
        self._clips = frozenset(clips)
        self._look(self._asked)

    def _look(self, asked: Asked) -> None:
        self._asked = asked
        self._tails = {name: self._tails.get(name, self._silence()) for name in asked.frames}
        self._audible = self._clips.intersection(asked.audio)
        for name in sorted({*asked.audio} - self._clips):
            self._refusals.count("audio", name, f"asked for without streams.{name}.clips: true")
        streams = None if asked.scores else {*self._tails, *self._audible}
        self._analyser.observe(self._show if streams is None or streams else None, streams)
        self._analyser.observe_verdicts(self._show_verdict if asked.refused else None)

    def _silence(self) -> NDArray[np.float32]:
        return np.zeros(self._front_end.tail_length, np.float32)

    def note_status(self, name: str, coverage: float, coverage_s: float, now_s: float) -> None:
        """See how a stream is that should be heard or was, and how loud since the last call."""
        stream = self._analyser.streams.get(name)
        power = None if stream is None else self._analyser.take_level(stream)
        if self._asked.statuses:
            status = StreamStatus(
                stream=name,
                up=stream is not None and now_s - stream.arrived_s < UP_S,
                coverage=coverage,
                coverage_s=round(coverage_s, 1),
                level_db=round(10 * math.log10(power), 1) if power else None,
                lag_s=0.0 if stream is None else round(self._analyser.lag_s(stream), 3),
            )
            self._noted.append(status)

    def show_statuses(self) -> None:
        """Send what was noted since the last call."""
        if self._noted:
            self._sender.send_statuses(tuple(self._noted))
            self._noted = []

    def _show(self, names: Sequence[str], starts: NDArray[np.int64], scores: Scores, audio: Audio) -> None:
        if self._asked.scores:
            self._show_scores(names, starts, scores)
        for i, name in enumerate(names):
            if name in self._tails:
                self._show_frames(name, int(starts[i]), scores[i], audio[i])
            if name in self._audible:
                # They were PCM, and float32 holds every value of int16.
                pcm = np.rint(audio[i] * 32768).astype(np.int16)
                self._sender.send_audio(StepAudio(name, self._epoch(name), int(starts[i]), pcm))

    def _show_verdict(self, stream: Stream, verdict: Verdict) -> None:
        if verdict.answer.agrees or stream.name not in self._asked.refused:
            return
        self._sender.send_refused(
            RefusedCandidate(
                stream=stream.name,
                epoch=format_epoch(stream.epoch),
                label=verdict.label,
                onset_ns=verdict.onset_ns,
                until_ns=self._analyser.utc_ns(stream, verdict.at),
                score=verdict.answer.score,
            )
        )

    def _epoch(self, name: str) -> str:
        return format_epoch(self._analyser.streams[name].epoch)

    def _show_scores(self, names: Sequence[str], starts: NDArray[np.int64], scores: Scores) -> None:
        self._sender.send_scores(
            StepScores(
                streams=tuple(names),
                epochs=tuple(map(self._epoch, names)),
                first_samples=tuple(starts.tolist()),
                hop=self._spec.output_hop,
                sample_rate_hz=self._spec.sample_rate_hz,
                scores=scores,
            )
        )

    def _show_frames(self, name: str, start: int, scores: NDArray[np.float32], audio: NDArray[np.float32]) -> None:
        stream, hop = self._analyser.streams[name], self._spec.output_hop
        heard = np.concatenate([self._tails[name], audio])
        self._tails[name] = heard[len(heard) - self._front_end.tail_length :]
        powers = np.square(audio, dtype=np.float64).reshape(-1, hop).mean(axis=1)
        self._sender.send_frames(
            Frames(
                stream=name,
                epoch=format_epoch(stream.epoch),
                first_sample=start,
                first_ns=self._analyser.utc_ns(stream, start),
                hop=hop,
                sample_rate_hz=self._spec.sample_rate_hz,
                level_db=np.maximum(_LOWEST_DB, 10 * np.log10(powers + 1e-30)).astype(np.float32),
                features=self._front_end(heard[None])[0],
                scores=scores,
            )
        )

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()
