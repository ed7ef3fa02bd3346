"""One run put together: data, scenes, model; then training and export, each from the config alone."""

from collections.abc import Generator
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import torch

from earmark.contracts.errors import ConfigError
from earmark.training.bundle import Made, bundle_spec, write_bundle
from earmark.training.cache import AudioCache
from earmark.training.calibration import best_shift, shift_logits
from earmark.training.config import TrainConfig
from earmark.training.devset import Clips, DevSet, meeting_scenes
from earmark.training.feed import Encoder, Examples, batches
from earmark.training.index import read_index
from earmark.training.loop import Trainer, fix_normalisation
from earmark.training.metrics import Active, Scores, hysteresis
from earmark.training.model import HOPS_PER_SCORE, Crnn
from earmark.training.onnx_graph import onnx_model
from earmark.training.report import Report, Scorer, measure
from earmark.training.scenes import SceneMixer
from earmark.training.sources import SoundBank
from earmark.training.streaming import StreamedModel
from engine.frontend import LogMel

_NORMALISATION_SCENES = 200
_HOPS_PER_STEP = 10


class Experiment:
    """A run.

    Args:
        config: All that decides it.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self._rate = config.front_end.sample_rate_hz
        self._recordings = read_index(config.data)
        self._cache = AudioCache.build(config.data, self._recordings, config.cache, self._rate)
        self._bank = self._sounds("train")
        self.labels = self._bank.labels
        self._front_end = LogMel(config.front_end)
        self._encoder = Encoder(self._front_end, len(self.labels), HOPS_PER_SCORE)

    @property
    def checkpoint(self) -> Path:
        """Where training keeps the averaged weights."""
        return self.config.cache / f"{self.config.name}.pt"

    @cached_property
    def _clips(self) -> Clips:
        return Clips.load(self._recordings, self._cache, self._front_end, self.labels)

    def train(self) -> Crnn:
        """Train a new model from the config's seed."""
        config = self.config
        torch.set_num_threads(config.optim.threads)
        torch.set_flush_denormal(True)
        torch.manual_seed(config.seed)
        mixer = self._mixer(self._bank)
        model = self._model().to(memory_format=torch.channels_last)
        rng = np.random.default_rng([config.seed, 2])
        scenes = [mixer.scene(rng) for _ in range(_NORMALISATION_SCENES)]
        fix_normalisation(model, torch.from_numpy(self._encoder(scenes).features))
        feed = self._feed(mixer)
        try:
            return Trainer(model, config, self._clips, self.checkpoint).run(feed)
        finally:
            feed.close()

    def load(self) -> Crnn:
        """The model of the latest checkpoint, for inference.

        Raises:
            ConfigError: There is no checkpoint.
        """
        if not self.checkpoint.is_file():
            raise ConfigError(f"expected a checkpoint at {self.checkpoint}, found none; train first")
        model = self._model()
        model.load_state_dict(torch.load(self.checkpoint, weights_only=True))
        return model.eval()

    def export(self, model: Crnn) -> Report:
        """Calibrate ``model`` in place, measure it as it ships and write its bundle."""
        meetings = meeting_scenes(self._recordings, self._cache, self._rate, self.labels)
        dev = DevSet.make(self._clips, meetings, self._mixer(self._sounds("dev")), self._encoder, self.labels)
        frame_s = HOPS_PER_SCORE * self.config.front_end.hop_length / self._rate
        scores = _streamed(onnx_model(model), model)(dev.tuning.features)
        shift_logits(model, best_shift(scores, dev.tuning.labels, round(1 / frame_s)))
        step = onnx_model(model)
        report = measure(_streamed(step, model), self._decide, dev, self.labels, frame_s)
        recordings = self._bank.recordings
        spec = bundle_spec(model, self.labels, recordings, self.config, report)
        write_bundle(self.config.out, Made(step.SerializeToString(), model, spec, recordings, report))
        return report

    def _decide(self, scores: Scores) -> Active:
        smoothing = [self.config.smoothing_by_label.get(label, self.config.smoothing) for label in self.labels]
        onset_thresholds = np.array([each.onset_threshold for each in smoothing])
        return hysteresis(scores, onset_thresholds, np.array([each.offset_threshold for each in smoothing]))

    def _sounds(self, split: str) -> SoundBank:
        return SoundBank(self._recordings, split, self._cache, self.config.naming, self._rate)

    def _mixer(self, bank: SoundBank) -> SceneMixer:
        return SceneMixer(bank, self.config.scenes, self.labels, self._rate)

    def _model(self) -> Crnn:
        return Crnn(self.config.model, self.config.front_end.n_mels, len(self.labels))

    def _feed(self, mixer: SceneMixer) -> Generator[Examples, None, None]:
        optim = self.config.optim
        fresh = round(optim.batch / optim.reuse)
        return batches(mixer, self._encoder, batch=optim.batch, fresh=fresh, pool=optim.pool, seed=self.config.seed)


def _streamed(step: onnx.ModelProto, model: Crnn) -> Scorer:
    streamed = StreamedModel(step.SerializeToString(), model.state_specs())
    return lambda features: streamed.scores(features, _HOPS_PER_STEP)
