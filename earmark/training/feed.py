"""Feeds the loop: a worker process mixes scenes into features and labels, a pool uses each of them a few times."""

import os
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Full

import numpy as np
from numpy.typing import NDArray

from earmark.training.activity import TICK_S
from earmark.training.scenes import Scene, SceneMixer
from engine.frontend import LogMel

MAX_EVENTS = 8
"""Events of a scene that the loss takes one by one; the frame labels know them all."""
_NICENESS = 10
_QUEUE_BATCHES = 8
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Examples:
    """Scenes as the model sees them.

    Attributes:
        features: float32 ``[B, T, n_mels]``.
        labels: bool ``[B, T / hops_per_score, C]``.
        event_labels: int64 ``[B, MAX_EVENTS]``, a class or -1 for none.
        event_frames: bool ``[B, MAX_EVENTS, T / hops_per_score]``, where each event is active.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.bool_]
    event_labels: NDArray[np.int64]
    event_frames: NDArray[np.bool_]


class Encoder:
    """Turns scenes into examples.

    Args:
        front_end: The bundle's features.
        n_labels: Classes.
        hops_per_score: Hops that share a label.
    """

    def __init__(self, front_end: LogMel, n_labels: int, hops_per_score: int) -> None:
        self._front_end, self._n_labels, self._hops = front_end, n_labels, hops_per_score
        spec = front_end.spec
        self._ticks = round(spec.hop_length * hops_per_score / spec.sample_rate_hz / TICK_S)

    def __call__(self, scenes: list[Scene]) -> Examples:
        """Features from the scene's first sample on, as a fresh stream has them, and labels: any active tick counts."""
        audio = np.stack([scene.audio for scene in scenes])
        features = self._front_end(np.pad(audio, ((0, 0), (self._front_end.tail_length, 0))))
        n_frames = audio.shape[1] // (self._front_end.spec.hop_length * self._hops)
        labels = np.zeros((len(scenes), n_frames, self._n_labels), bool)
        event_labels = np.full((len(scenes), MAX_EVENTS), -1)
        event_frames = np.zeros((len(scenes), MAX_EVENTS, n_frames), bool)
        for row, scene in enumerate(scenes):
            for i, (label, active) in enumerate(scene.events):
                frames = active[: n_frames * self._ticks].reshape(n_frames, self._ticks).any(axis=1)
                labels[row, :, label] |= frames
                if i < MAX_EVENTS:
                    event_labels[row, i], event_frames[row, i] = label, frames
        return Examples(features, labels, event_labels, event_frames)


def batches(
    mixer: SceneMixer, encoder: Encoder, *, batch: int, fresh: int, pool: int, seed: int
) -> Generator[Examples, None, None]:
    """Endless batches of ``batch`` scenes, drawn from the newest ``pool``, of which ``fresh`` are replaced each time.

    The scenes come from a worker process of low priority; what is drawn depends on ``seed`` alone.
    """
    context = get_context("spawn")  # a fork of a process with threads may wait for a lock that nobody holds
    queue: Queue[Examples] = context.Queue(_QUEUE_BATCHES)
    worker = context.Process(target=_mix_for_ever, args=(mixer, encoder, queue, fresh, seed), daemon=True)
    worker.start()
    rng = np.random.default_rng([seed, 1])
    scenes: deque[tuple[NDArray[np.generic], ...]] = deque(maxlen=pool)
    try:
        while True:
            for _ in range(1 if len(scenes) >= 4 * batch else 4 * batch // fresh):
                made = queue.get(timeout=_TIMEOUT_S)
                scenes.extend(zip(made.features, made.labels, made.event_labels, made.event_frames, strict=True))
            chosen = rng.choice(len(scenes), batch, replace=False)
            yield Examples(*(np.stack(parts) for parts in zip(*(scenes[i] for i in chosen), strict=True)))
    finally:
        worker.terminate()
        worker.join()


def _mix_for_ever(mixer: SceneMixer, encoder: Encoder, queue: "Queue[Examples]", count: int, seed: int) -> None:
    os.nice(_NICENESS)
    rng = np.random.default_rng([seed, 0])
    parent = os.getppid()
    while True:
        examples = encoder([mixer.scene(rng) for _ in range(count)])
        while os.getppid() == parent:
            try:
                queue.put(examples, timeout=1.0)
                break
            except Full:
                continue
        else:
            # The loop was killed: nobody will ever take these.
            return
