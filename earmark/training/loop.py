"""The training loop: AdamW, cosine with warm-up, a moving average of the weights, state carried between batches."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earmark.training.augment import augment
from earmark.training.config import OptimConfig, TrainConfig
from earmark.training.devset import Clips
from earmark.training.feed import Examples
from earmark.training.loss import total_loss
from earmark.training.model import Crnn, State
from earmark.training.report import Scorer, accuracy
from engine.frontend import Features


class Trainer:
    """Trains one model.

    Args:
        model: Changed in place; its normalisation is fixed already.
        config: The run.
        clips: What to measure on, now and then.
        checkpoint: Where the average is kept whenever it was measured.
    """

    def __init__(self, model: Crnn, config: TrainConfig, clips: Clips, checkpoint: Path) -> None:
        self.model, self._config, self._clips, self._checkpoint = model, config, clips, checkpoint
        optim = config.optim
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=optim.learning_rate, weight_decay=optim.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: _rate(step, optim))
        self.average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(optim.ema), use_buffers=True
        )
        self._generator = torch.Generator().manual_seed(config.seed)
        self._carried: State | None = None

    def run(self, batches: Iterator[Examples]) -> Crnn:
        """All steps; prints a line now and then. Returns the moving average, ready for use."""
        optim, started, losses = self._config.optim, time.monotonic(), []
        for step in range(1, optim.steps + 1):
            losses.append(self._step(next(batches)))
            if step == optim.warmup_steps:
                # The first steps' weights are noise, which an average over thousands of steps would remember.
                self.average.n_averaged.zero_()
            self.average.update_parameters(self.model)
            if step % optim.evaluate_every == 0 or step == optim.steps:
                minutes = (time.monotonic() - started) / 60
                share = accuracy(offline(self.averaged()), self._clips)
                print(f"step {step} min {minutes:.1f} loss {np.mean(losses):.3f} dev {share:.4f}", flush=True)
                losses.clear()
                torch.save(self.average.module.state_dict(), self._checkpoint)
        return self.averaged()

    def averaged(self) -> Crnn:
        """The moving average of the weights, for inference."""
        return self.average.module.eval()

    def _step(self, examples: Examples) -> float:
        optim = self._config.optim
        self.model.train()
        features = augment(torch.from_numpy(examples.features), self._generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=optim.bf16):
            logits, state = self.model(features, self._state(len(features)))
        self._carried = [part.detach().float() for part in state]
        loss = total_loss(
            logits,
            torch.from_numpy(examples.labels).float(),
            torch.from_numpy(examples.event_labels),
            torch.from_numpy(examples.event_frames).float(),
            self._config.loss,
        )
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), optim.clip_norm)
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach())

    def _state(self, rows: int) -> State:
        fresh = self.model.fresh_state(rows)
        if self._carried is None:
            return fresh
        carried = round(rows * self._config.optim.carry_share)
        return [torch.cat([old[:carried], new[carried:]]) for old, new in zip(self._carried, fresh, strict=True)]


def offline(model: Crnn) -> Scorer:
    """Score whole clips from fresh state: logits, whose order is that of the scores."""

    def score(features: Features) -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(torch.from_numpy(features), model.fresh_state(len(features)))[0].numpy()

    return score


def fix_normalisation(model: Crnn, features: Tensor) -> None:
    """Set the model's mean and scale per band to those of ``features [B, T, n_mels]``."""
    model.mean.copy_(features.mean(dim=(0, 1)))
    model.scale.copy_(1 / features.std(dim=(0, 1)).clamp(min=1e-3))


def _rate(step: int, optim: OptimConfig) -> float:
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    done = (step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps)
    return 0.005 + 0.995 * (1 + math.cos(math.pi * min(1.0, done))) / 2
