"""Shows the streams to whoever looks: statuses every second, frames of single streams. Costs nothing while nobody does.

Features are computed again for the streams that are watched, so that no runtime has to hand out its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec
from earmark.contracts.monitor import Frames, StreamStatus
from earmark.contracts.streams import format_epoch
from earmark.outbox.monitor import MonitorSender
from engine.analyser import Analyser
from engine.frontend import LogMel
from engine.runtimes import Audio, Scores

UP_S = 5.0
_LOWEST_DB = -120.0


class Monitor:
    """An engine's window.

    Args:
        context: The process's.
        outbox: Beside which publishers listen.
        analyser: Whose streams are shown.
        spec: Of the bundle that it runs.
    """

    def __init__(self, context: "zmq.Context[Any]", outbox: Path, analyser: Analyser, spec: BundleSpec) -> None:
        self._sender = MonitorSender(context, outbox)
        self._analyser = analyser
        self._spec = spec
        self._front_end = LogMel(spec.front_end)
        self._tails: dict[str, NDArray[np.float32]] = {}
        self._wants_statuses = False

    def look_up(self) -> None:
        """See who looks at what now."""
        self._wants_statuses, streams = self._sender.asked()
        self._tails = {name: self._tails.get(name, self._silence()) for name in streams}
        self._analyser.observe(self._show if streams else None, streams)

    def _silence(self) -> NDArray[np.float32]:
        return np.zeros(self._front_end.tail_length, np.float32)

    def show_statuses(self, coverage: Mapping[str, float], now_s: float) -> None:
        """Send how every stream is that should be heard or was; ``coverage`` is the ratio of each."""
        levels = self._analyser.take_levels()
        if self._wants_statuses:
            self._sender.send_statuses(
                tuple(self._status(name, ratio, levels.get(name), now_s) for name, ratio in coverage.items())
            )

    def _status(self, name: str, coverage: float, power: float | None, now_s: float) -> StreamStatus:
        stream = self._analyser.streams.get(name)
        return StreamStatus(
            stream=name,
            up=stream is not None and now_s - stream.arrived_s < UP_S,
            coverage=coverage,
            level_db=round(10 * np.log10(power), 1) if power else None,
            lag_s=0.0 if stream is None else round(self._analyser.lag_s(stream), 3),
        )

    def _show(self, names: Sequence[str], starts: NDArray[np.int64], scores: Scores, audio: Audio) -> None:
        hop, rate_hz = self._spec.output_hop, self._spec.sample_rate_hz
        for i, name in enumerate(names):
            stream = self._analyser.streams[name]
            heard = np.concatenate([self._tails[name], audio[i]])
            self._tails[name] = heard[len(heard) - self._front_end.tail_length :]
            powers = np.square(audio[i], dtype=np.float64).reshape(-1, hop).mean(axis=1)
            self._sender.send_frames(
                Frames(
                    stream=name,
                    epoch=format_epoch(stream.epoch),
                    first_sample=int(starts[i]),
                    first_ns=self._analyser.utc_ns(stream, int(starts[i])),
                    hop=hop,
                    sample_rate_hz=rate_hz,
                    level_db=np.maximum(_LOWEST_DB, 10 * np.log10(powers + 1e-30)).astype(np.float32),
                    features=self._front_end(heard[None])[0],
                    scores=scores[i],
                )
            )

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()
