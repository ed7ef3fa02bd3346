"""What two splits share though they must not: sources, audio, and, where it cannot be helped, authors."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from earmark.training.cache import AudioCache
from earmark.training.fingerprint import Fingerprint, alike, fingerprint
from earmark.training.recording import Recording

_NOBODY = frozenset({"", "-", "unknown"})


@dataclass(frozen=True)
class Shared:
    """Something that several files share.

    Attributes:
        what: ``source``, ``content``, ``likeness`` or ``author``.
        name: Which one.
        splits: Where it is found.
        files: Who shares it.
    """

    what: str
    name: str
    splits: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """Whether it stands in several splits."""
        return len(self.splits) > 1


def shared_sources(recordings: Iterable[Recording]) -> list[Shared]:
    """Sources in several splits. Collections, which have no `group`, do not count."""
    shared = _shared("source", recordings, lambda recording: recording.group)
    return [each for each in shared if each.leaks]


def shared_authors(recordings: Iterable[Recording]) -> list[Shared]:
    """Authors with the same class in several splits: rooms, devices and habits may be the same."""
    shared = _shared("author", recordings, lambda r: "" if r.author in _NOBODY else f"{r.author}, {r.label}")
    return [each for each in shared if each.leaks]


def shared_audio(recordings: Sequence[Recording], cache: AudioCache) -> list[Shared]:
    """Files of the same samples, and of nearly the same sound; also those in one split.

    Args:
        recordings: Usable ones.
        cache: Their audio. Room responses are only compared sample by sample, for they are alike.
    """
    by_file = {recording.file: recording for recording in recordings}
    first: dict[str, Recording] = {}
    digests: dict[str, str] = {}
    prints: list[tuple[Fingerprint, int]] = []
    printed: list[Recording] = []
    for file, recording in tqdm(by_file.items(), desc="compare", disable=None):
        pcm = cache[file]
        digests[file] = hashlib.blake2b(pcm.tobytes(), digest_size=16).hexdigest()
        if digests[file] not in first and recording.kind != "rir":
            printed.append(recording)
            prints.append(fingerprint(pcm))
        first.setdefault(digests[file], recording)
    same = _shared("content", by_file.values(), lambda recording: digests[recording.file])
    named = [Shared(each.what, each.files[0], each.splits, each.files) for each in same]
    pairs = [(printed[one], printed[other]) for one, other in alike(prints)]
    return named + [_pair(one, other) for one, other in pairs]


def _pair(one: Recording, other: Recording) -> Shared:
    return Shared("likeness", one.file, tuple(sorted({one.split, other.split})), (one.file, other.file))


def _shared(what: str, recordings: Iterable[Recording], name: Callable[[Recording], str]) -> list[Shared]:
    by_name: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_name[name(recording)].append(recording)
    return [
        Shared(what, each, tuple(sorted({r.split for r in its})), files)
        for each, its in by_name.items()
        if each and len(files := tuple(dict.fromkeys(r.file for r in its))) > 1
    ]
