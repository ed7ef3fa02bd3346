"""The outbox that lies at a path now: somebody may put another file there while publishers run."""

from pathlib import Path

from earmark.outbox import OutboxReader


class OutboxSource:
    """Hands out a reader, which reads the new file when it was replaced. For one thread.

    Args:
        path: The outbox.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: OutboxReader | None = None
        self._inode: int | None = None

    def reader(self) -> OutboxReader:
        """The reader of the outbox, always the same one; where another file lies there now, it reads that.

        Raises:
            OutboxError: The file cannot be used.
        """
        inode = self._look()
        if self._reader is None:
            self._reader, self._inode = OutboxReader(self._path), inode
        elif inode is not None and inode != self._inode:
            self._reader.reopen()
            self._inode = inode
        return self._reader

    def _look(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except OSError:
            return None

    def close(self) -> None:
        """Close the reader, if there is one."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
