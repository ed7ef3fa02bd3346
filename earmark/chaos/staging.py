"""What a schedule's service is made of: a configuration whose streams are scenes and whose addresses are its own."""

import itertools
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from earmark.app.config import ServiceConfig
from earmark.app.load import Service
from earmark.chaos.undisturbed import hear
from earmark.contracts.streams import Pcm
from earmark.synthesis.scene import make_scene, write_pcm
from engine.analyser import Analyser
from engine.confirmation import open_confirmation
from engine.detector import Detector
from engine.runtimes.onnxruntime import OnnxRuntime
from streamer.sender import find_engine

MOST_STREAMS = 4
SCENE_S = 30.0
CHECKPOINT_S = 0.5
"""Commits are how recovery shows."""
_PORTS = 10_000, 32_000
_CLEAR = 1e-4
"""No score may be so near to a threshold that another batch's rounding could decide."""


@dataclass(frozen=True)
class Staging:
    """What all schedules of a run have in common.

    Attributes:
        service: Whose configuration is tried.
        sounds: What its streams hear, at the bundle's rate.
    """

    service: Service
    sounds: Mapping[str, Pcm]

    @property
    def config(self) -> ServiceConfig:
        """The configuration that is tried."""
        return self.service.config

    @property
    def name(self) -> str:
        """What results of it are kept under."""
        shards = len(self.config.engine.bind) if self.config.engine.shards else 1
        return f"{self.service.model}, streams {', '.join(self.sounds)}, engines {shards}"


def stage(service: Service) -> Staging:
    """Scenes for a configuration's first four streams."""
    names = list(service.config.streams)[:MOST_STREAMS]
    detector = Detector(service.bundle.folder)
    scenes = (_scene(number, detector.sample_rate_hz) for number in itertools.count())
    clear = (pcm for pcm in scenes if _is_clear(service, detector, pcm) and _is_clear_to_judge(service, pcm))
    return Staging(service, dict(zip(names, clear, strict=False)))


def _scene(seed: int, sample_rate_hz: int) -> Pcm:
    audio = make_scene(seed, SCENE_S, sample_rate_hz=sample_rate_hz).audio
    return np.clip(np.rint(audio * 32768), -32768, 32767).astype(np.int16)


def _is_clear(service: Service, detector: Detector, pcm: Pcm) -> bool:
    spec = service.bundle.spec
    scores = detector.scores(pcm, detector.sample_rate_hz)
    smoothings = [spec.smoothing_of(label) for label in spec.labels]
    thresholds = np.array([[each.onset_threshold, each.offset_threshold] for each in smoothings]).T
    return bool((np.abs(scores[None] - thresholds[:, None]) > _CLEAR).all())


def _is_clear_to_judge(service: Service, pcm: Pcm) -> bool:
    confirmation = open_confirmation(service.bundle, service.config.engine.confirm)
    if confirmation is None:
        return True
    margins: list[float] = []
    analyser = Analyser(OnnxRuntime(service.bundle), confirmation=confirmation)
    analyser.observe_verdicts(lambda _stream, verdict: margins.append(verdict.answer.margin))
    hear(analyser, "scene", 1, pcm, ends=True)
    return min(margins, default=1.0) > _CLEAR


@dataclass(frozen=True)
class Addresses:
    """Ports of a service in the lab."""

    engines: tuple[int, ...]
    events_at: str
    history_at: str
    telemetry: Mapping[str, str]

    @classmethod
    def free(cls, n_engines: int) -> "Addresses":
        """That nothing uses now."""
        *engines, events, history, streamer, publishers, supervisor = free_ports(n_engines + 5, step=2)
        return cls(
            tuple(engines),
            f"tcp://127.0.0.1:{events}",
            f"tcp://127.0.0.1:{history}",
            {
                "streamer": f"127.0.0.1:{streamer}",
                "engine": f"127.0.0.1:{free_ports(n_engines, step=10)[0]}",
                "publishers": f"127.0.0.1:{publishers}",
                "supervisor": f"127.0.0.1:{supervisor}",
            },
        )


def free_ports(n: int, step: int = 1) -> tuple[int, ...]:
    """``n`` loopback ports, ``step`` apart, that are free now; the one behind each of them is too.

    They lie below those that the system gives to connections: while nobody listens at one of these, a connection that
    is tried again and again may be given the very port that it wants to reach, and whoever should listen there cannot.
    """
    while True:
        first = random.randrange(*_PORTS)  # noqa: S311 -- guards no secret
        found = tuple(range(first, first + n * step, step))
        if all(_is_free(port) and _is_free(port + 1) for port in found):
            return found


def _is_free(port: int) -> bool:
    with socket.socket() as holder:
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def idle_streams(engines: Sequence[str]) -> list[str]:
    """Names of silent streams, one at home at each engine: they show that it works when all scenes are heard."""
    names = [f"idle-{i}" for i in range(1000)]
    return [next(name for name in names if find_engine(name, engines) == engine) for engine in engines]


def write_config(staging: Staging, folder: Path, state: Path, addresses: Addresses, engines: Sequence[str]) -> Path:
    """Write what the lab's service runs.

    Args:
        staging: What is tried.
        folder: For the scenes and the configuration.
        state: For the outbox and the events' file.
        addresses: Where it listens.
        engines: Where the streamer sends.

    Returns:
        The configuration's path.
    """
    config, rate = staging.config, staging.service.bundle.spec.sample_rate_hz
    streams: dict[str, Any] = {name: {"source": "silence", "sample_rate_hz": rate} for name in idle_streams(engines)}
    for name, pcm in staging.sounds.items():
        write_pcm(folder / f"{name}.wav", pcm, rate)
        labels = config.streams[name].model_dump(mode="json", include={"labels"}, exclude_defaults=True)
        path = str(folder / f"{name}.wav")
        streams[name] = {"source": "file", "path": path, "pace": "fast", "sample_rate_hz": rate, **labels}
    confirm: dict[str, Any] = {}
    if judging := staging.service.judging:
        bundle = str(judging.bundle.folder.absolute())
        confirm = {"confirm": {**_changes(config.engine.confirm), "bundle": bundle}}
    document = {
        "streams": streams,
        "streamer": {**_changes(config.streamer), "engines": list(engines)},
        "engine": {
            **_changes(config.engine),
            "bind": [f"tcp://127.0.0.1:{port}" for port in addresses.engines],
            "bundle": str(staging.service.bundle.folder.absolute()),
            "checkpoint_s": min(CHECKPOINT_S, config.engine.checkpoint_s),
            **confirm,
        },
        "outbox": {**_changes(config.outbox), "path": str(state / "outbox.db")},
        "publishers": {
            "zeromq": {"bind": addresses.events_at, "history_bind": addresses.history_at},
            "jsonl": {"path": str(state / "events.jsonl")},
            "http": None,
        },
        "telemetry": dict(addresses.telemetry),
    }
    path = folder / "earmark.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


def _changes(section: Any) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_defaults=True)
