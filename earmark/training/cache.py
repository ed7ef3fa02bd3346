"""All audio of an index, decoded once into one memory-mapped file: int16, mono, at one rate."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from earmark.contracts.errors import SourceError
from earmark.training.index import Recording

Pcm = NDArray[np.int16]


class AudioCache:
    """Decoded audio by file name; a worker process opens the same file for itself.

    Args:
        folder: Where `build` put the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._extents: dict[str, tuple[int, int]] = json.loads((folder / "extents.json").read_text())
        self._pcm = np.memmap(folder / "audio.i16", np.int16, mode="r")

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Another process opens the file instead of getting a copy of all its audio."""
        return type(self), (self.folder,)

    def __getitem__(self, file: str) -> Pcm:
        """A file's samples, int16 ``[n]``; a read-only view."""
        start, stop = self._extents[file]
        return self._pcm[start:stop]

    @classmethod
    def build(cls, data: Path, recordings: Sequence[Recording], root: Path, sample_rate_hz: int) -> "AudioCache":
        """The cache of these recordings below ``root``, decoded now unless it is there already."""
        names = "\n".join([str(sample_rate_hz), *(recording.file for recording in recordings)])
        folder = root / hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
        if not (folder / "extents.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            _decode_all(data, recordings, folder, sample_rate_hz)
        return cls(folder)


def _decode_all(data: Path, recordings: Sequence[Recording], folder: Path, sample_rate_hz: int) -> None:
    extents: dict[str, tuple[int, int]] = {}
    end = 0
    with (folder / "audio.i16").open("wb") as audio:
        for recording in tqdm(recordings, desc="decode", disable=None):
            pcm = decode(data / recording.file, sample_rate_hz)
            extents[recording.file] = (end, end + len(pcm))
            end += len(pcm)
            audio.write(pcm.tobytes())
    # Written last: its presence says that the audio is complete.
    (folder / "extents.json").write_text(json.dumps(extents))


def decode(path: Path, sample_rate_hz: int) -> Pcm:
    """A whole file as mono int16 ``[n]`` at ``sample_rate_hz``.

    Raises:
        SourceError: It cannot be opened or holds no audio.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate_hz)
    try:
        with av.open(str(path)) as container:
            frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    except (av.FFmpegError, IndexError) as error:
        raise SourceError(f"expected audio in {path}: {error}") from error
    if not frames:
        raise SourceError(f"expected audio in {path}, found none")
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
