"""What the engines of this machine show, for all sinks: each stream's newest status, and the rest while one asks."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import zmq

from earmark.contracts.monitor import (
    SCORES_TOPIC,
    Frames,
    RefusedCandidate,
    Statuses,
    StepAudio,
    StepScores,
    StreamStatus,
    audio_topic,
    frames_topic,
    refused_topic,
)
from earmark.outbox.monitor import MonitorReceiver

STALE_S = 5.0
"""A stream that no engine has told of for so long is not up."""
_WAIT_S = 0.05


class Monitor:
    """A thread that hears engines, from `start` until `stop`. Its other methods may be called from any thread.

    Args:
        context: The process's.
        outbox: Beside which the engines talk.
        clock: Monotonic seconds.
    """

    def __init__(self, context: "zmq.Context[Any]", outbox: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.error: Exception | None = None
        """What ended the thread, where that was no call of `stop`."""
        self._receiver = MonitorReceiver(context, outbox)
        self._clock = clock
        self._heard: dict[str, tuple[float, StreamStatus]] = {}
        self._leaving: frozenset[str] = frozenset()
        self._takers: dict[bytes, list[Callable[[Any], None]]] = defaultdict(list)
        self._changes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; whether it ended, or never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Close the socket; the thread has ended."""
        self._receiver.close()

    def statuses(self) -> list[StreamStatus]:
        """The newest of each stream that was ever told of, by name; a leaving one's while it is told of."""
        now_s = self._clock()
        return [
            status if now_s - at_s < STALE_S else status.model_copy(update={"up": False, "level_db": None})
            for name, (at_s, status) in sorted(self._heard.copy().items())
            if now_s - at_s < STALE_S or name not in self._leaving
        ]

    def expect(self, streams: Collection[str]) -> None:
        """From now on only these streams are missed when nothing tells of them."""
        self._leaving = frozenset(self._heard.copy()) - frozenset(streams)

    def watch(self, stream: str, take: Callable[[Frames], None]) -> Callable[[], None]:
        """Have ``take`` called with a stream's frames, in this thread, so it must never wait.

        Returns:
            What ends it; called once.
        """
        return self._watch(frames_topic(stream), take)

    def watch_refused(self, stream: str, take: Callable[[RefusedCandidate], None]) -> Callable[[], None]:
        """As `watch`, with what the judge refuses of a stream."""
        return self._watch(refused_topic(stream), take)

    def watch_scores(self, take: Callable[[StepScores], None]) -> Callable[[], None]:
        """As `watch`, with the scores of all streams."""
        return self._watch(SCORES_TOPIC, take)

    def watch_audio(self, stream: str, take: Callable[[StepAudio], None]) -> Callable[[], None]:
        """As `watch`, with a stream's audio, where that is allowed."""
        return self._watch(audio_topic(stream), take)

    def _watch(self, topic: bytes, take: Callable[[Any], None]) -> Callable[[], None]:
        self._changes.put(lambda: self._begin(topic, take))
        return lambda: self._changes.put(lambda: self._end(topic, take))

    def _begin(self, topic: bytes, take: Callable[[Any], None]) -> None:
        self._receiver.watch(topic)
        self._takers[topic].append(take)

    def _end(self, topic: bytes, take: Callable[[Any], None]) -> None:
        self._receiver.unwatch(topic)
        self._takers[topic].remove(take)
        if not self._takers[topic]:
            del self._takers[topic]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._change()
                message = self._receiver.receive(_WAIT_S)
                if isinstance(message, tuple):
                    self._note(message)
                elif message is not None:
                    for take in self._takers.get(message.topic, ()):
                        take(message)
        except Exception as error:  # noqa: BLE001 -- the service supervises this thread and raises it
            self.error = error

    def _change(self) -> None:
        while True:
            try:
                change = self._changes.get_nowait()
            except Empty:
                return
            change()

    def _note(self, statuses: Statuses) -> None:
        now_s = self._clock()
        self._heard.update({status.stream: (now_s, status) for status in statuses})
