"""The streamer as a whole: captures, feeds and the sender, from start to end."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
import zmq

from earmark.contracts.clock import SampleClock
from earmark.contracts.errors import ConfigError, SourceError
from earmark.contracts.streams import check_stream_name, format_epoch, new_epoch
from earmark.telemetry.metrics import STREAM_UP
from streamer.capture import Capture
from streamer.config import MicrophoneSource, StreamConfig, StreamerConfig, from_stdin
from streamer.feed import Feed
from streamer.ring import Ring
from streamer.sender import Sender, Wake
from streamer.sources import can_wait, comes_back

_CLOSING_S = 2.0
_LEAVING_S = 10.0
"""What a stream that is taken away has heard goes out for so long at most."""

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
        _check_streams(streams)
        self._config = config
        self._streams = dict(streams)
        self._epochs = {name: (epochs or {}).get(name) or new_epoch() for name in streams}
        self._lanes: dict[str, _Lane] = {}
        self._tell: Callable[[str], None] = lambda _stream: None

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
        self._tell = wake.tell
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._lanes = {name: self._make(name, self._must_open(config)) for name, config in self._streams.items()}
        captures = [lane.capture for lane in self._lanes.values()]
        try:
            sender = Sender(self._config.engines, wake, context, self._config.curve)
            for lane in self._lanes.values():
                sender.add(lane.feed)
            self._start(captures, stop, on_alive)
            if not stop.is_set():
                on_ready()
            sender.run(stop, lambda: self._turn(sender, on_alive))
        finally:
            _close([lane.capture for lane in self._lanes.values()])
            wake.close()
            context.destroy(linger=0)
        for lane in self._lanes.values():
            if lane.capture.failure is not None:
                raise _named(lane.feed.stream, lane.capture.failure) from lane.capture.failure

    def reload(self, streams: Mapping[str, StreamConfig]) -> None:
        """Capture other streams: only those that are new, changed or gone begin and end. Called from ``on_alive``.

        What an ending stream has heard goes out first, and its epoch ends; where it has changed, another one begins.
        A source that does not open is tried again with growing delays, where that makes sense.

        Args:
            streams: All of them, by name.

        Raises:
            ConfigError: As at the start; nothing has changed.
        """
        _check_streams(streams)
        for name, lane in self._lanes.items():
            if lane.leaves_by_s is None and streams.get(name) != self._streams[name]:
                lane.capture.stop()
                lane.leaves_by_s = time.monotonic() + _LEAVING_S
        self._streams = dict(streams)

    def _make(self, name: str, must_open: bool) -> "_Lane":  # noqa: FBT001 -- private
        config, epoch = self._streams[name], self._epochs[name]
        rate = config.sample_rate_hz
        ring = Ring(round(self._config.ring_s * rate))
        clock = SampleClock(rate)
        feed = Feed(
            name,
            epoch,
            ring,
            clock,
            sample_rate_hz=rate,
            can_wait=can_wait(config),
            has_priority=config.priority,
        )
        capture = Capture(
            name,
            config,
            ring,
            clock,
            block_s=self._config.block_s,
            must_open=must_open,
            wake=lambda: self._tell(name),
        )
        return _Lane(feed, capture)

    def _must_open(self, config: StreamConfig) -> bool:
        """Whether failing to open ends everything: a camera may boot later than the service, a device is there."""
        is_alone = len(self._streams) == 1
        return not comes_back(config) or (is_alone and isinstance(config, MicrophoneSource))

    def _start(self, captures: Collection[Capture], stop: threading.Event, on_alive: Callable[[], None]) -> None:
        for capture in captures:
            self._begin(capture)
        for capture in captures:
            while capture.must_open and not capture.opened.wait(0.1) and not stop.is_set():
                self._check_captures()
                on_alive()
            if capture.failure is not None and capture.never_opened:
                raise _named(capture.stream, capture.failure) from capture.failure

    def _begin(self, capture: Capture) -> None:
        log.info("stream starts", stream=capture.stream, epoch=format_epoch(self._epochs[capture.stream]))
        capture.start()

    # While it runs.

    def _turn(self, sender: Sender, on_alive: Callable[[], None]) -> bool:
        """Let streams go and come as they were last asked for; whether some still have to."""
        self._check_captures()
        on_alive()
        self._note_new_epochs()
        for name in [name for name, lane in self._lanes.items() if lane.has_left()]:
            self._let_go(name, sender)
        for name in self._streams.keys() - self._lanes.keys():
            self._epochs[name] = new_epoch()
            self._lanes[name] = self._make(name, must_open=False)
            sender.add(self._lanes[name].feed)
            self._begin(self._lanes[name].capture)
        return any(lane.leaves_by_s is not None for lane in self._lanes.values())

    def _note_new_epochs(self) -> None:
        for name, lane in self._lanes.items():
            if lane.feed.epoch != self._epochs[name]:
                self._epochs[name] = lane.feed.epoch
                log.warning(
                    "the engine ended this stream's epoch; a new one begins",
                    stream=name,
                    epoch=format_epoch(lane.feed.epoch),
                    hint="does another streamer send a stream of the same name?",
                )

    def _check_captures(self) -> None:
        for lane in self._lanes.values():
            if lane.capture.has_died:
                raise RuntimeError(f"the capture of stream {lane.feed.stream!r} has died; its traceback is above")

    def _let_go(self, name: str, sender: Sender) -> None:
        feed = self._lanes.pop(name).feed
        sender.remove(feed)
        del self._epochs[name]
        STREAM_UP.remove(name)
        if feed.is_finished:
            log.info("stream ends", stream=name, epoch=format_epoch(feed.epoch))
        else:
            log.warning("stream ends before the engine had all of it", stream=name, epoch=format_epoch(feed.epoch))


@dataclass
class _Lane:
    """One epoch of a stream, from its source to its engine.

    Attributes:
        feed: Its way out.
        capture: Its way in.
        leaves_by_s: When it is let go at the latest; None while it is to stay.
    """

    feed: Feed
    capture: Capture
    leaves_by_s: float | None = None

    def has_left(self) -> bool:
        """Whether it was to leave, and the engine has all of it or the time for that is over."""
        if self.leaves_by_s is None:
            return False
        if self.capture.is_over and self.feed.ring.end_sample is None:
            self.feed.ring.mark_end()
        # A thread that hangs in its source must not write into an epoch that has ended.
        return (self.capture.is_over and self.feed.is_finished) or time.monotonic() >= self.leaves_by_s


def _check_streams(streams: Mapping[str, StreamConfig]) -> None:
    if not streams:
        raise ConfigError("streams: expected at least one, got none; name one, e.g. gate: {source: microphone}")
    for name in streams:
        check_stream_name(name)
    if len(names := from_stdin(streams)) > 1:
        raise ConfigError(f"streams: expected one source stdin at most, got {', '.join(names)}; keep one of them")


def _named(stream: str, failure: SourceError) -> SourceError:
    return SourceError(f"streams.{stream}: {failure}")


def _close(captures: Collection[Capture]) -> None:
    deadline_s = time.monotonic() + _CLOSING_S
    for capture in captures:
        capture.stop()
    for capture in captures:
        capture.join(max(0.0, deadline_s - time.monotonic()))
