"""Where sound comes from: one kind a file, all of them the same `Source`."""

import threading

from streamer.config import FileSource, MicrophoneSource, SourceSection, StdinSource, StreamConfig, UrlSource
from streamer.sources.file import SoundFile
from streamer.sources.microphone import InputDevice, Microphone, list_devices
from streamer.sources.silence import Silence
from streamer.sources.source import POLL_S, Chunk, Item, Lost, NewRate, Notice, Pacer, Source, bandwidth_notice
from streamer.sources.stdin import Stdin
from streamer.sources.url import UrlStream

__all__ = [
    "POLL_S",
    "Chunk",
    "InputDevice",
    "Item",
    "Lost",
    "NewRate",
    "Notice",
    "Pacer",
    "Source",
    "bandwidth_notice",
    "can_wait",
    "comes_back",
    "list_devices",
    "open_source",
]


def open_source(config: StreamConfig, *, block_s: float, stop: threading.Event) -> Source:
    """Open what ``config`` describes; ``stop`` ends every wait in it.

    Raises:
        SourceError: It cannot be opened.
    """
    match config:
        case MicrophoneSource():
            return Microphone(config, block_s=block_s)
        case UrlSource():
            return UrlStream(config, stop=stop)
        case FileSource():
            return SoundFile(config, block_s=block_s, stop=stop)
        case StdinSource():
            return Stdin(config)
        case _:
            return Silence(config, block_s=block_s, stop=stop)


def can_wait(config: SourceSection) -> bool:
    """Whether the source waits for room in the ring, so that nothing of it is ever lost."""
    return isinstance(config, StdinSource) or (isinstance(config, FileSource) and config.pace == "fast")


def comes_back(config: SourceSection) -> bool:
    """Whether opening the source again makes sense after it failed."""
    return isinstance(config, MicrophoneSource | UrlSource)
