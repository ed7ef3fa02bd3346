"""A run that makes a streaming bundle: a causal network is trained, exported, tuned and measured."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from earmark.contracts.bundle import BundleSpec, StateSpec
from earmark.contracts.errors import BundleError
from earmark.training.bundle import Made, bundle_spec, credits_of, ship, ship_tuned
from earmark.training.clips import offline
from earmark.training.distillation import TeacherHead
from earmark.training.ensemble import ensemble
from earmark.training.loss import PRESENT
from earmark.training.memory import Memory
from earmark.training.model import HOPS_PER_SCORE, Crnn, cost
from earmark.training.objectives import StreamingObjective
from earmark.training.onnx_graph import onnx_model
from earmark.training.quantisation import quantised
from earmark.training.release import Quality
from earmark.training.run import Run
from earmark.training.streaming import StreamedModel

_REMEMBERED_SCENES, _AT_ONCE = 320, 32
_REAL = frozenset({"ambience", "background", "music", "speech_more", "unlabelled"})
"""Kinds of recordings that are remembered for what they are not."""
_HOPS_PER_STEP = 10
_N_COMPARED = 16
"""Clips."""
_MAX_DIFFERENCE, _MAX_MEAN_DIFFERENCE = 1e-4, 5e-3
"""Between scores, of the float32 step and of that in int8."""
_LOOKED_AT_SCENES = 64
"""By which the scales of a step in int8 are set."""


class Experiment(Run[Crnn]):
    """A run that trains a causal network, which hears a stream."""

    @property
    def _hops_per_label(self) -> int:
        return HOPS_PER_SCORE

    def _new_model(self) -> Crnn:
        return Crnn(self.config.model, self.config.front_end.n_mels, len(self.labels))

    def _objective_of(self, model: Crnn, taught: Tensor | None) -> StreamingObjective:
        output_hop = HOPS_PER_SCORE * self.config.front_end.hop_length
        head = None if taught is None else TeacherHead(model, taught, output_hop)
        return StreamingObjective(model, head, self.config, self._clips)

    def export(self, *models: Crnn) -> Quality:
        """Write the bundle of ``models``: the step, its smoothing tuned, its quality measured as it ships.

        Where the config asks for it, another one in int8 with the same calibration and smoothing, and its own quality.

        Raises:
            BundleError: The exported step does not score as the models do.
        """
        spec, made = self.exported(*models)
        credit = credits_of(self._bank.recordings)
        shipped = ship(self._audio, spec, made, credit)
        if self.config.int8:
            spec, made = self._in_int8(models, shipped.spec, made)
            if shipped.calibration is not None:
                made = replace(made, step=shipped.calibration.folded(made.step))
            ship_tuned(self._audio, self.config.out_int8, spec, made, credit)
        return shipped.quality

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
        changes = {"name": f"{spec.name}-int8", "description": description, "states": states}
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
        """Frames of training's scenes and of real recordings as the networks hear them."""
        mixer, encoder = self._mixer(self._bank), self._encoder()
        rng = np.random.default_rng([self.config.seed, 4])
        heard: list[NDArray[np.float32]] = []
        labels: list[NDArray[np.float16]] = []
        for _ in range(_REMEMBERED_SCENES // _AT_ONCE):
            examples = encoder([mixer.scene(rng) for _ in range(_AT_ONCE)])
            n_frames = examples.labels.shape[1] - self.config.model.delay_frames
            of_batch = _encoded(models, examples.features)[:, -n_frames:]
            heard.append(of_batch.reshape(-1, of_batch.shape[-1]))
            labels.append(examples.labels[:, :n_frames].reshape(-1, len(self.labels)))
        frames = np.concatenate(heard)
        real = np.concatenate([frames[:0], *self._each_second(models)])
        return Memory.choose(frames, np.concatenate(labels) >= PRESENT, real, rng)

    def _each_second(self, models: Sequence[Crnn]) -> Iterator[NDArray[np.float32]]:
        """The last frame of every second of the real recordings of the train split, ``[seconds, hidden]`` each."""
        output_hop = HOPS_PER_SCORE * self.config.front_end.hop_length
        files = {one.file for one in self._audio.recordings if one.split == "train" and one.kind in _REAL}
        for file in sorted(files):
            pcm = self._audio.cache[file]
            n_samples = len(pcm) // output_hop * output_hop
            if n_seconds := n_samples // self._rate:
                audio = pcm[:n_samples].astype(np.float32) / 32768
                features = self._front_end(np.pad(audio, (self._front_end.tail_length, 0))[None])
                ends = np.arange(1, n_seconds + 1) * self._rate // output_hop
                yield _encoded(models, features)[0, ends - 1]

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


def _encoded(models: Sequence[Crnn], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the GRUs of all models put out, ``[B, T / HOPS_PER_SCORE, hidden]``, hidden of all of them together."""
    with torch.inference_mode():
        given = torch.from_numpy(features)
        return torch.cat([model.encode(given, model.fresh_state(len(given)))[1] for model in models], -1).numpy()
