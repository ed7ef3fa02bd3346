"""The training loop: AdamW, a learning rate that warms up and cools down, averaged weights, state carried on.

All chance comes from the seed and the number of the step, so a run that was killed goes on as if nothing had happened.
"""

import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Protocol

import numpy as np
import structlog
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from earmark.contracts.errors import ConfigError
from earmark.training.config import OptimConfig, TrainConfig
from earmark.training.feed import Examples
from earmark.training.objectives import Network, Objective
from earmark.training.speed import measured_pace

_LOGGED_EVERY = 100
"""Steps, where there is no terminal for a progress bar."""
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

CHECKPOINT_FILE, PLATEAU_FILE = "checkpoint.pt", "plateau.pt"
"""The latest step, and the last one before the learning rate fell: from there a run can be made longer."""


class Trainer(Generic[Network]):
    """Trains one network.

    Args:
        objective: What is learnt, and by what.
        config: The run.
        folder: Where the checkpoint and TensorBoard's curves go. Training resumes from a checkpoint that is there
            already; from one of a shorter run where its learning rate began to fall.
        sounds: Names the sounds that are trained on; see `read_checkpoint`.

    Raises:
        ConfigError: The checkpoint learnt from other sounds.
    """

    def __init__(self, objective: Objective[Network], config: TrainConfig, folder: Path, *, sounds: str) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._objective, self._config = objective, config
        model, head = objective.model.to(self._device), objective.head
        optim = config.optim
        parameters = [*model.parameters(), *(head.to(self._device).parameters() if head is not None else ())]
        self._parameters: list[Tensor] = parameters
        self._optimizer = torch.optim.AdamW(parameters, lr=optim.learning_rate, weight_decay=optim.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: _rate(step, optim))
        self.average = torch.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(optim.ema), use_buffers=True
        )
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
        carried, step = self._objective.carried, self.step

        def trial(bf16: bool, threads: int) -> None:  # noqa: FBT001
            self._bf16 = bf16
            torch.set_num_threads(threads)
            self._step(examples)

        pace = measured_pace(trial, scenes_s, bf16=optim.bf16, threads=optim.threads)
        self._bf16 = pace.bf16
        torch.set_num_threads(pace.threads)
        for name, part in self._parts().items():
            part.load_state_dict(before[name])
        self._objective.carried, self.step = carried, step

    def run(self, batches: Iterator[Examples]) -> Network:
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
                self.average.update_parameters(self._objective.model)
                progress.update()
                if progress.disable and self.step % _LOGGED_EVERY == 0:
                    self._log_progress(losses["all"], time.monotonic() - start, self.step - begun_at)
                shown["loss"] = f"{losses['all']:.2f}"
                progress.set_postfix(shown, refresh=False)
                if self.step % optim.evaluate_every == 0 or self.step == optim.steps:
                    share = self._objective.dev_accuracy(self.averaged())
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

    def averaged(self) -> Network:
        """The moving average of the weights, for inference."""
        return self.average.module.eval()

    def _step(self, examples: Examples) -> dict[str, float]:
        torch.manual_seed(int(np.random.SeedSequence([self._config.seed, self.step]).generate_state(1)[0]))
        self._objective.model.train()
        losses = self._objective.losses(examples, self._device, bf16=self._bf16)
        loss = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, self._config.optim.clip_norm)
        self._optimizer.step()
        self._schedule.step()
        return {name: float(value.detach()) for name, value in {"all": loss, **losses}.items()}

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self._objective.model, "average": self.average}
        parts |= {"optimizer": self._optimizer, "schedule": self._schedule}
        return parts if self._objective.head is None else {**parts, "head": self._objective.head}

    def _save(self, name: str) -> None:
        optim, path = self._config.optim, self._folder / name
        saved = {part_name: part.state_dict() for part_name, part in self._parts().items()}
        saved |= {"carried": self._objective.carried, "step": self.step, "sounds": self._sounds}
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
        self._objective.carried, self.step = saved["carried"], saved["step"]


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


class Normalised(Protocol):
    """A network that normalises its features."""

    mean: Tensor
    scale: Tensor


def fix_normalisation(model: Normalised, features: Tensor) -> None:
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
