"""A progress bar on standard error, where that is a terminal."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Shows how many files are done and how much was heard.

    Args:
        n_files: How many there are.
    """

    def __init__(self, n_files: int) -> None:
        self._heard_s = 0.0
        self._bar = RichProgress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[heard]:.0f} s of audio"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=n_files, heard=0.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def heard(self, audio_s: float) -> None:
        """So much more audio was analysed."""
        self._heard_s += audio_s
        self._bar.update(self._task, heard=self._heard_s)

    def file_done(self) -> None:
        """One more file is done."""
        self._bar.advance(self._task)
