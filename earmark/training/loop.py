"""The training loop: AdamW, a learning rate that warms up and cools down, averaged weights, state carried on.

All chance comes from the seed and the number of the step, so a run that was killed goes on as if nothing had happened.
"""

import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from earmark.contracts.errors import ConfigError
from earmark.training.augment import augment, mixup
from earmark.training.clips import Clips, Scorer, accuracy
from earmark.training.config import OptimConfig, TrainConfig
from earmark.training.distillation import TeacherHead
from earmark.training.feed import Examples
from earmark.training.loss import Target, total_loss
from earmark.training.model import Crnn, State
from earmark.training.speed import measured_pace
from engine.frontend import Features

_LOGGED_EVERY = 100
"""Steps, where there is no terminal for a progress bar."""
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

CHECKPOINT_FILE, PLATEAU_FILE = "checkpoint.pt", "plateau.pt"
"""The latest step, and the last one before the learning rate fell: from there a run can be made longer."""


class Trainer:
    """Trains one model.

    Args:
        model: Changed in place; its normalisation is fixed already.
        head: Predicts what the teacher says, or None where there is no teacher; trained along and then dropped.
        config: The run.
        clips: What to measure on, now and then.
        folder: Where the checkpoint and TensorBoard's curves go. Training resumes from a checkpoint that is there
            already; from one of a shorter run where its learning rate began to fall.
        sounds: Names the sounds that are trained on; see `read_checkpoint`.

    Raises:
        ConfigError: The checkpoint learnt from other sounds.
    """

    def __init__(
        self, model: Crnn, head: TeacherHead | None, config: TrainConfig, clips: Clips, folder: Path, *, sounds: str
    ) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model, self._head, self._config, self._clips = model.to(self._device), head, config, clips
        optim = config.optim
        parameters = [*model.parameters(), *(head.to(self._device).parameters() if head else ())]
        self._parameters: list[Tensor] = parameters
        self._optimizer = torch.optim.AdamW(parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: _rate(step, optim))
        self.average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(optim.ema), use_buffers=True
        )
        self._carried: State | None = None
        self.step = 0
        """Steps done."""
        self._folder, self._sounds = folder, sounds
        self._bf16 = bool(optim.bf16)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT_FILE).is_file():
            self._resume()

    def choose_pace(self, examples: Examples, scenes_s: float) -> None:
        """Time steps on ``examples``, and compute as is fastest where the config leaves it open.

        Args:
            examples: A usual batch. What is learnt from it is forgotten again.
            scenes_s: What mixing and encoding a step's fresh scenes took.
        """
        optim = self._config.optim
        before = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts().items()}
        carried, step = self._carried, self.step

        def trial(bf16: bool, threads: int) -> None:  # noqa: FBT001
            self._bf16 = bf16
            torch.set_num_threads(threads)
            self._step(examples)

        pace = measured_pace(trial, scenes_s, bf16=optim.bf16, threads=optim.threads)
        self._bf16 = pace.bf16
        torch.set_num_threads(pace.threads)
        for name, part in self._parts().items():
            part.load_state_dict(before[name])
        self._carried, self.step = carried, step

    def run(self, batches: Iterator[Examples]) -> Crnn:
        """All steps that are left, on ``batches`` from step `step` on; returns the moving average, ready for use."""
        optim, shown = self._config.optim, dict[str, str]()
        start, begun_at = time.monotonic(), self.step
        with (
            SummaryWriter(str(self._folder), purge_step=self.step + 1) as curves,
            tqdm(total=optim.steps, initial=self.step, desc=self._config.name, disable=None) as progress,
        ):
            for step in range(self.step + 1, optim.steps + 1):
                self.step = step
                losses = self._step(next(batches))
                for name, value in losses.items():
                    curves.add_scalar(f"loss/{name}", value, self.step)
                if self.step == optim.warmup_steps:
                    # The first steps' weights are noise, which an average over thousands of steps would remember.
                    self.average.n_averaged.zero_()
                self.average.update_parameters(self.model)
                progress.update()
                if progress.disable and self.step % _LOGGED_EVERY == 0:
                    self._log_progress(losses["all"], time.monotonic() - start, self.step - begun_at)
                shown["loss"] = f"{losses['all']:.2f}"
                progress.set_postfix(shown, refresh=False)
                if self.step % optim.evaluate_every == 0 or self.step == optim.steps:
                    share = accuracy(offline(self.averaged()), self._clips)
                    curves.add_scalar("dev/accuracy", share, self.step)
                    shown["dev"] = f"{share:.4f}"
                if self.step % optim.checkpoint_every == 0 or self.step == optim.steps:
                    self._save(CHECKPOINT_FILE)
                if optim.cooldown_steps and self.step == optim.steps - optim.cooldown_steps:
                    self._save(PLATEAU_FILE)
        return self.averaged()

    def _log_progress(self, loss: float, elapsed_s: float, n_done: int) -> None:
        """What the progress bar shows, for a log."""
        left_s = elapsed_s / n_done * (self._config.optim.steps - self.step)
        _log.info(
            "training", step=self.step, of=self._config.optim.steps, loss=round(loss, 2), left_min=round(left_s / 60)
        )

    def averaged(self) -> Crnn:
        """The moving average of the weights, for inference."""
        return self.average.module.eval()

    def _step(self, examples: Examples) -> dict[str, float]:
        optim, delay = self._config.optim, self._config.model.delay_frames
        seed = int(np.random.SeedSequence([self._config.seed, self.step]).generate_state(1)[0])
        torch.manual_seed(seed)
        target = Target.of(examples, self._device).delayed(delay)
        features = augment(torch.from_numpy(examples.features))
        features, target = mixup(features.to(self._device), target, optim.mixup_share)
        self.model.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            seen, heard, state = self.model.encode(features, self._state(len(features)))
            logits = self.model.classify(heard)
        self._carried = [part.detach().float().clone() for part in state]
        losses = total_loss(logits, target, self._config.loss)
        if self._head is not None:
            losses["teacher"] = self._config.loss.teacher * self._head.loss(seen, heard, target, delay)
        loss = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, optim.clip_norm)
        self._optimizer.step()
        self._schedule.step()
        return {name: float(value.detach()) for name, value in {"all": loss, **losses}.items()}

    def _state(self, rows: int) -> State:
        fresh = [part.to(self._device) for part in self.model.fresh_state(rows)]
        if self._carried is None:
            return fresh
        carried = round(rows * self._config.optim.carry_share)
        return [torch.cat([old[:carried], new[carried:]]) for old, new in zip(self._carried, fresh, strict=True)]

    def _parts(self) -> dict[str, Any]:
        heads = {} if self._head is None else {"head": self._head}
        return {
            "model": self.model, "average": self.average, "optimizer": self._optimizer, "schedule": self._schedule,
            **heads,
        }  # fmt: skip

    def _save(self, name: str) -> None:
        optim, path = self._config.optim, self._folder / name
        saved = {part_name: part.state_dict() for part_name, part in self._parts().items()}
        saved |= {"carried": self._carried, "step": self.step, "sounds": self._sounds}
        torch.save({**saved, "length": [optim.steps, optim.cooldown_steps]}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def _resume(self) -> None:
        optim = self._config.optim
        saved = read_checkpoint(self._folder / CHECKPOINT_FILE, self._device, self._sounds)
        steps, cooldown_steps = saved.get("length", [optim.steps, optim.cooldown_steps])
        if steps != optim.steps and saved["step"] > steps - cooldown_steps:
            saved = read_checkpoint(self._folder / PLATEAU_FILE, self._device, self._sounds)
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self._carried, self.step = saved["carried"], saved["step"]


def read_checkpoint(path: Path, device: torch.device, sounds: str) -> dict[str, Any]:
    """What a `Trainer` saved.

    Args:
        path: The file.
        device: Where its tensors go.
        sounds: Names the sounds that the list has now; a checkpoint of before says nothing of its own.

    Raises:
        ConfigError: It learnt from others.
    """
    saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if saved.get("sounds", sounds) != sounds:
        raise ConfigError(
            f"expected the sounds that {path} learnt from, got others: files, labels or regions of the list's train "
            f"split have changed; remove the folder {path.parent} to train on them, or put the list back"
        )
    return saved


def offline(model: Crnn) -> Scorer:
    """Score whole clips from fresh state: logits, whose order is that of the scores."""
    device = model.mean.device

    def score(features: Features) -> NDArray[np.float32]:
        with torch.inference_mode():
            state = [part.to(device) for part in model.fresh_state(len(features))]
            return model(torch.from_numpy(features).to(device), state)[0].cpu().numpy()

    return score


def fix_normalisation(model: Crnn, features: Tensor) -> None:
    """Set the model's mean and scale per band to those of ``features [B, T, n_mels]``."""
    model.mean.copy_(features.mean(dim=(0, 1)))
    model.scale.copy_(1 / features.std(dim=(0, 1)).clamp(min=1e-3))


def _rate(step: int, optim: OptimConfig) -> float:
    if step < optim.warmup_steps:
        return (step + 1) / optim.warmup_steps
    if optim.cooldown_steps:
        return min(1.0, max(0.0, optim.steps - step) / optim.cooldown_steps)
    done = (step - optim.warmup_steps) / max(1, optim.steps - optim.warmup_steps)
    return 0.005 + 0.995 * (1 + math.cos(math.pi * min(1.0, done))) / 2
