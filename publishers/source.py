"""The outbox that lies at a path now: somebody may put another file there while publishers run."""

from pathlib import Path

from earmark.outbox import OutboxReader


class OutboxSource:
    """Hands out a reader and opens a new one when the file was replaced. For one thread.

    Args:
        path: The outbox.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: OutboxReader | None = None
        self._inode: int | None = None

    def reader(self) -> OutboxReader:
        """A reader of the outbox; borrowed until the next call.

        Raises:
            OutboxError: The file cannot be used.
        """
        inode = self._look()
        if self._reader is None or (inode is not None and inode != self._inode):
            self.close()
            self._reader, self._inode = OutboxReader(self._path), inode
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
