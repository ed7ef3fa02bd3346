"""One run put together: data, scenes, model; then training and export, each from the config alone."""

import hashlib
from collections.abc import Generator
from contextlib import closing
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from earmark.contracts.bundle import BundleSpec
from earmark.contracts.errors import BundleError, ConfigError
from earmark.training.bundle import Made, bundle_spec, credits_of, ship
from earmark.training.clips import Clips
from earmark.training.config import TrainConfig
from earmark.training.distillation import TeacherHead
from earmark.training.feed import Encoder, Examples, batches
from earmark.training.loop import CHECKPOINT_FILE, Trainer, fix_normalisation, offline
from earmark.training.memory import Memory
from earmark.training.model import HOPS_PER_SCORE, Crnn, cost
from earmark.training.onnx_graph import onnx_model
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
_MAX_DIFFERENCE = 1e-4
_DECISIVE = {"data", "teacher", "seed", "front_end", "naming", "scenes", "model", "loss", "optim"}
"""Of the config: what decides the weights."""


class Experiment:
    """A run.

    Args:
        config: All that decides it.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._rate = config.front_end.sample_rate_hz
        self._audio = RunAudio(config)
        self._bank = self._sounds("train")
        self.labels = self._bank.labels
        self._front_end = LogMel(config.front_end)
        self._output_hop = HOPS_PER_SCORE * config.front_end.hop_length
        self._teacher = Teacher(config.teacher) if config.teacher else None

    @property
    def checkpoint(self) -> Path:
        """Where training keeps what it needs to go on, apart for every config."""
        digest = hashlib.blake2b(self.config.model_dump_json(include=_DECISIVE).encode(), digest_size=4).hexdigest()
        return self.config.cache / "runs" / f"{self.config.name}-{digest}" / CHECKPOINT_FILE

    @cached_property
    def _clips(self) -> Clips:
        return Clips.load(self._audio.recordings, self._audio.cache, self._front_end, self.labels)

    def train(self) -> Crnn:
        """Train a model from the config's seed, from where an earlier run of the same config was stopped."""
        config = self.config
        torch.set_num_threads(config.optim.threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(config.seed)
        mixer, encoder = self._mixer(self._bank), self._encoder(self._teacher)
        model = self._model().to(memory_format=torch.channels_last)
        rng = np.random.default_rng([config.seed, 2])
        first = encoder([mixer.scene(rng) for _ in range(_NORMALISATION_SCENES)])
        fix_normalisation(model, torch.from_numpy(first.features))
        head = None
        if self._teacher is not None:
            head = TeacherHead(model, torch.from_numpy(first.taught).float(), self._output_hop)
        trainer = Trainer(model, head, config, self._clips, self.checkpoint.parent)
        with closing(self._feed(mixer, encoder, trainer.step)) as feed:
            return trainer.run(feed)

    def load(self) -> Crnn:
        """The model of the latest checkpoint, for inference.

        Raises:
            ConfigError: There is no checkpoint.
        """
        if not self.checkpoint.is_file():
            raise ConfigError(f"expected a checkpoint at {self.checkpoint}, found none; train first")
        model = self._model()
        average = torch.load(self.checkpoint, map_location="cpu", weights_only=True)["average"]
        model.load_state_dict({name.removeprefix("module."): w for name, w in average.items() if name != "n_averaged"})
        return model.eval()

    def export(self, model: Crnn) -> Quality:
        """Write the bundle of ``model``: the step, its smoothing tuned, its quality measured as it ships.

        Raises:
            BundleError: The exported step does not score as the model does.
        """
        return ship(self.config, *self.exported(model), credits_of(self._bank.recordings))

    def exported(self, model: Crnn) -> tuple[BundleSpec, Made]:
        """What a bundle of ``model`` is made of, before its smoothing is tuned.

        Raises:
            BundleError: The exported step does not score as the model does.
        """
        model = model.cpu()
        step = onnx_model(model)
        self._compare(step, model)
        costs = cost(model, self._rate / self.config.front_end.hop_length)
        made = Made(step.SerializeToString(), costs, self._memory(model))
        return bundle_spec(model, self.labels, self._bank.recordings, self.config), made

    def _memory(self, model: Crnn) -> Memory:
        """Frames of training's scenes as the network hears them."""
        mixer, encoder = self._mixer(self._bank), self._encoder()
        rng = np.random.default_rng([self.config.seed, 4])
        heard: list[NDArray[np.float32]] = []
        labels: list[NDArray[np.bool_]] = []
        for _ in range(_REMEMBERED_SCENES // _AT_ONCE):
            examples = encoder([mixer.scene(rng) for _ in range(_AT_ONCE)])
            with torch.inference_mode():
                of_batch = model.encode(torch.from_numpy(examples.features), model.fresh_state(_AT_ONCE))[1]
            n_frames = examples.labels.shape[1] - self.config.model.delay_frames
            heard.append(of_batch[:, -n_frames:].flatten(0, 1).numpy())
            labels.append(examples.labels[:, :n_frames].reshape(-1, len(self.labels)))
        return Memory.choose(np.concatenate(heard), np.concatenate(labels), rng)

    def _compare(self, step: onnx.ModelProto, model: Crnn) -> None:
        features = self._clips.features[:16]
        offline_scores = 1 / (1 + np.exp(-offline(model)(features)))
        streamed = StreamedModel(step.SerializeToString(), model.state_specs()).scores(features, _HOPS_PER_STEP)
        difference = float(np.abs(streamed - offline_scores).max())
        if difference > _MAX_DIFFERENCE:
            raise BundleError(
                f"expected the exported step's scores within {_MAX_DIFFERENCE} of torch's, got {difference:.2g}; "
                "this is a bug, please report it"
            )

    def _sounds(self, split: str) -> SoundBank:
        return SoundBank(self._audio.recordings, split, self._audio.cache, self.config.naming, self._rate)

    def _mixer(self, bank: SoundBank) -> SceneMixer:
        return SceneMixer(bank, self.config.scenes, self.labels, self._rate)

    def _model(self) -> Crnn:
        return Crnn(self.config.model, self.config.front_end.n_mels, len(self.labels))

    def _encoder(self, teacher: Teacher | None = None) -> Encoder:
        return Encoder(self._front_end, len(self.labels), HOPS_PER_SCORE, teacher)

    def _feed(self, mixer: SceneMixer, encoder: Encoder, first_step: int) -> Generator[Examples, None, None]:
        optim = self.config.optim
        fresh = round(optim.batch / optim.reuse)
        return batches(
            mixer,
            encoder,
            batch=optim.batch,
            fresh=fresh,
            pool=optim.pool,
            seed=self.config.seed,
            first_step=first_step,
        )
