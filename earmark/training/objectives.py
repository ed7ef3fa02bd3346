"""What is learnt from a batch: the network that ships, what is trained along with it and then dropped, and the losses.

`Trainer` knows nothing of networks: a run of another kind is another `Objective`.
"""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from earmark.training.augment import augment, mixup
from earmark.training.clips import Clips, accuracy, offline
from earmark.training.config import TrainConfig
from earmark.training.distillation import TeacherHead
from earmark.training.feed import Examples
from earmark.training.loss import Target, total_loss
from earmark.training.model import Crnn, State

Network = TypeVar("Network", bound=nn.Module)


class Objective(ABC, Generic[Network]):
    """What a `Trainer` trains.

    Attributes:
        model: What ships.
        head: Predicts what the teacher says and is dropped afterwards; None where there is no teacher.
        carried: What one batch leaves to the next; saved in checkpoints.
    """

    model: Network
    head: nn.Module | None
    carried: list[Tensor] | None = None

    @abstractmethod
    def losses(self, examples: Examples, device: torch.device, *, bf16: bool) -> dict[str, Tensor]:
        """The weighted parts of the loss by name. All chance comes from torch's own generator."""

    @abstractmethod
    def dev_accuracy(self, model: Network) -> float:
        """Share of the dev clips that a model, ready for inference, names right."""


class StreamingObjective(Objective[Crnn]):
    """Scores of every frame, by a network that hears a stream.

    Args:
        model: Changed in place; its normalisation is fixed already.
        head: Of the teacher, if there is one.
        config: The run.
        clips: What to measure on, now and then.
    """

    def __init__(self, model: Crnn, head: TeacherHead | None, config: TrainConfig, clips: Clips) -> None:
        self.model, self.head, self.carried = model, head, None
        self._teacher_head, self._config, self._clips = head, config, clips

    def losses(self, examples: Examples, device: torch.device, *, bf16: bool) -> dict[str, Tensor]:
        """See `Objective`; some rows begin with the state in which the batch before ended."""
        config, delay = self._config, self._config.model.delay_frames
        target = Target.of(examples, device).delayed(delay)
        features = augment(torch.from_numpy(examples.features))
        features, target = mixup(features.to(device), target, config.optim.mixup_share)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            seen, heard, state = self.model.encode(features, self._state(len(features), device))
            logits = self.model.classify(heard)
        self.carried = [part.detach().float().clone() for part in state]
        losses = total_loss(logits, target, config.loss)
        if self._teacher_head is not None:
            losses["teacher"] = config.loss.teacher * self._teacher_head.loss(seen, heard, target, delay)
        return losses

    def dev_accuracy(self, model: Crnn) -> float:
        """See `Objective`: by the largest mean logit."""
        return accuracy(offline(model), self._clips)

    def _state(self, rows: int, device: torch.device) -> State:
        fresh = [part.to(device) for part in self.model.fresh_state(rows)]
        if self.carried is None:
            return fresh
        carried = round(rows * self._config.optim.carry_share)
        return [torch.cat([old[:carried], new[carried:]]) for old, new in zip(self.carried, fresh, strict=True)]
