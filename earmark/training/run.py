"""One run put together: data, scenes, model; then training, all from the config alone.

What is trained and how it is exported is up to the kind of run: `Experiment`, `WindowExperiment`.
"""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Generic

import numpy as np
import structlog
import torch
from torch import Tensor

from earmark.contracts.errors import ConfigError
from earmark.training.bundle import bundle_spec
from earmark.training.clips import Clips
from earmark.training.config import TrainConfig
from earmark.training.feed import Encoder, Examples, batches
from earmark.training.loop import CHECKPOINT_FILE, Trainer, fix_normalisation, read_checkpoint
from earmark.training.objectives import Network, Objective
from earmark.training.scene_files import RunAudio
from earmark.training.scenes import SceneMixer
from earmark.training.sources import SoundBank
from earmark.training.teacher import Teacher
from engine.frontend import LogMel

_NORMALISATION_SCENES = 200
_DECISIVE = {"data", "teacher", "seed", "front_end", "naming", "scenes", "model", "loss", "optim"}
"""Of the config: what decides the weights."""
_LENGTH = {"steps", "cooldown_steps"}
"""Of `OptimConfig`: how long a run is, which may be changed later where it has a cooldown."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Run(ABC, Generic[Network]):
    """A run, whatever it trains.

    Args:
        config: All that decides it.

    Raises:
        ConfigError: There is nothing to learn from, or the bundle could not be what the config says.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._rate = config.front_end.sample_rate_hz
        self._audio = RunAudio(config)
        self._bank = self._sounds("train")
        self.labels = self._bank.labels
        self._front_end = LogMel(config.front_end)
        bundle_spec((), self.labels, self._bank.recordings, config)  # better now than when all is trained
        self._teacher = Teacher(config.teacher, self.labels) if config.teacher else None

    @property
    def checkpoint(self) -> Path:
        """Where training keeps what it needs to go on, apart for every config."""
        said = self.config.model_dump(mode="json", include=_DECISIVE)
        if self.config.window is not None:
            said["window"] = self.config.window.model_dump(mode="json")
        if self.config.optim.cooldown_steps:
            said["optim"] = {name: value for name, value in said["optim"].items() if name not in _LENGTH}
        digest = hashlib.blake2b(json.dumps(said).encode(), digest_size=4).hexdigest()
        return self.config.cache / "runs" / f"{self.config.name}-{digest}" / CHECKPOINT_FILE

    @cached_property
    def _learnt_from(self) -> str:
        """A digest of the sounds that are trained on, by what the list says of them, and their length."""
        digest = hashlib.blake2b(digest_size=8)
        for each in self._bank.recordings:
            n_samples = len(self._audio.cache[each.file])
            digest.update(f"{each.file}\0{each.kind}\0{each.label}\0{each.regions}\0{n_samples}\n".encode())
        return digest.hexdigest()

    @cached_property
    def _clips(self) -> Clips:
        hops = self._hops_per_label
        return Clips.load(self._audio.recordings, self._audio.cache, self._front_end, self.labels, hops)

    def train(self) -> Network:
        """Train a model from the config's seed, from where an earlier run of the same config was stopped."""
        torch.manual_seed(self.config.seed)
        torch.set_flush_denormal(True)
        try:
            return self._train()
        finally:
            torch.set_flush_denormal(False)  # it is the whole thread's

    def _train(self) -> Network:
        config = self.config
        _ = self._clips  # a list without any is refused before anything is mixed
        mixer, encoder = self._mixer(self._bank), self._encoder(self._teacher)
        rng = np.random.default_rng([config.seed, 2])
        start = time.perf_counter()
        first = encoder([mixer.scene(rng) for _ in range(_NORMALISATION_SCENES)])
        scene_s = (time.perf_counter() - start) / _NORMALISATION_SCENES
        trainer = Trainer(self._objective(first), config, self.checkpoint.parent, sounds=self._learnt_from)
        trainer.choose_pace(first.first(config.optim.batch), scene_s * self._fresh)
        with closing(self._feed(mixer, encoder, trainer.step)) as feed:
            return trainer.run(feed)

    def _objective(self, first: Examples) -> Objective[Network]:
        """What is learnt, by a new model that is normalised to usual examples."""
        model = self._new_model().to(memory_format=torch.channels_last)
        fix_normalisation(model, torch.from_numpy(first.features))
        taught = None if self._teacher is None else torch.from_numpy(first.taught).float()
        return self._objective_of(model, taught)

    def load(self) -> Network:
        """The model of the latest checkpoint, for inference.

        Raises:
            ConfigError: There is no checkpoint, or it learnt from other sounds.
        """
        if not self.checkpoint.is_file():
            raise ConfigError(f"expected a checkpoint at {self.checkpoint}, found none; train first")
        model = self._new_model()
        saved = read_checkpoint(self.checkpoint, torch.device("cpu"), self._learnt_from)
        if saved["step"] < self.config.optim.steps:
            _log.warning("the run is not over", steps=saved["step"], of=self.config.optim.steps)
        average = saved["average"]
        model.load_state_dict({name.removeprefix("module."): w for name, w in average.items() if name != "n_averaged"})
        return model.eval()

    def _sounds(self, split: str) -> SoundBank:
        return self._audio.sounds(split)

    def _mixer(self, bank: SoundBank) -> SceneMixer:
        return SceneMixer(bank, self.config.scenes, self.labels, self._rate)

    @property
    @abstractmethod
    def _hops_per_label(self) -> int:
        """Hops of the front end that share a label."""

    @abstractmethod
    def _new_model(self) -> Network:
        """A model that has learnt nothing."""

    @abstractmethod
    def _objective_of(self, model: Network, taught: Tensor | None) -> Objective[Network]:
        """What ``model`` learns; ``taught [N, W, D]`` is what the teacher said of usual scenes, if there is one."""

    def _encoder(self, teacher: Teacher | None = None) -> Encoder:
        return Encoder(self._front_end, self.labels, self._hops_per_label, teacher)

    @property
    def _fresh(self) -> int:
        """New scenes a step."""
        return round(self.config.optim.batch / self.config.optim.reuse)

    def _feed(self, mixer: SceneMixer, encoder: Encoder, first_step: int) -> Generator[Examples, None, None]:
        optim = self.config.optim
        return batches(
            mixer,
            encoder,
            batch=optim.batch,
            fresh=self._fresh,
            pool=optim.pool,
            seed=self.config.seed,
            first_step=first_step,
        )
