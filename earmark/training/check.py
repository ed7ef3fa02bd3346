"""Looks over labelled audio before anything is trained on it: what is there, what is wrong, what leaks."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earmark.contracts.bundle import FrontEnd
from earmark.training.cache import AudioCache
from earmark.training.index import read_listing
from earmark.training.leaks import Shared, shared_audio, shared_authors, shared_sources
from earmark.training.licences import allows_sale, normalised
from earmark.training.recording import Recording, Reject

IMBALANCE = 10
"""A class with so many times more training files than another is worth a word."""

_NAMED = 5
"""So many of a kind are named in a warning."""


@dataclass(frozen=True)
class Count:
    """How much there is of a class in a split: its files, and the seconds in which the list says that it is heard."""

    kind: str
    split: str
    label: str
    files: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """What there is to tell about a list.

    Attributes:
        layout: Its format.
        files: How many files can be used.
        seconds: How long they are together.
        counts: By kind, split and class, sorted.
        licences: Files by licence, the most frequent first.
        rejects: What cannot be used.
        leaks: What several splits share.
        warnings: What deserves a look.
    """

    layout: str
    files: int
    seconds: float
    counts: tuple[Count, ...]
    licences: dict[str, int]
    rejects: tuple[Reject, ...]
    leaks: tuple[Shared, ...]
    warnings: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 with rejects or leaks, else 0."""
        return 1 if self.rejects or self.leaks else 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(path: Path, cache: Path) -> Report:
    """Read a list, decode all its audio and compare its splits.

    Args:
        path: As for `read_listing`.
        cache: Where decoded audio is kept; training takes it from there.

    Raises:
        ConfigError: There is no list.
    """
    listing = read_listing(path)
    audio = AudioCache.build(path, listing.recordings, cache, FrontEnd().sample_rate_hz)
    recordings, unusable = audio.judged(listing.recordings)
    lengths = {recording.file: len(audio[recording.file]) / audio.sample_rate_hz for recording in recordings}
    alike = shared_audio(recordings, audio)
    leaks = [*shared_sources(recordings), *(each for each in alike if each.leaks and each.what == "content")]
    licences = Counter(normalised(licence) for licence in {r.file: r.licence for r in recordings}.values())
    return Report(
        layout=listing.layout,
        files=len(lengths),
        seconds=sum(lengths.values()),
        counts=_counts(recordings, lengths),
        licences=dict(licences.most_common()),
        rejects=(*listing.rejects, *unusable),
        leaks=tuple(leaks),
        warnings=(
            *listing.notes,
            *_licence_warnings(licences),
            *_class_warnings(recordings),
            *_audio_warnings(alike),
            *_author_warnings(recordings),
            *_collection_warnings(recordings),
        ),
    )


def _counts(recordings: Sequence[Recording], lengths: dict[str, float]) -> tuple[Count, ...]:
    grouped: dict[tuple[str, str, str], list[Recording]] = defaultdict(list)
    for recording in recordings:
        grouped[recording.kind, recording.split, recording.label].append(recording)
    return tuple(
        Count(*key, files=len(its), seconds=sum(_heard(recording, lengths[recording.file]) for recording in its))
        for key, its in sorted(grouped.items())
    )


def _heard(recording: Recording, seconds: float) -> float:
    if not recording.regions:
        return seconds
    return sum(min(offset_s, seconds) - min(onset_s, seconds) for onset_s, offset_s in recording.regions)


def _licence_warnings(licences: Counter[str]) -> list[str]:
    forbidden = [f"{name} ({n} files)" for name, n in licences.items() if allows_sale(name) is False]
    unknown = [f"{name} ({n} files)" for name, n in licences.items() if allows_sale(name) is None]
    told = [("forbid commercial use", forbidden), ("are not known to allow commercial use", unknown)]
    return [f"licences that {what}: {', '.join(names)}" for what, names in told if names]


def _class_warnings(recordings: Sequence[Recording]) -> list[str]:
    events = [recording for recording in recordings if recording.kind == "event"]
    by_split = {split: Counter(r.label for r in events if r.split == split) for split in ("train", "dev")}
    labels = sorted({recording.label for recording in events})
    warnings = [
        f"classes without a file in {split}: {_some(missing)}"
        for split, counts in by_split.items()
        if (missing := [label for label in labels if not counts[label]])
    ]
    train = by_split["train"].most_common()
    if train and train[0][1] >= IMBALANCE * train[-1][1]:
        most, least = train[0], train[-1]
        warnings.append(f"classes differ much in train: {most[0]} has {most[1]} files, {least[0]} has {least[1]}")
    return warnings


def _audio_warnings(alike: Sequence[Shared]) -> list[str]:
    twice = [f"{' = '.join(each.files)}" for each in alike if each.what == "content" and not each.leaks]
    near = [_told(each) for each in alike if each.what == "likeness"]
    told = [("files with the same audio in one split", twice), ("files that sound like copies of each other", near)]
    return [f"{what}, {len(names)}: {_some(names)}" for what, names in told if names]


def _told(pair: Shared) -> str:
    return f"{' ~ '.join(pair.files)} ({' and '.join(pair.splits)})"


def _author_warnings(recordings: Sequence[Recording]) -> list[str]:
    shared = shared_authors(recordings)
    if not shared:
        return []
    largest = sorted(shared, key=lambda each: len(each.files), reverse=True)
    names = [f"{each.name} ({len(each.files)} files)" for each in largest]
    return [f"authors with the same class in several splits, {len(names)}: {_some(names)}"]


def _collection_warnings(recordings: Sequence[Recording]) -> list[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        if not recording.group and recording.source:
            splits[recording.source].add(recording.split)
    names = sorted(source for source, its in splits.items() if len(its) > 1)
    if not names:
        return []
    return [f"sources in several splits that name a collection; who leaks inside is not seen: {_some(names)}"]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
