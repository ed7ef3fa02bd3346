"""A labelled piece of audio, or the reason why a row of a list is none."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import structlog

_log = structlog.get_logger()

Region = tuple[float, float]
"""[onset, offset) in seconds from the file's start."""

KINDS = ("event", "recording", "background", "ambience", "music", "speech_more", "extra", "unlabelled", "rir")
SPLITS = ("train", "dev", "test")

TOLERANCE_S = 0.1
"""An offset up to this far behind the file's end is a rounded one."""

_REGION = re.compile(r"(-?\d+(?:\.\d*)?)-(-?\d+(?:\.\d*)?)")
_LOGGED = 20


@dataclass(frozen=True)
class Recording:
    """One file with one class; a file with several classes is listed once for each of them.

    Attributes:
        file: Below the folder of the list.
        kind: One of `KINDS`.
        split: One of `SPLITS`.
        label: The class, or the name of what is no class; empty where no class is heard.
        seconds: The file's length as the list tells it; 0 where it does not.
        regions: Where the class is heard, in order and apart; empty where the list does not tell.
        licence: As the list spells it; empty where it does not tell.
        author: Who is to be credited.
        source: What the file was cut from.
        fold: The list's own grouping, if it has one.
        group: The one recording (or speaker) that the file comes from; empty where only a collection is named.
        also: The other classes that the list gives the same file.
    """

    file: str
    kind: str
    split: str
    label: str
    seconds: float
    regions: tuple[Region, ...]
    licence: str
    author: str
    source: str
    fold: str = ""
    group: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reject:
    """Something that cannot be used: ``where`` is a line of a list or a file of audio."""

    where: str
    file: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What the reader of a format found, each with its place.

    Attributes:
        recordings: With and without a split; the file need not be there.
        rejects: Rows that are no recordings.
        notes: What else is worth a word.
        several: Whether the format gives a file several labels.
    """

    recordings: list[tuple[Recording, str]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    several: bool = False

    def add(self, recording: Recording, where: str) -> None:
        """One more recording, if it has a label."""
        if recording.label:
            self.recordings.append((recording, where))
        else:
            self.rejects.append(Reject(where, recording.file, "expected a label, found none"))


def parse_regions(text: str) -> tuple[Region, ...]:
    """Regions as the index writes them, ``0.5-1.25 3-4`` or with ``;`` between them, sorted by onset.

    Raises:
        ValueError: One is malformed, negative or empty, or two overlap; the message says which.
    """
    regions = sorted(_region(part) for part in text.replace(";", " ").split())
    for (_, offset_s), (onset_s, _) in pairwise(regions):
        if onset_s < offset_s:
            raise ValueError(f"two regions overlap: one ends at {offset_s:g} s, the next begins at {onset_s:g} s")
    return tuple(regions)


def _region(text: str) -> Region:
    match = _REGION.fullmatch(text)
    if match is None:
        raise ValueError(f"expected regions like 0.5-1.25, got {text!r}")
    return checked_region(float(match[1]), float(match[2]))


def checked_region(onset_s: float, offset_s: float) -> Region:
    """The region, if it is one.

    Raises:
        ValueError: It begins before the file or does not end behind its onset.
    """
    if not onset_s >= 0:
        raise ValueError(f"a region begins before the file, at {onset_s:g} s")
    if not onset_s < offset_s < float("inf"):
        raise ValueError(f"a region does not end behind its onset: {onset_s:g} to {offset_s:g} s")
    return onset_s, offset_s


def behind_end(regions: Iterable[Region], seconds: float) -> str | None:
    """Why these regions do not fit a file of so many seconds, if they do not."""
    for onset_s, offset_s in regions:
        if offset_s > seconds + TOLERANCE_S:
            return f"the region {onset_s:g}-{offset_s:g} ends behind the file's end at {seconds:.3f} s"
    return None


def united(regions: Iterable[Region]) -> tuple[Region, ...]:
    """The same time in regions that are sorted and apart: what overlaps or touches becomes one."""
    apart: list[Region] = []
    for onset_s, offset_s in sorted(regions):
        if apart and onset_s <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(offset_s, apart[-1][1]))
        else:
            apart.append((onset_s, offset_s))
    return tuple(apart)


def log_rejects(rejects: Sequence[Reject]) -> None:
    """Tell what is left out, so that nothing vanishes unseen."""
    for reject in rejects[:_LOGGED]:
        _log.warning("left out", where=reject.where, file=reject.file, reason=reject.reason)
    if len(rejects) > _LOGGED:
        _log.warning("left out more; earmark data check lists all", n=len(rejects) - _LOGGED)
