"""What the teacher hears in each file: classes that a recording may hold though no list says so.

A place, a piece of music or a sound without a label may hold any class, and a recording that is labelled for one class
may hold others. They are neither taught as present nor as absent; the teacher's own scores are taught instead.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from tqdm import tqdm

from earmark.training.cache import AudioCache
from earmark.training.recording import Recording
from earmark.training.teacher import Teacher

MAY_BE = 0.15
"""Score from which a class may be in a recording of no known class."""
MAY_BE_BESIDE = 0.5
"""The same for a recording that is labelled: its label explains most of what it holds."""
_LABELLED = frozenset({"event", "recording"})
_SHORTEST_S = 0.3

Doubts = Mapping[str, frozenset[str]]
"""Classes that may be in a file, by its name."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def doubts(
    recordings: Sequence[Recording], cache: AudioCache, teacher: Teacher, labels: tuple[str, ...], root: Path
) -> Doubts:
    """Classes that may be in each file beside those that it is listed with.

    Args:
        recordings: Of the list; rooms' responses and single words are left out.
        cache: Their audio.
        teacher: Who hears them.
        labels: Our classes.
        root: Where what the teacher heard is kept, for the next run.
    """
    kinds = {each.file: each.kind for each in recordings if each.kind != "rir"}
    listed: dict[str, set[str]] = {}
    for each in recordings:
        listed.setdefault(each.file, set()).add(each.label)
    found: dict[str, frozenset[str]] = {}
    for file, logits in _loudest(sorted(kinds), cache, teacher, root).items():
        least = MAY_BE_BESIDE if kinds[file] in _LABELLED else MAY_BE
        heard = teacher.scores(logits) >= least
        found[file] = frozenset(label for label, is_heard in zip(labels, heard, strict=True) if is_heard) - listed[file]
    return found


def _loudest(files: Sequence[str], cache: AudioCache, teacher: Teacher, root: Path) -> dict[str, NDArray[np.float32]]:
    """The largest logit of each AudioSet class in each file, float32 ``[527]``; files of a moment are left out."""
    digest = hashlib.blake2b("\n".join([teacher.network.digest, cache.folder.name, *files]).encode(), digest_size=8)
    path = root / f"heard-{digest.hexdigest()}.npz"
    long_enough = [file for file in files if len(cache[file]) >= _SHORTEST_S * cache.sample_rate_hz]
    if not path.is_file():
        _log.info("the teacher hears all recordings once", files=len(long_enough))
        rows = [
            teacher.network(cache[file].astype(np.float32) / 32768).logits.max(axis=0)
            for file in tqdm(long_enough, desc="hear", disable=None)
        ]
        partial = path.with_suffix(".new.npz")
        np.savez(partial, logits=np.stack(rows) if rows else np.zeros((0, 527), np.float32))
        partial.replace(path)
    with np.load(path) as saved:
        return dict(zip(long_enough, saved["logits"], strict=True))
