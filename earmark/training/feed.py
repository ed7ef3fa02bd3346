"""Feeds the loop: a worker process mixes scenes into features and labels, a pool uses each of them a few times."""

import os
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, fields
from itertools import count
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from queue import Empty, Full

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError
from earmark.training.activity import TICK_S
from earmark.training.scenes import Scene, SceneMixer
from earmark.training.teacher import COLUMN, Teacher
from engine.frontend import LogMel

AUDIBLE_DB = -12.0
"""A sound that is softer than this against all else while it lasts can hardly be told: the loss does not ask which one
it is."""
MAX_EVENTS = 8
"""Events of a scene that the loss takes one by one; the frame labels know them all."""
_NICENESS = 10
_QUEUE_BATCHES = 8
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Examples:
    """Scenes as the model sees them.

    Attributes:
        features: float32 ``[B, T, n_mels]``.
        labels: float16 ``[B, T / hops_per_score, C]``: 0 or 1; for a class that may sound besides the teacher's score,
            where that is more.
        event_labels: int64 ``[B, MAX_EVENTS]``, a class or -1 for none and for what cannot be heard.
        event_frames: bool ``[B, MAX_EVENTS, T / hops_per_score]``, where each event is active.
        taught: float16 ``[B, W, D]``, what the teacher made of each of its columns; W is 0 without a teacher.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.float16]
    event_labels: NDArray[np.int64]
    event_frames: NDArray[np.bool_]
    taught: NDArray[np.float16]

    def first(self, count: int) -> "Examples":
        """The first ``count`` scenes, or all where there are fewer."""
        return Examples(*(getattr(self, field.name)[:count] for field in fields(self)))


class Encoder:
    """Turns scenes into examples.

    Args:
        front_end: The bundle's features.
        labels: The classes.
        hops_per_score: Hops that share a label.
        teacher: Hears the sound of every scene, too, before a microphone spoils it.

    Raises:
        ConfigError: A label would not be of whole ticks, so that labels and features would drift apart.
    """

    def __init__(
        self, front_end: LogMel, labels: tuple[str, ...], hops_per_score: int, teacher: Teacher | None = None
    ) -> None:
        self._front_end, self._labels, self._teacher = front_end, labels, teacher
        spec = front_end.spec
        self._output_hop, tick = spec.hop_length * hops_per_score, round(TICK_S * spec.sample_rate_hz)
        self._ticks = self._output_hop // tick
        if spec.sample_rate_hz % round(1 / TICK_S) or self._output_hop % tick:
            raise ConfigError(
                f"expected {hops_per_score} hops of whole {1000 * TICK_S:g} ms, got front_end.hop_length "
                f"{spec.hop_length} at {spec.sample_rate_hz} Hz; set it to a multiple of "
                f"{spec.sample_rate_hz * TICK_S / hops_per_score:g}, and a rate that is a multiple of {1 / TICK_S:g}"
            )

    def __call__(self, scenes: list[Scene]) -> Examples:
        """Features from the scene's first sample on, as a fresh stream has them, and labels: any active tick counts."""
        n_frames = len(scenes[0].audio) // self._output_hop
        audio = np.stack([scene.audio[: n_frames * self._output_hop] for scene in scenes])
        features = self._front_end(np.pad(audio, ((0, 0), (self._front_end.tail_length, 0))))
        labels = np.zeros((len(scenes), n_frames, len(self._labels)), np.float16)
        event_labels = np.full((len(scenes), MAX_EVENTS), -1)
        event_frames = np.zeros((len(scenes), MAX_EVENTS, n_frames), bool)
        for row, scene in enumerate(scenes):
            for i, (label, active, snr_db) in enumerate(scene.events):
                frames = active[: n_frames * self._ticks].reshape(n_frames, self._ticks).any(axis=1)
                labels[row, frames, label] = 1
                if snr_db >= AUDIBLE_DB and i < MAX_EVENTS:
                    event_labels[row, i], event_frames[row, i] = label, frames
        taught = np.zeros((len(scenes), 0, 0), np.float16)
        if self._teacher is not None:
            heard = [self._teacher(scene.sound) for scene in scenes]
            taught = np.stack([each.targets for each in heard]).astype(np.float16)
            for row, (scene, each) in enumerate(zip(scenes, heard, strict=True)):
                self._doubt(labels[row], scene, each.scores)
        return Examples(features, labels, event_labels, event_frames, taught)

    def _doubt(self, labels: NDArray[np.float16], scene: Scene, scores: NDArray[np.float32]) -> None:
        """Raise the labels ``[T, C]`` of a scene's doubtful classes to the teacher's scores ``[W, C]``."""
        centres = (np.arange(len(labels)) + 0.5) * self._output_hop
        column = np.minimum(np.rint(centres / COLUMN).astype(int), len(scores) - 1)
        for place in (self._labels.index(label) for label in scene.doubts if label in self._labels):
            labels[:, place] = np.maximum(labels[:, place], scores[column, place])


def batches(
    mixer: SceneMixer, encoder: Encoder, *, batch: int, fresh: int, pool: int, seed: int, first_step: int = 0
) -> Generator[Examples, None, None]:
    """Endless batches of ``batch`` scenes, drawn from the newest ``pool``, of which ``fresh`` are replaced each time.

    The scenes come from a worker process of low priority. A batch depends on ``seed`` and its step alone, so a run
    that goes on at ``first_step`` gets what an uninterrupted one would, once the pool was made again.
    """
    n_ahead = -(-4 * batch // fresh)
    """Pieces of ``fresh`` scenes that the first batch is drawn from; each step adds one."""
    n_kept = max(n_ahead, pool // fresh)
    first_piece = max(0, first_step + n_ahead - n_kept)
    mill = _Mill(mixer, encoder, fresh, seed)
    context = get_context("spawn")  # a fork of a process with threads may wait for a lock that nobody holds
    queue: Queue[Examples] = context.Queue(_QUEUE_BATCHES)
    worker = context.Process(target=_mix_for_ever, args=(mill, queue, first_piece), daemon=True)
    worker.start()
    pieces: deque[Examples] = deque(maxlen=n_kept)
    try:
        for _ in range(first_step + n_ahead - 1 - first_piece):
            pieces.append(_take(queue, worker))
        for step in count(first_step):
            pieces.append(_take(queue, worker))
            chosen = np.random.default_rng([seed, 1, step]).choice(len(pieces) * fresh, batch, replace=False)
            yield _join([_row(pieces[i // fresh], i % fresh) for i in chosen])
    finally:
        worker.terminate()
        worker.join()


@dataclass(frozen=True)
class _Mill:
    """Makes the scenes of any piece, by its number."""

    mixer: SceneMixer
    encoder: Encoder
    fresh: int
    seed: int

    def __call__(self, piece: int) -> Examples:
        rng = np.random.default_rng([self.seed, 0, piece])
        return self.encoder([self.mixer.scene(rng) for _ in range(self.fresh)])


def _take(queue: "Queue[Examples]", worker: SpawnProcess) -> Examples:
    while True:
        try:
            return queue.get(timeout=_PATIENCE_S)
        except Empty:
            if not worker.is_alive():
                raise RuntimeError(
                    f"expected scenes from the worker, which ended with code {worker.exitcode}; it told why above"
                ) from None


def _row(examples: Examples, i: int) -> tuple[NDArray[np.generic], ...]:
    return tuple(getattr(examples, field.name)[i] for field in fields(Examples))


def _join(rows: list[tuple[NDArray[np.generic], ...]]) -> Examples:
    return Examples(*(np.stack(parts) for parts in zip(*rows, strict=True)))


def _mix_for_ever(mill: _Mill, queue: "Queue[Examples]", first_piece: int) -> None:
    os.nice(_NICENESS)
    parent = os.getppid()
    for piece in count(first_piece):
        examples = mill(piece)
        while os.getppid() == parent:
            try:
                queue.put(examples, timeout=1.0)
                break
            except Full:
                continue
        else:
            # The loop was killed: nobody will ever take these, and the queue must not wait for it.
            queue.cancel_join_thread()
            return
