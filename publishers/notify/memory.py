"""What a notification's sink knows after a restart too: when it told of what, and what quiet hours hold back."""

import os
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydantic import BaseModel, Field, ValidationError

from earmark.contracts.events import SoundEvent
from earmark.outbox.config import OutboxConfig

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def memory_path(outbox: OutboxConfig, sink: str) -> Path:
    """The file beside an outbox."""
    return outbox.path.with_name(f"{outbox.path.name}.{sink}")


class _Content(BaseModel):
    outbox_id: str = ""
    seq: int = Field(default=0, ge=0)
    told: list[tuple[str, str, str, datetime]] = []
    held: list[tuple[str, str, int]] = []


class Memory:
    """In one small file, replaced as a whole; what cannot be read or written costs only what it would have told.

    Args:
        path: The file.
        cooldown_s: What was told longer ago is forgotten.
    """

    def __init__(self, path: Path, cooldown_s: float) -> None:
        self._path = path
        self._cooldown_s = cooldown_s
        content = self._read()
        self._place = content.outbox_id, content.seq
        self._told = {(stream, label, phase): at for stream, label, phase, at in content.told}
        self.held = Counter({(stream, label): count for stream, label, count in content.held})
        """Onsets that quiet hours held back, by stream and label."""
        self._saved = self._content()

    def cursor(self, outbox_id: str, cursor: int) -> int:
        """From where to go on with an outbox: what the file holds already is not counted again."""
        known_id, seq = self._place
        self._place = outbox_id, max(seq, cursor) if outbox_id == known_id else cursor
        return self._place[1]

    def was_told(self, event: SoundEvent) -> bool:
        """Whether one like it was told within the cool-down."""
        at = self._told.get((event.stream, event.label, event.phase))
        return at is not None and abs(event.onset_time - at) < timedelta(seconds=self._cooldown_s)

    def note_told(self, event: SoundEvent) -> None:
        """It was told."""
        if self._cooldown_s:
            oldest = event.onset_time - timedelta(seconds=self._cooldown_s)
            self._told = {key: at for key, at in self._told.items() if at > oldest}
            self._told[event.stream, event.label, event.phase] = event.onset_time

    def save(self, seq: int) -> None:
        """Write it, where it has changed; everything through ``seq`` is in it."""
        self._place = self._place[0], seq
        content = self._content()
        if content == self._saved:
            return
        draft = self._path.with_name(self._path.name + ".new")
        whole = _Content(outbox_id=self._place[0], seq=seq, told=content[0], held=content[1])
        try:
            with open(draft, "w", encoding="utf-8", opener=_for_its_owner) as file:
                file.write(whole.model_dump_json())
            draft.replace(self._path)
        except OSError as error:
            _log.warning("what a notification must remember was not written", path=str(self._path), error=str(error))
            return
        self._saved = content

    def _content(self) -> tuple[list[tuple[str, str, str, datetime]], list[tuple[str, str, int]]]:
        return [(*key, at) for key, at in self._told.items()], [(*key, count) for key, count in self.held.items()]

    def _read(self) -> _Content:
        try:
            return _Content.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return _Content()
        except (OSError, ValidationError) as error:
            _log.warning("what a notification remembered cannot be read", path=str(self._path), error=str(error))
            return _Content()


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
