"""Small sound files and tables for lists of every format."""

import wave
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE = 16_000


def bursts(seed: int, n_samples: int = RATE) -> NDArray[np.int16]:
    """Noise whose level and colour change, as in a real sound; another seed is another sound."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.02, 1, 20), -(-n_samples // 20))[:n_samples]
    noise = rng.standard_normal(n_samples)
    if seed % 2:
        noise = np.cumsum(noise) * 0.05
    return np.clip(3000 * level * noise, -32768, 32767).astype(np.int16)


def write_pcm(path: Path, pcm: NDArray[np.int16]) -> Path:
    """A WAV file at `RATE`; ``[n]``, or ``[n, channels]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1 if pcm.ndim == 1 else pcm.shape[1], 2, RATE, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def write_sound(path: Path, seconds: float = 0.5) -> Path:
    """A sound that depends on the file's name."""
    return write_pcm(path, bursts(zlib.crc32(path.name.encode()), round(seconds * RATE)))


def write_table(path: Path, *lines: str) -> Path:
    """A table; blanks in the lines of a ``.tsv`` become tabs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_text(text.replace(" ", "\t") if path.suffix == ".tsv" else text, encoding="utf-8")
    return path
