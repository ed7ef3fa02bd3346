"""All audio of an index, decoded once into one memory-mapped file: int16, mono, at one rate.

A cache is a folder named after the rate and every file's name, size and time of change, so that whatever changes makes
another cache. It is written under another name and renamed when it is whole; a lock, which the system frees when its
holder dies, makes a second process wait for the first.
"""

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import av
import numpy as np
import structlog
from numpy.typing import NDArray
from tqdm import tqdm

from earmark.contracts.errors import SourceError
from earmark.training.index import audio_base
from earmark.training.recording import Recording, Reject, behind_end, log_rejects

Pcm = NDArray[np.int16]

MIN_S = 0.1
"""Less audio than this is no sound to learn."""

_AUDIO, _EXTENTS, _ABOUT = "audio.i16", "extents.json", "about.json"
_FORMAT = 3
_WAIT_S = 0.2
_log = structlog.get_logger()


class AudioCache:
    """Decoded audio by file name; a worker process opens the same file for itself.

    Args:
        folder: Where `build` put the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._extents: dict[str, tuple[int, int]] = json.loads((folder / _EXTENTS).read_text())
        about = json.loads((folder / _ABOUT).read_text())
        self.sample_rate_hz: int = about["sample_rate_hz"]
        self._reasons: dict[str, str] = about["undecodable"]
        length = (folder / _AUDIO).stat().st_size
        self._pcm = np.memmap(folder / _AUDIO, np.int16, mode="r") if length else np.zeros(0, np.int16)

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Another process opens the file instead of getting a copy of all its audio."""
        return type(self), (self.folder,)

    def __getitem__(self, file: str) -> Pcm:
        """A file's samples, int16 ``[n]``; a read-only view.

        Raises:
            SourceError: It could not be decoded; `usable` leaves such recordings out.
        """
        if file in self._reasons:
            raise SourceError(f"expected audio in {file}: {self._reasons[file]}")
        start, stop = self._extents[file]
        return self._pcm[start:stop]

    def __contains__(self, file: object) -> bool:
        """Whether there is audio of ``file``."""
        return file in self._extents

    def usable(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Those of these recordings that can be trained on; logs the others."""
        fit, rejects = self.judged(recordings)
        log_rejects(rejects)
        return fit

    def judged(self, recordings: Sequence[Recording]) -> tuple[list[Recording], list[Reject]]:
        """Those of these recordings that can be trained on, and why the others cannot.

        A file must be decodable, not silent, and `MIN_S` long but for a room's response; regions must end inside it.
        """
        fit: list[Recording] = []
        rejects: list[Reject] = []
        for recording in recordings:
            if reason := self._flaw(recording):
                rejects.append(Reject(recording.file, recording.file, reason))
            else:
                fit.append(recording)
        return fit, list(dict.fromkeys(rejects))

    def _flaw(self, recording: Recording) -> str | None:
        if recording.file in self._reasons:
            return self._reasons[recording.file]
        pcm = self[recording.file]
        seconds = len(pcm) / self.sample_rate_hz
        if seconds < MIN_S and recording.kind != "rir":
            return f"shorter than {MIN_S} s: {seconds:.3f} s"
        if not pcm.any():
            return "digital silence from beginning to end"
        return behind_end(recording.regions, seconds)

    @classmethod
    def build(cls, data: Path, recordings: Sequence[Recording], root: Path, sample_rate_hz: int) -> "AudioCache":
        """The cache of these recordings below ``root``, decoded now unless it is there already.

        A file that cannot be decoded does not stop the others; `judged` tells of it.

        Args:
            data: The list, or its folder, as `read_index` takes it.
            recordings: Those of the list.
            root: Where caches are kept. All of it may be deleted while nothing trains.
            sample_rate_hz: Of the decoded audio.
        """
        base = audio_base(data)
        files = list(dict.fromkeys(recording.file for recording in recordings))
        name = _name(base, files, sample_rate_hz)
        folder = root / name
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{name}.lock"):
            if not _whole(folder):
                partial = root / f"{name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
                partial.mkdir()
                _decode_all(base, files, partial, sample_rate_hz)
                partial.rename(folder)
        return cls(folder)


def _name(base: Path, files: Sequence[str], sample_rate_hz: int) -> str:
    digest = hashlib.blake2b(f"{_FORMAT} {sample_rate_hz} {base.resolve()}\n".encode(), digest_size=8)
    for file in files:
        path = base / file
        state = path.stat() if path.is_file() else None
        digest.update(f"{file}\0{state and (state.st_size, state.st_mtime_ns)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _whole(folder: Path) -> bool:
    """Whether a build ended here, and a power cut did not take its audio after that."""
    try:
        extents = json.loads((folder / _EXTENTS).read_text())
        json.loads((folder / _ABOUT).read_text())
        length = (folder / _AUDIO).stat().st_size
    except (OSError, ValueError):
        return False
    return length == 2 * max((stop for _, stop in extents.values()), default=0)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    _log.info("another process decodes the same audio; waiting for it", lock=str(path))
                waited = True
                time.sleep(_WAIT_S)
        yield


def _decode_all(base: Path, files: Sequence[str], folder: Path, sample_rate_hz: int) -> None:
    extents: dict[str, tuple[int, int]] = {}
    reasons: dict[str, str] = {}
    end = 0
    with (folder / _AUDIO).open("wb") as audio:
        for file in tqdm(files, desc="decode", disable=None):
            try:
                pcm = decode(base / file, sample_rate_hz)
            except SourceError as error:
                reasons[file] = str(error)
                continue
            extents[file] = (end, end + len(pcm))
            end += len(pcm)
            audio.write(pcm.tobytes())
    (folder / _ABOUT).write_text(json.dumps({"sample_rate_hz": sample_rate_hz, "undecodable": reasons}))
    (folder / _EXTENTS).write_text(json.dumps(extents))


def decode(path: Path, sample_rate_hz: int) -> Pcm:
    """The first channel of a whole file, as it is scored, int16 ``[n]`` at ``sample_rate_hz``.

    Raises:
        SourceError: It cannot be opened or holds no audio.
    """
    resampler = av.AudioResampler(format="s16p", rate=sample_rate_hz)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise SourceError(f"expected audio in {path}: {error}") from error
    if not frames:
        raise SourceError(f"expected audio in {path}, found none")
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
