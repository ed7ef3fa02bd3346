"""What can be heard in the page's pictures: speech is rebuilt from them, and two listeners say what they hear.

Spoken words go through the front end and the HTTP encoding of a full or a coarse picture. An attacker's best simple
means rebuild sound from the bytes: mel bands to magnitudes by least squares, phases by Griffin and Lim (1984). The
listeners are the bundle itself, which says whether there is speech, and pocketsphinx, which says which of the words it
is. Needs ``pip install pocketsphinx``; a listener who guesses is right in one of three.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import print_table
from earmark.contracts.bundle import load_bundle
from earmark.contracts.monitor import Frames
from engine.detector import Detector
from engine.frontend import LogMel, mel_filters
from publishers.http.coarse import BANDS, CoarsePicture
from publishers.http.live import HIGHEST, LOWEST

Sound = NDArray[np.float32]
_WORDS = ("bed", "cat", "happy")
_PAD_S = 1.04
_LOUDEST = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--bundle", default="urban")
    parser.add_argument("--words", type=int, default=60, help="spoken words of each kind")
    arguments = parser.parse_args()
    picture, detector, recogniser = Picture(arguments.bundle), Detector(arguments.bundle), _open_recogniser()
    ways: dict[str, Callable[[Sound], Sound]] = {
        "the sound itself": lambda sound: sound,
        "full picture": lambda sound: picture.rebuild(picture.full(sound)),
        "coarse picture": lambda sound: picture.rebuild(picture.coarse(sound)),
    }
    spoken = [each for word in _WORDS for each in _spoken(arguments.data, word, arguments.words)]
    rows: list[tuple[object, ...]] = []
    for name, way in ways.items():
        heard = [(word, _levelled(way(sound))) for word, sound in spoken]
        n_speech = sum(_has_speech(detector, sound) for _, sound in heard)
        n_right = sum(_recognise(recogniser, sound) == word for word, sound in heard)
        rows.append((name, len(heard), *(f"{100 * n / len(heard):.0f} %" for n in (n_speech, n_right))))
    print_table(("rebuilt from", "words", "detector hears speech", "pocketsphinx names the word"), rows)


class Picture:
    """Makes pictures as the server does, and sound of them as an attacker would.

    Args:
        bundle: Whose front end it is.
    """

    def __init__(self, bundle: str) -> None:
        self._bundle = load_bundle(bundle).spec
        self._front_end = LogMel(self._bundle.front_end)
        self._filters = mel_filters(self._bundle.front_end)

    def full(self, sound: Sound) -> Sound:
        """Power of all mel bands, float32 ``[T, n_mels]``, with the steps of a byte a value."""
        return _as_received(self._front_end(np.pad(sound, (self._front_end.tail_length, 0))[None])[0])

    def coarse(self, sound: Sound) -> Sound:
        """The same of a coarse picture, each band spread over the mel bands that it is the mean of."""
        features = self._front_end(np.pad(sound, (self._front_end.tail_length, 0))[None])[0]
        n = len(features) // self._bundle.hops_per_score
        frames = Frames(
            stream="gate",
            epoch="0" * 16,
            first_sample=0,
            first_ns=0,
            hop=self._bundle.output_hop,
            sample_rate_hz=self._bundle.sample_rate_hz,
            level_db=np.zeros(n, np.float32),
            features=features,
            scores=np.zeros((n, 1), np.float32),
        )
        told = CoarsePicture().take(frames)
        if told is None:
            raise ValueError("expected half a second of sound at least")
        powers = _as_received(told.features)
        widths = [len(band) for band in np.array_split(np.arange(len(self._filters)), BANDS)]
        return np.repeat(powers, widths, axis=1)

    def rebuild(self, powers: Sound) -> Sound:
        """Sound whose mel bands have these powers, float32 ``[T * hop_length]``."""
        front_end = self._bundle.front_end
        spectrum = librosa.util.nnls(self._filters, powers.T)
        return librosa.griffinlim(
            np.sqrt(spectrum),
            n_iter=32,
            hop_length=front_end.hop_length,
            win_length=front_end.win_length,
            n_fft=front_end.n_fft,
            random_state=0,
        )


def _as_received(features: Sound) -> Sound:
    steps = np.rint(np.clip((features - LOWEST) / (HIGHEST - LOWEST), 0, 1) * 255)
    return np.exp(steps / 255 * (HIGHEST - LOWEST) + LOWEST).astype(np.float32)


def _spoken(data: Path, word: str, n: int) -> Iterator[tuple[str, Sound]]:
    """Words of the dev split, each between silences, in whole cells of a coarse picture."""
    with (data / "index.csv").open(encoding="utf-8") as rows:
        names = [row["file"] for row in csv.DictReader(rows) if row["split"] == "dev"]
    for name in sorted(name for name in names if name.startswith(f"speech/{word}_"))[:n]:
        sound, _ = librosa.load(data / name, sr=16_000)
        padded = np.zeros(round(3 * _PAD_S * 16_000), np.float32)
        padded[round(_PAD_S * 16_000) :][: len(sound)] = sound
        yield word, padded


def _levelled(sound: Sound) -> Sound:
    peak = float(np.abs(sound).max())
    return (sound * (_LOUDEST / peak)).astype(np.float32) if peak else sound


def _has_speech(detector: Detector, sound: Sound) -> bool:
    events = detector.feed(sound) + detector.end()
    return any(event.label == "speech" for event in events)


def _open_recogniser() -> Any:
    from pocketsphinx import Decoder  # noqa: PLC0415 -- installed for this alone

    recogniser = Decoder(samprate=16_000, loglevel="FATAL")
    recogniser.add_jsgf_string("words", f"#JSGF V1.0; grammar words; public <word> = {' | '.join(_WORDS)};")
    recogniser.activate_search("words")
    return recogniser


def _recognise(recogniser: Any, sound: Sound) -> str:
    recogniser.start_utt()
    recogniser.process_raw(np.rint(sound * 32767).astype(np.int16).tobytes(), full_utt=True)
    recogniser.end_utt()
    found = recogniser.hyp()
    return "" if found is None else found.hypstr


if __name__ == "__main__":
    main()
