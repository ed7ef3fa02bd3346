"""Which clips are deleted: those that are provably old, and the oldest where there are too many."""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from earmark.contracts.errors import OutboxError, OutboxFullError
from earmark.contracts.streams import STREAM_NAME
from earmark.telemetry import metrics
from publishers.clips.files import DATE, FILE, UNFINISHED
from publishers.clips.index import ClipFile, ClipIndex

PIECE = 100
"""Files that one call of `ClipRetention.prune` deletes at most."""
STOCK_EVERY_S = 3600.0
"""Somebody may delete files by hand: the folder is read again after so long."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class ClipRetention:
    """Deletes old clips below a folder. For one thread at a time.

    Args:
        folder: Of the clips.
        index: When each was first seen; owned.
        clock: Monotonic seconds, for reading the folder again.
    """

    def __init__(self, folder: Path, index: ClipIndex, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder.expanduser()
        self._index = index
        self._clock = clock
        self._n_bytes = 0
        self._stock_due_s = 0.0

    def take_stock(self) -> None:
        """Read the folder, and delete what a killed process had not finished.

        Raises:
            OSError: The folder went away.
            OutboxError: The index cannot be used.
        """
        self._stock_due_s = self._clock() + STOCK_EVERY_S
        found = list(self._read_folder())
        try:
            self._index.replace(found)
        except OutboxFullError:
            raise
        except OutboxError as error:
            _log.warning("the clips' index is damaged; their age counts from now", error=str(error))
            self._index.discard()
            self._index.replace(found)
        self._n_bytes = sum(file.n_bytes for file in found)
        self._show()

    def note(self, written: Sequence[ClipFile]) -> None:
        """Count files that were written now.

        Raises:
            OutboxError: The index cannot be used; the next look at the folder finds them.
        """
        self._n_bytes += sum(file.n_bytes for file in written)
        self._show()
        for file in written:
            self._index.add(file)

    def prune(self, max_age_s: float, max_bytes: int) -> int:
        """Delete files that were first seen ``max_age_s`` ago and, the oldest first, what is too much.

        Returns:
            How many; `PIECE` at most, and then there may be more.

        Raises:
            OSError: A file cannot be deleted.
            OutboxError: The index cannot be used.
        """
        if self._clock() >= self._stock_due_s:
            self.take_stock()
        old = self._index.oldest(PIECE, max_age_s) or self._surplus(max_bytes)
        for file in old:
            self._delete(self._folder / file.path)
        self._index.remove(old)
        self._n_bytes -= sum(file.n_bytes for file in old)
        metrics.CLIP_FILES_DELETED.inc(len(old))
        self._show()
        return len(old)

    def _surplus(self, max_bytes: int) -> list[ClipFile]:
        surplus, left = list[ClipFile](), self._n_bytes
        for file in self._index.oldest(PIECE) if left > max_bytes else ():
            if left <= max_bytes:
                break
            surplus.append(file)
            left -= file.n_bytes
        return surplus

    @staticmethod
    def _delete(path: Path) -> None:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
            path.parent.parent.rmdir()

    def _read_folder(self) -> Iterator[ClipFile]:
        """What is there; the days in their order, and each day's files in the order of their time stamps."""
        days = [day for stream in _folders(self._folder, STREAM_NAME) for day in _folders(stream, DATE)]
        for day in sorted(days, key=lambda day: (day.name, day.parent.name)):
            found = [(stamp_s, file) for stamp_s, file in self._read_day(day)]
            yield from (file for _, file in sorted(found))

    def _read_day(self, day: Path) -> Iterator[tuple[float, ClipFile]]:
        with suppress(FileNotFoundError):
            for entry in os.scandir(day):
                if UNFINISHED.fullmatch(entry.name):
                    Path(entry.path).unlink(missing_ok=True)
                elif FILE.fullmatch(entry.name):
                    stat = entry.stat(follow_symlinks=False)
                    path = Path(entry.path).relative_to(self._folder)
                    yield stat.st_mtime, ClipFile(str(path), stat.st_size)

    def _show(self) -> None:
        metrics.CLIP_BYTES.set(self._n_bytes)

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def _folders(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
