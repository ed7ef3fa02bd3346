"""Which split a recording without one belongs to, always the same, and never one source in two of them.

A list's own split counts. Where it gives none but folds, its last fold is ``dev`` and the others are ``train``. Else
20 % of the sources are ``dev``, chosen by a hash of the source's name, so that a longer list moves nothing.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

from earmark.training.recording import Recording

DEV_SHARE = 0.2

_FREESOUND = re.compile(r"freesound(?:\.org/\S*sounds/|\W{0,3})(\d+)", re.IGNORECASE)
_SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_\d+")
_ONE_RECORDING = re.compile(r"\d{5,}|://|\.(?:wav|flac|ogg|opus|mp3|aiff?|m4a|mp4|mkv|webm)\b", re.IGNORECASE)


def group_of(file: str, source: str) -> str:
    """The one recording, or speaker, that a file comes from.

    A source that names a Freesound sound, a file, an address or a number of five digits or more is one recording; any
    other is taken for a collection (``Speech Commands v0.01``), of which files may stand in several splits. Files
    of Speech Commands name their speaker.

    Returns:
        A name that all files from there share; empty for a collection.
    """
    if speaker := _SPEAKER.search(file):
        return f"speaker {speaker[1]}"
    if sound := _FREESOUND.search(source):
        return f"freesound {sound[1]}"
    return source if _ONE_RECORDING.search(source) else ""


def with_splits(recordings: Sequence[Recording]) -> list[Recording]:
    """All of them with a split; those that have one keep it, and others of the same source take it too."""
    given = {_unit(recording): recording.split for recording in recordings if recording.split}
    folds = {int(r.fold) for r in recordings if not r.split and r.fold.isdecimal()}
    last = max(folds) if len(folds) > 1 else None
    return [replace(recording, split=recording.split or _split(recording, given, last)) for recording in recordings]


def _split(recording: Recording, given: dict[str, str], last_fold: int | None) -> str:
    unit = _unit(recording)
    if unit in given:
        return given[unit]
    if last_fold is not None and recording.fold.isdecimal():
        return "dev" if int(recording.fold) == last_fold else "train"
    digest = hashlib.blake2b(unit.encode(), digest_size=8).digest()
    return "dev" if int.from_bytes(digest) < DEV_SHARE * 2**64 else "train"


def _unit(recording: Recording) -> str:
    """What must not stand in two splits."""
    return recording.group or recording.source or recording.file
