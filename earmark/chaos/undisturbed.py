"""How an engine hears a scene when nothing goes wrong."""

import numpy as np

from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import AudioBlock, Pcm
from earmark.outbox import StoredStream
from engine.analyser import Analyser

_BLOCK = 4096


def hear(analyser: Analyser, stream: str, epoch: int, pcm: Pcm, *, ends: bool) -> list[SoundEvent]:
    """The events of a stream's epoch.

    Args:
        analyser: Does not know the stream, before and afterwards.
        stream: Name of the stream.
        epoch: Run of its streamer.
        pcm: All of its audio, int16 ``[n]`` at the analyser's rate.
        ends: Whether its source ends there; it is interrupted otherwise.
    """
    analyser.open(stream, epoch, StoredStream(0, None))
    for first in range(0, len(pcm), _BLOCK):
        _accept(analyser, stream, epoch, first, pcm[first : first + _BLOCK])
        analyser.advance()
    if ends:
        _accept(analyser, stream, epoch, len(pcm), pcm[:0], end=True)
    else:
        analyser.interrupt(stream)
    (commit,) = analyser.collect() or [None]
    if stream in analyser.streams:
        analyser.drop(stream)
    return commit.events if commit is not None else []


def _accept(analyser: Analyser, stream: str, epoch: int, first: int, pcm: "np.ndarray", *, end: bool = False) -> None:
    block = AudioBlock(
        stream=stream,
        epoch=epoch,
        first_sample=first,
        captured_at_ns=0,
        sample_rate_hz=analyser.sample_rate_hz,
        newest_sample=first + len(pcm),
        pcm=pcm,
        can_wait=True,
        end=end,
    )
    analyser.accept(block, 0.0)
