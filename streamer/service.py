"""The streamer as a whole: captures, feeds and the sender, from start to end."""

import threading
import time
from collections.abc import Callable, Mapping

import structlog
import zmq

from earmark.contracts.clock import SampleClock
from earmark.contracts.errors import ConfigError, SourceError
from earmark.contracts.streams import check_stream_name, format_epoch, new_epoch
from streamer.capture import Capture
from streamer.config import MicrophoneSource, StdinSource, StreamConfig, StreamerConfig
from streamer.feed import Feed
from streamer.ring import Ring
from streamer.sender import Sender, Wake
from streamer.sources import can_wait, comes_back

_CLOSING_S = 2.0

log = structlog.get_logger()


def _nothing() -> None:
    pass


class Streamer:
    """Streams that are captured and sent together.

    Args:
        config: What they share.
        streams: The sources, by the streams' names.
        epochs: Epochs for some of the streams instead of random ones.

    Raises:
        ConfigError: There are no streams, one has no proper name, or two want standard input.
    """

    def __init__(
        self, config: StreamerConfig, streams: Mapping[str, StreamConfig], *, epochs: Mapping[str, int] | None = None
    ) -> None:
        if not streams:
            raise ConfigError("streams: expected at least one, got none; name one, e.g. gate: {source: microphone}")
        from_stdin = sorted(check_stream_name(name) for name in streams if isinstance(streams[name], StdinSource))
        if len(from_stdin) > 1:
            raise ConfigError(
                f"streams: expected one source stdin at most, got {', '.join(from_stdin)}; keep one of them"
            )
        self._config = config
        self._streams = dict(streams)
        self._epochs = {check_stream_name(name): (epochs or {}).get(name) or new_epoch() for name in streams}

    @property
    def epochs(self) -> Mapping[str, int]:
        """The epoch of each stream."""
        return self._epochs

    def run(
        self,
        stop: threading.Event,
        on_ready: Callable[[], None] = _nothing,
        on_alive: Callable[[], None] = _nothing,
    ) -> None:
        """Capture and send until ``stop`` is set, or every source has ended and the engines have all of it for good.

        Files and standard input must open at once, and so must a microphone that is the only stream. An address, or
        one microphone of several streams, that does not open is tried again with growing delays. Once per object.

        Args:
            stop: Heard within half a second.
            on_ready: Called once, when captures run and sockets are there.
            on_alive: Called about twice a second from the loop that sends.

        Raises:
            ConfigError: A key file cannot be used.
            SourceError: A source that must open did not, or ended before its time; names the stream.
        """
        wake = Wake()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        captures, feeds = self._make(wake)
        try:
            sender = Sender(self._config.engines, feeds, wake, context, self._config.curve)
            self._start(captures, stop, on_alive)
            if not stop.is_set():
                on_ready()
            sender.run(stop, lambda: _check(captures, on_alive))
        finally:
            _close(captures)
            wake.close()
            context.destroy(linger=0)
        for capture in captures:
            if capture.failure is not None:
                raise _named(capture.stream, capture.failure) from capture.failure

    def _make(self, wake: Wake) -> tuple[list[Capture], list[Feed]]:
        captures: list[Capture] = []
        feeds: list[Feed] = []
        for name, config in self._streams.items():
            rate = config.sample_rate_hz
            ring = Ring(round(self._config.ring_s * rate))
            clock = SampleClock(rate)
            feeds.append(Feed(name, self._epochs[name], ring, clock, sample_rate_hz=rate, can_wait=can_wait(config)))
            captures.append(
                Capture(
                    name,
                    config,
                    ring,
                    clock,
                    block_s=self._config.block_s,
                    must_open=self._must_open(config),
                    wake=lambda name=name: wake.tell(name),
                )
            )
        return captures, feeds

    def _must_open(self, config: StreamConfig) -> bool:
        """Whether failing to open ends everything: a camera may boot later than the service, a device is there."""
        is_alone = len(self._streams) == 1
        return not comes_back(config) or (is_alone and isinstance(config, MicrophoneSource))

    def _start(self, captures: list[Capture], stop: threading.Event, on_alive: Callable[[], None]) -> None:
        for capture in captures:
            log.info("stream starts", stream=capture.stream, epoch=format_epoch(self._epochs[capture.stream]))
            capture.start()
        for capture in captures:
            while capture.must_open and not capture.opened.wait(0.1) and not stop.is_set():
                on_alive()
            if capture.failure is not None and capture.never_opened:
                raise _named(capture.stream, capture.failure) from capture.failure


def _named(stream: str, failure: SourceError) -> SourceError:
    return SourceError(f"streams.{stream}: {failure}")


def _check(captures: list[Capture], on_alive: Callable[[], None]) -> None:
    for capture in captures:
        if capture.has_died:
            raise RuntimeError(f"the capture of stream {capture.stream!r} has died; its traceback is above")
    on_alive()


def _close(captures: list[Capture]) -> None:
    deadline_s = time.monotonic() + _CLOSING_S
    for capture in captures:
        capture.stop()
    for capture in captures:
        capture.join(max(0.0, deadline_s - time.monotonic()))
