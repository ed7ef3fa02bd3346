"""One run put together: data, scenes, model; then training and export, each from the config alone."""

import hashlib
import json
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import structlog
import torch
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec, StateSpec
from earmark.contracts.errors import BundleError, ConfigError
from earmark.training.bundle import Made, bundle_spec, credits_of, ship, ship_tuned
from earmark.training.clips import Clips
from earmark.training.config import TrainConfig
from earmark.training.distillation import TeacherHead
from earmark.training.ensemble import ensemble
from earmark.training.feed import Encoder, Examples, batches
from earmark.training.loop import CHECKPOINT_FILE, Trainer, fix_normalisation, offline, read_checkpoint
from earmark.training.loss import PRESENT
from earmark.training.memory import Memory
from earmark.training.model import HOPS_PER_SCORE, Crnn, cost
from earmark.training.onnx_graph import onnx_model
from earmark.training.quantisation import quantised
from earmark.training.release import Quality
from earmark.training.scene_files import RunAudio
from earmark.training.scenes import SceneMixer
from earmark.training.sources import SoundBank
from earmark.training.streaming import StreamedModel
from earmark.training.teacher import Teacher
from engine.frontend import LogMel

_NORMALISATION_SCENES = 200
_REMEMBERED_SCENES, _AT_ONCE = 320, 32
_HOPS_PER_STEP = 10
_N_COMPARED = 16
"""Clips."""
_MAX_DIFFERENCE, _MAX_MEAN_DIFFERENCE = 1e-4, 5e-3
"""Between scores, of the float32 step and of that in int8."""
_LOOKED_AT_SCENES = 64
"""By which the scales of a step in int8 are set."""
_DECISIVE = {"data", "teacher", "seed", "front_end", "naming", "scenes", "model", "loss", "optim"}
"""Of the config: what decides the weights."""
_LENGTH = {"steps", "cooldown_steps"}
"""Of `OptimConfig`: how long a run is, which may be changed later where it has a cooldown."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Experiment:
    """A run.

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
        self._output_hop = HOPS_PER_SCORE * config.front_end.hop_length
        bundle_spec((), self.labels, self._bank.recordings, config)  # better now than when all is trained
        self._teacher = Teacher(config.teacher, self.labels) if config.teacher else None

    @property
    def checkpoint(self) -> Path:
        """Where training keeps what it needs to go on, apart for every config."""
        said = self.config.model_dump(mode="json", include=_DECISIVE)
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
        return Clips.load(self._audio.recordings, self._audio.cache, self._front_end, self.labels)

    def train(self) -> Crnn:
        """Train a model from the config's seed, from where an earlier run of the same config was stopped."""
        torch.manual_seed(self.config.seed)
        torch.set_flush_denormal(True)
        try:
            return self._train()
        finally:
            torch.set_flush_denormal(False)  # it is the whole thread's

    def _train(self) -> Crnn:
        config, clips = self.config, self._clips  # a list without any is refused before anything is mixed
        mixer, encoder = self._mixer(self._bank), self._encoder(self._teacher)
        model = self._model().to(memory_format=torch.channels_last)
        rng = np.random.default_rng([config.seed, 2])
        start = time.perf_counter()
        first = encoder([mixer.scene(rng) for _ in range(_NORMALISATION_SCENES)])
        scene_s = (time.perf_counter() - start) / _NORMALISATION_SCENES
        fix_normalisation(model, torch.from_numpy(first.features))
        head = None
        if self._teacher is not None:
            head = TeacherHead(model, torch.from_numpy(first.taught).float(), self._output_hop)
        trainer = Trainer(model, head, config, clips, self.checkpoint.parent, sounds=self._learnt_from)
        trainer.choose_pace(first.first(config.optim.batch), scene_s * self._fresh)
        with closing(self._feed(mixer, encoder, trainer.step)) as feed:
            return trainer.run(feed)

    def load(self) -> Crnn:
        """The model of the latest checkpoint, for inference.

        Raises:
            ConfigError: There is no checkpoint, or it learnt from other sounds.
        """
        if not self.checkpoint.is_file():
            raise ConfigError(f"expected a checkpoint at {self.checkpoint}, found none; train first")
        model = self._model()
        saved = read_checkpoint(self.checkpoint, torch.device("cpu"), self._learnt_from)
        if saved["step"] < self.config.optim.steps:
            _log.warning("the run is not over", steps=saved["step"], of=self.config.optim.steps)
        average = saved["average"]
        model.load_state_dict({name.removeprefix("module."): w for name, w in average.items() if name != "n_averaged"})
        return model.eval()

    def export(self, *models: Crnn) -> Quality:
        """Write the bundle of ``models``: the step, its smoothing tuned, its quality measured as it ships.

        Where the config asks for it, another one in int8 with the same smoothing, and its own quality.

        Raises:
            BundleError: The exported step does not score as the models do.
        """
        spec, made = self.exported(*models)
        credit = credits_of(self._bank.recordings)
        spec, quality = ship(self._audio, spec, made, credit)
        if self.config.int8:
            ship_tuned(self._audio, self.config.out_int8, *self._in_int8(models, spec, made), credit)
        return quality

    def _in_int8(self, models: Sequence[Crnn], spec: BundleSpec, made: Made) -> tuple[BundleSpec, Made]:
        mixer, rng = self._mixer(self._bank), np.random.default_rng([self.config.seed, 5])
        features = self._encoder()([mixer.scene(rng) for _ in range(_LOOKED_AT_SCENES)]).features
        step, states = ensemble([quantised(model, torch.from_numpy(features)) for model in models])
        difference = np.abs(self._streamed(step, states) - self._offline(models)).mean()
        if difference > _MAX_MEAN_DIFFERENCE:
            raise BundleError(
                f"expected scores in int8 within {_MAX_MEAN_DIFFERENCE} of torch's on average, got {difference:.2g}; "
                "leave int8 out of the config"
            )
        description = f"{spec.description} In int8, for hundreds of microphones on a core."
        changes = {"name": f"{spec.name}-int8", "description": description, "states": states, "quality": {}}
        return spec.model_copy(update=changes), replace(made, step=step.SerializeToString())

    def exported(self, *models: Crnn) -> tuple[BundleSpec, Made]:
        """What a bundle of ``models`` is made of, before its smoothing is tuned.

        Args:
            models: One, or several of other seeds, whose logits are averaged.

        Raises:
            BundleError: The exported step does not score as the models do.
        """
        models = tuple(model.cpu() for model in models)
        step, states = ensemble([(onnx_model(model), model.state_specs()) for model in models])
        self._compare(step, states, models)
        costs = cost(models[0], self._rate / self.config.front_end.hop_length).times(len(models))
        made = Made(step.SerializeToString(), costs, self._memory(models))
        return bundle_spec(states, self.labels, self._bank.recordings, self.config), made

    def _memory(self, models: Sequence[Crnn]) -> Memory:
        """Frames of training's scenes as the networks hear them."""
        mixer, encoder = self._mixer(self._bank), self._encoder()
        rng = np.random.default_rng([self.config.seed, 4])
        heard: list[NDArray[np.float32]] = []
        labels: list[NDArray[np.float16]] = []
        for _ in range(_REMEMBERED_SCENES // _AT_ONCE):
            examples = encoder([mixer.scene(rng) for _ in range(_AT_ONCE)])
            features = torch.from_numpy(examples.features)
            with torch.inference_mode():
                of_batch = torch.cat([model.encode(features, model.fresh_state(_AT_ONCE))[1] for model in models], -1)
            n_frames = examples.labels.shape[1] - self.config.model.delay_frames
            heard.append(of_batch[:, -n_frames:].flatten(0, 1).numpy())
            labels.append(examples.labels[:, :n_frames].reshape(-1, len(self.labels)))
        return Memory.choose(np.concatenate(heard), np.concatenate(labels) >= PRESENT, rng)

    def _compare(self, step: onnx.ModelProto, states: Sequence[StateSpec], models: Sequence[Crnn]) -> None:
        difference = float(np.abs(self._streamed(step, states) - self._offline(models)).max())
        if difference > _MAX_DIFFERENCE:
            raise BundleError(
                f"expected the exported step's scores within {_MAX_DIFFERENCE} of torch's, got {difference:.2g}; "
                "this is a bug, please report it"
            )

    def _offline(self, models: Sequence[Crnn]) -> NDArray[np.float32]:
        """Torch's scores of some clips."""
        logits = np.mean([offline(model)(self._clips.features[:_N_COMPARED]) for model in models], axis=0)
        return 1 / (1 + np.exp(-logits))

    def _streamed(self, step: onnx.ModelProto, states: Sequence[StateSpec]) -> NDArray[np.float32]:
        """An exported step's scores of the same clips."""
        return StreamedModel(step.SerializeToString(), states).scores(
            self._clips.features[:_N_COMPARED], _HOPS_PER_STEP
        )

    def _sounds(self, split: str) -> SoundBank:
        return self._audio.sounds(split)

    def _mixer(self, bank: SoundBank) -> SceneMixer:
        return SceneMixer(bank, self.config.scenes, self.labels, self._rate)

    def _model(self) -> Crnn:
        return Crnn(self.config.model, self.config.front_end.n_mels, len(self.labels))

    def _encoder(self, teacher: Teacher | None = None) -> Encoder:
        return Encoder(self._front_end, self.labels, HOPS_PER_SCORE, teacher)

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
