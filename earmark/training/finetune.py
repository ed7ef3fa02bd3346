"""Adds classes to a bundle that is there, or trains known ones further, from a few clips and in a minute.

The network stays as it is, so every other class scores as before; only rows of the last layer are fitted: on scenes
mixed of the new clips, and on the bundle's `Memory` of what it was trained on, which is what they must not answer to.
"""

import re
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from earmark.contracts.bundle import BUNDLE_NAME, Bundle, BundleSpec, Training
from earmark.contracts.errors import ConfigError
from earmark.training.bundle import Made, credits_of, read_credits, ship
from earmark.training.config import LossConfig, ModelConfig, Naming, SceneConfig, TrainConfig
from earmark.training.ensemble import n_networks, suffix_of
from earmark.training.feed import Encoder
from earmark.training.index import Recording, read_index
from earmark.training.licences import normalised
from earmark.training.loss import Target, total_loss
from earmark.training.memory import Memory
from earmark.training.model import Cost, Crnn, cost
from earmark.training.onnx_graph import head_of, with_head, with_hidden
from earmark.training.release import Quality
from earmark.training.scene_files import RunAudio
from earmark.training.scenes import SceneMixer
from earmark.training.streaming import StreamedModel
from engine.frontend import LogMel

_N_BATCHES, _BATCH = 20, 32
"""Scenes to learn from, mixed once."""
_STEPS = 400
_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 0.01
_MEMORY_WEIGHT = 8.0
"""Of the loss on remembered frames, next to that on scenes."""
_FALSE_PER_HOUR = 0.4
"""Remembered frames of real recordings whose score may exceed a new class's onset threshold, for each hour of them. A
frame a second misses about as many short events again."""
_RARE = -4.0
"""First logit of a new class."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def fine_tune_config(base: Bundle, data: Path, out: Path) -> TrainConfig:
    """The run that adds the classes of a list to a bundle.

    Args:
        base: What is added to.
        data: A list of labelled audio; its backgrounds count as free of every class.
        out: Folder of the new bundle, whose name it gets.

    Raises:
        ConfigError: There is no list, or the folder's name cannot be a bundle's.
    """
    if not re.fullmatch(BUNDLE_NAME, out.name):
        raise ConfigError(
            f"expected a folder whose name can be the bundle's, 1 to 32 of a-z, 0-9, _ and -, got {out.name!r}; "
            "name another one with --out"
        )
    backgrounds = sorted({each.label for each in read_index(data) if each.kind == "background"})
    return TrainConfig(
        name=out.name,
        description=f"Made from {base.identity} and sounds of one's own.",
        data=(data,),
        out=out,
        front_end=base.spec.front_end,
        naming=Naming(neutral=tuple(backgrounds)),
        scenes=SceneConfig(plain_share=0.5),
        groups=base.spec.groups,
        smoothing=base.spec.smoothing,
    )


class FineTuning:
    """A run on a bundle that is there.

    Args:
        base: What is added to.
        config: Says where the new clips are, how they are mixed and where the new bundle goes.
        replace: Forget the classes that the new clips do not have.

    Raises:
        BundleError: The bundle was not made by Earmark's training, or remembers nothing.
        ConfigError: There is nothing to learn from, or nothing to measure on.
    """

    def __init__(self, base: Bundle, config: TrainConfig, *, replace: bool = False) -> None:
        self._base, self._config = base, config
        self._step = onnx.load(base.model_path)
        self._weight, self._bias = head_of(self._step)
        self._memory = Memory.load(base.folder, len(base.spec.labels))
        audio, rate_hz = RunAudio(config), config.front_end.sample_rate_hz
        self._bank = audio.sounds("train")
        self._check_dev(audio.recordings)
        kept = () if replace else base.spec.labels
        self.labels = tuple(sorted({*kept, *self._bank.labels}))
        """The classes of the new bundle."""
        self._groups = self._groups_left()
        self._learnt = [self.labels.index(label) for label in self._bank.labels]
        self._is_new = [label not in base.spec.labels for label in self._bank.labels]
        self._mixer = SceneMixer(self._bank, config.scenes, self.labels, rate_hz)

    def _check_dev(self, recordings: list[Recording]) -> None:
        heard = {r.label for r in recordings if r.kind == "event" and r.split == "dev"}
        if missing := sorted(set(self._bank.labels) - heard):
            raise ConfigError(
                f"expected clips of every class to measure on, found none with split dev of {', '.join(missing)}; "
                "set split to dev for one in five, or list more clips from other sources"
            )

    def _groups_left(self) -> dict[str, tuple[str, ...]]:
        """The base's groups, as far as their classes are in the new bundle."""
        groups = {name: tuple(x for x in of if x in self.labels) for name, of in self._base.spec.groups.items()}
        groups = {name: of for name, of in groups.items() if of}
        if both := sorted(set(groups) & set(self.labels)):
            raise ConfigError(
                f"expected classes of other names than the groups of {self._base.spec.name!r}, got {', '.join(both)}; "
                "give them other labels in the list"
            )
        return groups

    def train(self) -> onnx.ModelProto:
        """Fit the rows of the list's classes; returns the step with its new last layer."""
        torch.manual_seed(self._config.seed)
        before_weight, before_bias = self._rows()
        head = nn.Linear(before_weight.shape[1], len(self._learnt))
        with torch.no_grad():
            head.weight.copy_(before_weight[self._learnt])
            head.bias.copy_(before_bias[self._learnt])
        remembered, real = torch.from_numpy(self._memory.heard), torch.from_numpy(self._memory.real)
        is_it = torch.from_numpy(self._relabelled()[:, self._learnt]).float()
        optimizer = torch.optim.AdamW(head.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        for step in range(_STEPS):
            heard, target = self._scenes[step % len(self._scenes)]
            logits = functional.linear(heard, before_weight, before_bias)
            logits[..., self._learnt] = head(heard)
            loss = torch.stack(list(total_loss(logits, target, LossConfig()).values())).sum()
            losses = functional.binary_cross_entropy_with_logits(head(remembered), is_it, reduction="none")
            not_it = functional.softplus(head(real)[:, self._is_new])
            optimizer.zero_grad()
            (loss + _MEMORY_WEIGHT * (losses.sum(-1).mean() + not_it.sum() / max(1, len(real)))).backward()
            optimizer.step()
        before_weight[self._learnt], before_bias[self._learnt] = head.weight.detach(), head.bias.detach()
        return with_head(self._step, before_weight.numpy(), before_bias.numpy())

    def export(self, step: onnx.ModelProto) -> Quality:
        """Write the bundle of `train`'s step, the new classes' smoothing tuned and their quality measured."""
        config, base = self._config, self._base.spec
        kept = [label for label in base.labels if label in self.labels and label not in self._bank.labels]
        spec = self._spec()
        fixed = {label: base.smoothing_of(label) for label in kept}
        presets = {name: {label: of.get(label, base.smoothing) for label in kept} for name, of in base.presets.items()}
        spec = spec.model_copy(update={"presets": presets})
        config = config.model_copy(update={"smoothing_by_label": fixed})
        made = Made(step.SerializeToString(), self._cost(step), self._remember())
        credit = [*read_credits(self._base), *credits_of(self._bank.recordings)]
        return ship(RunAudio(config), spec, made, credit, self._least_thresholds(step)).quality

    def _least_thresholds(self, step: onnx.ModelProto) -> dict[str, float]:
        """By new class: the score that real recordings, which hold none of it as far as we know, hardly ever reach."""
        weight, bias = head_of(step)
        logits = self._memory.real @ weight.T + bias
        n_allowed = int(_FALSE_PER_HOUR * len(logits) / 3600)
        new = [place for place, is_new in zip(self._learnt, self._is_new, strict=True) if is_new]
        if len(logits) <= n_allowed:
            return {}
        scores = 1 / (1 + np.exp(-np.sort(logits[:, new], axis=0)[-1 - n_allowed]))
        return dict(zip((self.labels[place] for place in new), scores.tolist(), strict=True))

    def _spec(self) -> BundleSpec:
        config, base = self._config, self._base.spec
        new = Counter(normalised(recording.licence) for recording in self._bank.recordings)
        return base.model_copy(
            update={
                "name": config.name,
                "version": config.version,
                "description": config.description,
                "labels": self.labels,
                "groups": self._groups,
                "smoothing_by_label": {},
                "presets": {},
                "quality": {},
                "training": Training(
                    data=f"{base.training.data}; then {len(self._bank.recordings)} more",
                    licences=dict((Counter(base.training.licences) + new).most_common()),
                    recipe=f"the last layer of {self._base.identity} fitted for {', '.join(self._bank.labels)}",
                ),
            }
        )

    def _cost(self, step: onnx.ModelProto) -> Cost:
        """Of a step of one network, or of several alike."""
        front_end, states = self._base.spec.front_end, self._base.spec.states
        n, arrays = n_networks(states), {each.name: each.dims for each in step.graph.initializer}
        suffix = suffix_of(1) if n > 1 else ""
        channels = tuple(arrays[f"conv{i + 1}_weight{suffix}"][0] for i in range(len(states) // n - 1))
        shape = ModelConfig(channels=channels, hidden=arrays[f"gru_recurrent{suffix}"][2])
        frames_per_s = front_end.sample_rate_hz / front_end.hop_length
        return cost(Crnn(shape, front_end.n_mels, len(self.labels)), frames_per_s).times(n)

    def _rows(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the new classes' last layer, as the base has them."""
        weight = np.zeros((len(self.labels), self._weight.shape[1]), np.float32)
        bias = np.full(len(self.labels), _RARE, np.float32)
        for place, label in enumerate(self.labels):
            if label in self._base.spec.labels:
                known = self._base.spec.labels.index(label)
                weight[place], bias[place] = self._weight[known], self._bias[known]
        return torch.from_numpy(weight), torch.from_numpy(bias)

    @cached_property
    def _scenes(self) -> list[tuple[Tensor, Target]]:
        """Batches of what the GRU hears in scenes of the new clips ``[B, T, hidden]``, and what is right."""
        encoder = Encoder(LogMel(self._config.front_end), self.labels, self._base.spec.hops_per_score)
        network = StreamedModel(with_hidden(self._step).SerializeToString(), self._base.spec.states)
        rng = np.random.default_rng([self._config.seed, 3])
        _log.info("scenes are mixed of the new clips", scenes=_N_BATCHES * _BATCH)
        batches: list[tuple[Tensor, Target]] = []
        for _ in range(_N_BATCHES):
            examples = encoder([self._mixer.scene(rng) for _ in range(_BATCH)])
            target = Target.of(examples, torch.device("cpu")).delayed(self._base.spec.delay_frames)
            batches.append((torch.from_numpy(network.hidden(examples.features)), target))
        return batches

    def _relabelled(self) -> NDArray[np.bool_]:
        """The memory's labels in the new order, bool ``[N, C]``."""
        known = self._base.spec.labels
        labels = np.zeros((len(self._memory.labels), len(self.labels)), bool)
        for place, label in enumerate(self.labels):
            if label in known:
                labels[:, place] = self._memory.labels[:, known.index(label)]
        return labels

    def _remember(self) -> Memory:
        """The base's memory and the new classes' frames, so that the new bundle can be added to as well."""
        heard = np.concatenate([heard.flatten(0, 1).numpy() for heard, _ in self._scenes])
        labels = np.concatenate([target.labels.flatten(0, 1).numpy() > 0 for _, target in self._scenes])
        real = self._memory.real
        new = Memory.choose(heard, labels, real, np.random.default_rng([self._config.seed, 4]))
        heard, labels = (
            np.concatenate([self._memory.heard, new.heard]),
            np.concatenate([self._relabelled(), new.labels]),
        )
        return Memory(heard, labels, real)
