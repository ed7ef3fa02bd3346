"""The engine's end of the wire and a source that a test plays by hand."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import zmq

from earmark.contracts.addresses import ack_address
from earmark.contracts.errors import SourceError
from earmark.contracts.streams import Ack, AudioBlock
from earmark.contracts.wire import decode_records, encode_ack
from streamer.service import Streamer
from tests.support.waiting import DEADLINE_S


class EngineEnd:
    """Real sockets where an engine has them. Puts a stream's records together and acknowledges as it is told."""

    def __init__(self, address):
        self._context = zmq.Context()
        self._blocks, self._acks = self._context.socket(zmq.PULL), self._context.socket(zmq.PUB)
        self._blocks.bind(address)
        self._acks.bind(ack_address(address))
        self._arrived, self._told = {}, {}
        self.tells_of_arrivals = True

    def close(self):
        self._context.destroy(linger=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def records(self, timeout_ms=50):
        """What one message brings, or nothing; tells every second of audio that it came, as an engine does."""
        records = decode_records(self._blocks.recv()) if self._blocks.poll(timeout_ms) else []
        for record in records:
            told = self._told.setdefault(record.stream, 0)
            self._arrived[record.stream] = max(self._arrived.get(record.stream, 0), record.end_sample)
            if self.tells_of_arrivals and self._arrived[record.stream] - told >= record.sample_rate_hz:
                self._told[record.stream] = self._arrived[record.stream]
                self.ack(record.stream, record.epoch, 0)
        return records

    def ack(self, stream, epoch, keep_sample, resend_from=-1):
        needed = self._arrived.get(stream, 0) if self.tells_of_arrivals else 0
        self._acks.send(encode_ack(Ack(stream, epoch, keep_sample, needed, resend_from)))

    def send_garbage(self, stream):
        self._acks.send(stream.encode().ljust(32, b"\0") + b"?")

    def send_other_version(self, stream):
        """An acknowledgement of a release to come, which is longer."""
        self._acks.send(stream.encode().ljust(32, b"\0") + b"\2\0" + b"more" * 12)

    def take_until(self, done, ack=None):
        """All records until ``done(records)``; ``ack(self)`` again and again, as PUB loses."""
        deadline_s, taken = time.monotonic() + DEADLINE_S, []
        while not done(taken):
            assert time.monotonic() < deadline_s, f"{len(taken)} records, and not what was waited for"
            taken += self.records()
            if ack is not None:
                ack(self)
        return taken


def has_ended(records):
    return any(isinstance(record, AudioBlock) and record.end for record in records)


def put_together(records, start=0):
    """The axis from ``start``, repeats dropped: PCM as it came, and the gaps as (first sample, count, reason)."""
    pcm, gaps, needed = [], [], start
    for record in records:
        if record.end_sample <= needed:
            continue
        assert record.first_sample <= needed, f"hole at {needed}"
        if isinstance(record, AudioBlock):
            pcm.append(record.pcm[needed - record.first_sample :])
        else:
            gaps.append((record.first_sample, record.n_samples, record.reason))
        needed = record.end_sample
    return np.concatenate([np.zeros(0, np.int16), *pcm]), gaps


class RunningStreamer:
    """A streamer on a thread of its own."""

    def __init__(self, config, streams, on_alive=lambda: None, **settings):
        self.stop, self.ready, self.error = threading.Event(), threading.Event(), None
        self.streamer = Streamer(config, streams, **settings)
        self._on_alive = on_alive
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self.streamer.run(self.stop, self.ready.set, self._on_alive)
        except SourceError as error:
            self.error = error

    def join(self):
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


@contextmanager
def running(config, streams, **settings):
    streamer = RunningStreamer(config, streams, **settings)
    streamer.thread.start()
    try:
        yield streamer
    finally:
        streamer.stop.set()
        streamer.join()
