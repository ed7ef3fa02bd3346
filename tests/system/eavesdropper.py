"""Stands between a streamer and its engine, passes everything on in both ways, and keeps the audio."""

import threading

import numpy as np
import zmq
from numpy.typing import NDArray

from earmark.contracts.addresses import ack_address
from earmark.contracts.streams import AudioBlock
from earmark.contracts.wire import decode_records
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S


class Eavesdropper:
    """Forwards ``address`` to ``engine``."""

    def __init__(self, engine: str) -> None:
        self.address = free_address()
        self._context = zmq.Context()
        self._flows = threading.Event()
        self._blocks: dict[int, NDArray[np.int16]] = {}
        pull, push = self._context.socket(zmq.PULL), self._context.socket(zmq.PUSH)
        pull.bind(self.address)
        push.connect(engine)
        acks, out = self._context.socket(zmq.XSUB), self._context.socket(zmq.XPUB)
        acks.connect(ack_address(engine))
        out.bind(ack_address(self.address))
        self._threads = [
            threading.Thread(target=self._forward, args=(pull, push)),
            threading.Thread(target=self._forward_acks, args=(acks, out)),
        ]
        for thread in self._threads:
            thread.start()

    def _forward(self, pull: "zmq.Socket[bytes]", push: "zmq.Socket[bytes]") -> None:
        try:
            while True:
                message = pull.recv()
                for record in decode_records(message):
                    if isinstance(record, AudioBlock):
                        self._blocks[record.first_sample] = record.pcm
                        self._flows.set()
                push.send(message)
        except zmq.ContextTerminated:
            pull.close(0)
            push.close(0)

    @staticmethod
    def _forward_acks(acks: "zmq.Socket[bytes]", out: "zmq.Socket[bytes]") -> None:
        try:
            zmq.proxy(out, acks)
        except zmq.ContextTerminated:
            acks.close(0)
            out.close(0)

    def wait_for_audio(self) -> None:
        """Wait for the first block: a sound server takes a second or two to deliver."""
        assert self._flows.wait(DEADLINE_S)

    def captured(self) -> NDArray[np.int16]:
        """All audio that passed, by its sample index."""
        blocks = dict(self._blocks)
        audio = np.zeros(max(first + len(pcm) for first, pcm in blocks.items()), np.int16)
        for first, pcm in blocks.items():
            audio[first : first + len(pcm)] = pcm
        return audio

    def close(self) -> None:
        """End it."""
        self._context.term()
        for thread in self._threads:
            thread.join()
