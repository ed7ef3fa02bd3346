"""Labelled clips that the loop looks at now and then: is the right class the loudest?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError
from earmark.training.cache import AudioCache
from earmark.training.index import Recording
from earmark.training.model import Crnn
from earmark.training.sources import SPEECH
from engine.frontend import Features, LogMel

CLIP_S = 5

Scorer = Callable[[Features], NDArray[np.float32]]
"""Features ``[B, T, n_mels]`` from fresh state to logits ``[B, T / hops_per_score, C]``."""


@dataclass(frozen=True)
class Clips:
    """Labelled clips of `CLIP_S`: features float32 ``[N, T, n_mels]`` and classes int64 ``[N]``."""

    features: Features
    labels: NDArray[np.int64]

    @classmethod
    def load(
        cls,
        recordings: Sequence[Recording],
        cache: AudioCache,
        front_end: LogMel,
        names: tuple[str, ...],
        hops_per_score: int,
    ) -> "Clips":
        """The index's dev clips of one class, `speech` apart, cut or filled with silence to `CLIP_S`.

        Raises:
            ConfigError: There are none.
        """
        chosen = [each for each in dev_clips(recordings) if each.label in names and each.label != SPEECH]
        if not chosen:
            raise ConfigError(
                f"expected clips to measure on, of one class each and not all of {SPEECH}, found none with split dev; "
                "set split to dev for one in five, or list more clips from other sources"
            )
        output_hop = hops_per_score * front_end.spec.hop_length
        n_samples = CLIP_S * front_end.spec.sample_rate_hz // output_hop * output_hop
        audio = (_fit(cache[recording.file], n_samples) for recording in chosen)
        features = [front_end(np.pad(clip, (front_end.tail_length, 0))[None])[0] for clip in audio]
        return cls(np.stack(features), np.array([names.index(recording.label) for recording in chosen]))


def dev_clips(recordings: Sequence[Recording]) -> list[Recording]:
    """The dev split's clips, but those of several classes."""
    return [each for each in recordings if each.kind == "event" and each.split == "dev" and not each.also]


def accuracy(score: Scorer, clips: Clips, batch: int = 64) -> float:
    """Share of the clips whose class has the largest mean logit."""
    starts = range(0, len(clips.labels), batch)
    means = np.concatenate([score(clips.features[start : start + batch]).mean(axis=1) for start in starts])
    return float(np.mean(means.argmax(axis=1) == clips.labels))


def _fit(pcm: NDArray[np.int16], n_samples: int) -> NDArray[np.float32]:
    cut = pcm[:n_samples].astype(np.float32) / 32768
    return np.pad(cut, (0, n_samples - len(cut)))


def offline(model: Crnn) -> Scorer:
    """Score whole clips from fresh state: logits, whose order is that of the scores."""
    device = model.mean.device

    def score(features: Features) -> NDArray[np.float32]:
        with torch.inference_mode():
            state = [part.to(device) for part in model.fresh_state(len(features))]
            return model(torch.from_numpy(features).to(device), state)[0].cpu().numpy()

    return score
