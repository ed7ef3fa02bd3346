"""Events as JSON Lines, in a file or on standard output.

The file itself says where it stopped, so that a kill between writing and remembering repeats nothing: its last line is
looked up in the outbox by its ``seq``, and what a power cut tore is cut off.
"""

import fcntl
import json
import os
import select
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from earmark.contracts.errors import ConfigError
from earmark.outbox import OutboxReader, StoredEvent
from publishers.sinks import SinkError

_TAIL_BYTES = 1 << 20
_LINE_START = b'{"seq":'
_STDOUT_TIMEOUT_MS = 1000

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class JsonlFileSink:
    """Appends to a file, which one process may do at a time. A file that was moved away (logrotate) is begun anew.

    Args:
        path: The file; its folder is made.

    Raises:
        ConfigError: It cannot be written, another process writes it, or it holds something else.
    """

    name = "jsonl"

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()
        self._file, self._last_line = _open(self._path)

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """Where the file stopped, if its last line is of this outbox; what the cursor says otherwise."""
        seq = _seq_of(self._last_line)
        stored = outbox.read(seq - 1, 1, through=seq) if seq else []
        if stored and stored[0].json.encode() == self._last_line:
            return seq
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Append all or, where the disk is full, nothing."""
        try:
            self._reopen_if_moved()
            lines = [event.json.encode() for event in events]
            self._append(b"".join(line + b"\n" for line in lines))
            self._last_line = lines[-1]
        except (OSError, ConfigError) as error:
            raise SinkError(f"publishers.jsonl cannot write {self._path}: {error}") from error

    def _append(self, lines: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _reopen_if_moved(self) -> None:
        with suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._file)):
                return
        replacement, self._last_line = _open(self._path)
        os.close(self._file)
        self._file = replacement

    def tick(self, seq: int) -> None:
        """Nothing to do: a line is in the file when it is published."""

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _open(path: Path) -> tuple[int, bytes]:
    """The file, locked and without an incomplete line, and its last line."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"publishers.jsonl.path: expected to write {path}, got: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file, _repair(file, path)
    except BlockingIOError as error:
        os.close(file)
        raise ConfigError(f"publishers.jsonl.path: another process writes {path}; set another path") from error
    except BaseException:
        os.close(file)
        raise


def _repair(file: int, path: Path) -> bytes:
    """Cut off what a power cut left: an incomplete line, and all from the first NUL byte on, which no line of ours has.

    Returns:
        The last complete line, empty if there is none.
    """
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise ConfigError(f"publishers.jsonl.path: expected a file, got {path}; write '-' for standard output")
    size = os.fstat(file).st_size
    end, tail = _written(file, size)
    complete, newline, torn = tail.rpartition(b"\n")
    last = complete.rpartition(b"\n")[2]
    is_ours = torn.startswith(_LINE_START) or _LINE_START.startswith(torn)
    if not is_ours or (newline and not _seq_of(last)) or (end == 0 and not _is_blank(file, size)):
        raise ConfigError(f"publishers.jsonl.path: expected a file of Earmark's events, got {path}; set another path")
    end -= len(torn)
    if end < size:
        os.ftruncate(file, end)
        _log.warning("a torn end was cut off; its events are written again", path=str(path), n_bytes=size - end)
    return last


def _written(file: int, size: int) -> tuple[int, bytes]:
    """Where the text before the first NUL byte of the file's end stops, and up to a megabyte before that.

    A file system that loses power may have stored a file's new length and not its data, which reads as NUL bytes then,
    with later lines after them or none.
    """
    end = size
    while True:
        start = max(0, end - _TAIL_BYTES)
        tail = os.pread(file, end - start, start)
        n_text = tail.find(b"\0")
        if n_text < 0:
            return end, tail
        end = start + n_text


def _is_blank(file: int, size: int) -> bool:
    """Whether there is nothing but NUL bytes."""
    starts = range(0, size, _TAIL_BYTES)
    return not any(os.pread(file, _TAIL_BYTES, start).strip(b"\0") for start in starts)


def _seq_of(line: bytes) -> int:
    """The ``seq`` of an event's line; 0 where it is none."""
    if not line.startswith(_LINE_START):
        return 0
    try:
        return int(json.loads(line)["seq"])
    except (ValueError, KeyError, TypeError):
        return 0


class JsonlStreamSink:
    """Writes to standard output, never more than it takes at once.

    Args:
        descriptor: Of what is written to; not closed.
    """

    name = "stdout"

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdout.fileno() if descriptor is None else descriptor
        self._seq = 0
        self._unsent = memoryview(b"")

    def resume(self, outbox: OutboxReader, cursor: int) -> int:
        """From the cursor: nobody can read back what went out."""
        del outbox
        self._seq = cursor
        return cursor

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Write each line once, however often the batch is repeated."""
        self._flush()
        for event in events:
            if event.seq > self._seq:
                self._unsent = memoryview(event.json.encode() + b"\n")
                self._seq = event.seq
                self._flush()

    def _flush(self) -> None:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        try:
            while self._unsent:
                if not poller.poll(_STDOUT_TIMEOUT_MS):
                    raise SinkError("standard output takes nothing; whoever reads it is stuck")
                # A pipe that is ready takes this much without blocking.
                self._unsent = self._unsent[os.write(self._descriptor, self._unsent[: select.PIPE_BUF]) :]
        except OSError as error:
            raise SinkError(f"standard output: {error.strerror}") from error

    def tick(self, seq: int) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Leave the descriptor to whoever opened it."""
