"""How a `WindowModel` learns: from windows cut out of mixed scenes, half of them soon after an onset.

A window's classes are those that sound in its last `WindowConfig.answer_s`, for it is asked after an onset.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from earmark.training.augment import augment
from earmark.training.clips import Clips, accuracy
from earmark.training.config import TrainConfig
from earmark.training.feed import Examples
from earmark.training.loss import peak_loss
from earmark.training.objectives import Objective
from earmark.training.teacher import COLUMN
from earmark.training.window_model import WindowModel
from engine.frontend import Features

ONSET_SHARE = 0.5
AFTER_ONSET_S = (0.6, 2.2)
"""Where a window ends that is cut after an onset: when the other network has heard the sound and the judge waited."""
CLIP_STEP_S = 0.64
"""From one window to the next where whole clips are scored."""
_LEAST_STD = 0.05


class WindowHead(nn.Module):
    """Predicts what the teacher says of a window's end, standardised; dropped at export.

    Args:
        model: Whose pooled features it reads.
        taught: Of usual scenes, float32 ``[N, W, D]``.
    """

    def __init__(self, model: WindowModel, taught: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", taught.mean(dim=(0, 1)))
        self.register_buffer("scale", 1 / taught.std(dim=(0, 1)).clamp(min=_LEAST_STD))
        self.linear = nn.Linear(model.n_pooled, taught.shape[-1])

    def loss(self, pooled: Tensor, taught: Tensor) -> Tensor:
        """Mean squared error of ``pooled [B, n_pooled]`` against ``taught [B, D]``."""
        return (self.linear(pooled.float()) - (taught - self.mean) * self.scale).square().mean()


class WindowObjective(Objective[WindowModel]):
    """Scores of whole windows.

    Args:
        model: Changed in place; its normalisation is fixed already.
        head: Of the teacher, if there is one.
        config: The run, with its `WindowConfig`.
        clips: What to measure on, now and then.
        hops_per_label: Hops of the front end that share a label.
    """

    def __init__(
        self, model: WindowModel, head: WindowHead | None, config: TrainConfig, clips: Clips, hops_per_label: int
    ) -> None:
        self.model, self.head, self.carried = model, head, None
        self._teacher_head, self._config, self._clips = head, config, clips
        spec, window = config.front_end, model.config
        self._hops = hops_per_label
        self._label_s = hops_per_label * spec.hop_length / spec.sample_rate_hz
        self._n_frames = round(window.window_s / self._label_s)
        self._per_scene = window.per_scene
        self._n_answer = round(window.answer_s / self._label_s)
        self._columns_s = COLUMN / spec.sample_rate_hz

    def losses(self, examples: Examples, device: torch.device, *, bf16: bool) -> dict[str, Tensor]:
        """See `Objective`."""
        rows, ends = self._cut(examples)
        labels = torch.from_numpy(self._labels(examples, rows, ends)).to(device)
        features = augment(torch.from_numpy(self._windows(examples.features, rows, ends))).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            pooled = self.model.encode(features)
            logits = self.model.classify(pooled)
        weights = self._config.loss
        each = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        losses = {
            "frame": weights.frame * each.sum(dim=-1).mean(),
            "peak": weights.peak * peak_loss(logits[:, None], labels[:, None]),
        }
        if self._teacher_head is not None:
            taught = torch.from_numpy(self._taught(examples, rows, ends)).to(device)
            losses["teacher"] = weights.teacher * self._teacher_head.loss(pooled, taught)
        return losses

    def dev_accuracy(self, model: WindowModel) -> float:
        """See `Objective`: by the largest mean logit of a clip's windows."""
        device = model.mean.device

        def score(features: Features) -> NDArray[np.float32]:
            length, step = self._n_frames * self._hops, round(CLIP_STEP_S / self._label_s) * self._hops
            starts = range(0, features.shape[1] - length + 1, step)
            with torch.inference_mode():
                parts = [model(torch.from_numpy(features[:, s : s + length]).to(device)) for s in starts]
                return torch.stack(parts, dim=1).cpu().numpy()

        return accuracy(score, self._clips)

    def _cut(self, examples: Examples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and ends, in labels, of a batch's windows, both int64 ``[K]``."""
        rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
        n_rows, n_labels = examples.labels.shape[:2]
        rows = np.repeat(np.arange(n_rows), self._per_scene)
        ends = rng.integers(self._n_frames, n_labels + 1, len(rows))
        for place in np.flatnonzero(rng.random(len(rows)) < ONSET_SHARE):
            frames = examples.event_frames[rows[place]][examples.event_labels[rows[place]] >= 0]
            if len(frames):
                onset = int(frames[rng.integers(len(frames))].argmax())
                end = onset + round(rng.uniform(*AFTER_ONSET_S) / self._label_s)
                ends[place] = np.clip(end, self._n_frames, n_labels)
        return rows, ends

    def _windows(self, features: Features, rows: NDArray[np.int64], ends: NDArray[np.int64]) -> Features:
        length, last = self._n_frames * self._hops, ends * self._hops
        return np.stack([features[row, end - length : end] for row, end in zip(rows, last, strict=True)])

    def _labels(self, examples: Examples, rows: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float32]:
        """The largest label of each class in the windows' ends, float32 ``[K, C]``."""
        first = ends - self._n_answer
        parts = [examples.labels[row, a:b].max(axis=0) for row, a, b in zip(rows, first, ends, strict=True)]
        return np.stack(parts).astype(np.float32)

    def _taught(self, examples: Examples, rows: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float32]:
        """Means of what the teacher said in the windows' ends, float32 ``[K, D]``."""
        parts: list[NDArray[np.float32]] = []
        for row, end in zip(rows, ends, strict=True):
            last = int(end * self._label_s / self._columns_s)
            first = int((end - self._n_answer) * self._label_s / self._columns_s + 0.5)
            parts.append(examples.taught[row, first : max(first, last) + 1].mean(axis=0, dtype=np.float32))
        return np.stack(parts)
