"""A camera or a radio. A thread of its own reads it, because a read inside FFmpeg cannot be interrupted."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import structlog

from earmark.contracts.errors import SourceError
from earmark.contracts.urls import redact_url
from streamer.config import UrlSource
from streamer.sources.arrival import ArrivalClock
from streamer.sources.decode import Decoder
from streamer.sources.playlists import followed
from streamer.sources.source import POLL_S, Chunk, Item, Lost, NewRate, Notice, nothing
from streamer.sources.timeline import Timeline

_QUEUE_CHUNKS = 64
"""Beyond this the reader waits, and the network's own buffers fill."""

log = structlog.get_logger()


class UrlStream:
    """An address, open. That it ends is a failure: live sources do not.

    Raises:
        SourceError: It cannot be opened, holds no audio or no such channel, or ``stop`` was set meanwhile.
    """

    def __init__(self, config: UrlSource, *, stop: threading.Event) -> None:
        self._config = config
        self._name = redact_url(config.url)
        self._queue: queue.Queue[int | Item | SourceError] = queue.Queue(_QUEUE_CHUNKS)
        self._closed = threading.Event()
        try:
            threading.Thread(target=self._read, name=f"url {self._name}", daemon=True).start()
        except RuntimeError as error:
            raise SourceError(f"{self._name}: expected a thread to read it, got: {error}; allow more tasks") from error
        self.sample_rate_hz = self._opened(stop)

    def chunks(self) -> Iterator[Item]:
        """As packets bring it; what is missing by the source's own times, and in fact did not come, is lost."""
        while True:
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                yield nothing()
                continue
            if isinstance(item, SourceError):
                raise item
            if not isinstance(item, int):
                yield item

    def close(self) -> None:
        """Tell the reader to end; it does so with the next packet, or within its own timeout."""
        self._closed.set()

    def _opened(self, stop: threading.Event) -> int:
        while not stop.is_set():
            try:
                item = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, int):
                return item
            if isinstance(item, SourceError):
                raise item
        self.close()
        raise SourceError(f"{self._name}: stopped while it was being opened")

    def _read(self) -> None:
        try:
            with closing(self._open()) as decoder:
                self._put(decoder.sample_rate_hz)
                self._forward(decoder)
        except SourceError as error:
            self._put(error)
        except Exception as error:  # what one camera brings about must not end the other streams
            log.exception("source failed unexpectedly", source=self._name)
            self._put(SourceError(f"{self._name}: expected audio, got {type(error).__name__}; its traceback is above"))

    def _open(self) -> Decoder:
        timeout_s = self._config.timeout_s
        return Decoder(
            followed(self._config.url, self._name, options=self._options(), timeout_s=timeout_s),
            self._config.channel,
            track=self._config.track,
            name=self._name,
            options=self._options(),
            timeout_s=timeout_s,
            closed=self._closed,
        )

    def _options(self) -> dict[str, str]:
        """A camera's pictures are never asked for: they are a hundred times its sound."""
        if not self._config.url.startswith("rtsp"):
            return {}
        return {"rtsp_transport": self._config.rtsp_transport, "allowed_media_types": "audio"}

    def _forward(self, decoder: Decoder) -> None:
        rate = decoder.sample_rate_hz
        timeline, clock = Timeline(rate, self._config.timeout_s), ArrivalClock(rate)
        for item in decoder.items():
            if isinstance(item, Notice):
                self._put(item)
                continue
            if item.sample_rate_hz != rate:
                rate = item.sample_rate_hz
                timeline, clock = Timeline(rate, self._config.timeout_s), ArrivalClock(rate)
                self._put(NewRate(rate))
            n_samples = len(item.audio)
            captured_at_ns = clock.captured_at_ns(n_samples, item.time_ns, time.time_ns())
            if n_lost := timeline.lost_before(n_samples, item.time_ns, time.monotonic_ns()):
                self._put(Lost(n_lost, estimated=True))
            self._put(Chunk(item.audio, captured_at_ns))
        self._put(SourceError(f"{self._name}: expected a source without end, got its end; it is opened again"))

    def _put(self, item: int | Item | SourceError) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return
