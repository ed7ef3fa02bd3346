"""``earmark detect``: files through the very same engine code as live streams, several at once, as fast as it goes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from earmark.contracts.errors import SourceError
from earmark.contracts.events import SoundEvent
from earmark.contracts.streams import Pcm
from earmark.contracts.wire import MAX_BLOCK_SAMPLES
from engine.detector import Detector
from streamer.sources.channels import Choice
from streamer.sources.file import read_pcm
from streamer.sources.source import Notice, NoticeKind

_AT_ONCE = 16
_PIECE = MAX_BLOCK_SAMPLES


@dataclass
class FileResult:
    """What is in one file.

    Attributes:
        path: The file.
        events: Its events, ended, by onset.
        n_samples: Samples analysed, at the model's rate.
        notices: What is not as it should be with the file, one of each kind, in order.
        error: Why it could not be read, or not to its end.
    """

    path: Path
    events: list[SoundEvent] = field(default_factory=list[SoundEvent])
    n_samples: int = 0
    notices: dict[NoticeKind, Notice] = field(default_factory=dict[NoticeKind, Notice])
    error: SourceError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all audio of the file was analysed."""
        return self.error is None and not any(notice.is_loss for notice in self.notices.values())

    @property
    def exit_code(self) -> int:
        """0 if the file was whole, 1 if audio is missing in it, 2 if it could not be read, or not to its end."""
        return 2 if self.error is not None else 0 if self.is_whole else 1

    @property
    def complaints(self) -> list[str]:
        """Lines for stderr: a warning for each kind of notice, then the error."""
        lines = [
            f"earmark: warning: {notice.problem}" + (f" ({notice.count} times)" if notice.count > 1 else "")
            for notice in self.notices.values()
        ]
        return lines if self.error is None else [*lines, f"earmark: error: {self.error}"]

    def note(self, notice: Notice) -> None:
        """Add a notice; further ones of its kind are counted."""
        first = self.notices.get(notice.kind)
        if first is not None:
            notice = replace(first, count=first.count + notice.count)
        self.notices[notice.kind] = notice


def detect_files(
    paths: Sequence[Path],
    detector: Detector,
    *,
    channel: Choice = 0,
    track: int | None = None,
    on_audio: Callable[[float], None] = lambda _: None,
    on_piece: Callable[[Path, Pcm], None] = lambda _path, _pcm: None,
) -> Iterator[FileResult]:
    """Detect the events of each file.

    Args:
        paths: The files, of any format that FFmpeg reads.
        detector: Hears up to 16 of them at once, each as a stream that is named by its place in ``paths``.
        channel: Which channel of each file is analysed, from 0, or ``mix``.
        track: Which audio track, from 0; None takes each file's default.
        on_audio: Called with the seconds of audio of every round.
        on_piece: Called with every piece of a file's audio as the detector hears it, int16 ``[n]`` at the model's rate,
            two seconds or so, in order; lent.

    Yields:
        A result for each file, in order, each as soon as it and those before it are done. A file that cannot be read
        tells why in its result and disturbs no other.
    """
    rate = detector.sample_rate_hz

    def job(path: Path) -> _Job:
        result = FileResult(path)
        return _Job(result, read_pcm(path, rate, channel=channel, track=track, on_notice=result.note))

    jobs = ((str(place), job(path)) for place, path in enumerate(paths))
    running: dict[str, _Job] = {}
    finished: dict[str, FileResult] = {}
    n_told = 0
    while n_told < len(paths):
        while len(running) < _AT_ONCE and (started := next(jobs, None)) is not None:
            running[started[0]] = started[1]
        pieces = {name: job.next_piece() for name, job in running.items()}
        on_audio(sum(len(piece) for piece in pieces.values()) / rate)
        for name, piece in pieces.items():
            on_piece(running[name].result.path, piece)
        ended = [name for name, job in running.items() if job.is_over]
        for event in detector.feed_many(pieces) + (detector.end(*ended) if ended else []):
            if event.phase == "offset":
                running[event.stream].result.events.append(event)
        finished.update({name: running.pop(name).result for name in ended})
        while (result := finished.pop(str(n_told), None)) is not None:
            n_told += 1
            result.events.sort(key=lambda event: (event.onset_sample, event.label))
            yield result


@dataclass
class _Job:
    """One file on its way through the detector."""

    result: FileResult
    pcm: Iterator[Pcm]
    is_over: bool = False
    _rest: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))

    def next_piece(self) -> Pcm:
        """The next two seconds or so; less at the end, where `is_over` is set."""
        parts = [self._rest]
        n_samples = len(self._rest)
        try:
            while n_samples < _PIECE:
                part = next(self.pcm, None)
                if part is None:
                    self.is_over = True
                    break
                parts.append(part)
                n_samples += len(part)
        except SourceError as error:
            self.result.error, self.is_over = error, True
        joined = np.concatenate(parts)
        piece, self._rest = (joined, joined[:0]) if self.is_over else (joined[:_PIECE], joined[_PIECE:])
        self.result.n_samples += len(piece)
        return piece
