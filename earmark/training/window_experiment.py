"""A run that makes a judge: a network that hears whole windows is trained, exported and measured on clips."""

import math

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from earmark.contracts.bundle import BUNDLE_FORMAT, BundleSpec, Smoothing
from earmark.contracts.errors import BundleError, ConfigError
from earmark.training.bundle import CARD_FILE, credits_of, training_of, write_bundle, write_credits
from earmark.training.config import TrainConfig, WindowConfig
from earmark.training.loss import PRESENT
from earmark.training.run import Run
from earmark.training.streaming import StreamedModel
from earmark.training.window_graph import onnx_window_model
from earmark.training.window_model import WindowModel, window_cost
from earmark.training.windows import WindowHead, WindowObjective

_LABEL_S = 0.04
"""How finely a scene is labelled, as for a streaming network."""
_MAX_DIFFERENCE = 1e-4
"""Between scores of the exported graph and of torch."""
_CARD = """\
# {name} {version}

{description}

It is a judge: it hears a window of {window_s:g} s and says which classes sound in its last {answer_s:g} s. It keeps no
state and is not causal. The engine asks it to confirm the events of another bundle (`engine.confirm`).
This file was written by `earmark train`.

## Classes

{classes}

## Quality

{accuracy:.1%} of the labelled dev clips are named right by the largest mean logit of their windows. Nothing was trained
on the dev split.

## Cost

{parameters:,} parameters, {mflop:.0f} MFLOP a window (1 MAC = 2 FLOP; the network without the front end), {size_mb:.1f}
MB on disk.

## Data and licences

{data}. Licences: {licences}. CC BY asks for credit: `CREDITS.csv` names the author and source of every recording that
was trained on. No audio is part of this bundle.
"""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class WindowExperiment(Run[WindowModel]):
    """A run that trains a `WindowModel`.

    Args:
        config: All that decides it, with its `WindowConfig`.

    Raises:
        ConfigError: There is nothing to learn from, or a window is not of whole labels.
    """

    def __init__(self, config: TrainConfig) -> None:
        if config.window is None:
            raise ConfigError(f"expected the section window in the run {config.name!r}, found none; add it")
        self._window: WindowConfig = config.window
        hop_s = config.front_end.hop_length / config.front_end.sample_rate_hz
        self._hops = round(_LABEL_S / hop_s)
        n_labels = self._window.window_s / _LABEL_S
        if not math.isclose(self._hops * hop_s, _LABEL_S) or not math.isclose(n_labels, round(n_labels)):
            raise ConfigError(
                f"expected a hop and a window of which {1000 * _LABEL_S:g} ms is a multiple and a part, got "
                f"front_end.hop_length {config.front_end.hop_length} and window.window_s {self._window.window_s:g}"
            )
        super().__init__(config)

    @property
    def _hops_per_label(self) -> int:
        return self._hops

    @property
    def _window_hops(self) -> int:
        spec = self.config.front_end
        return round(self._window.window_s * spec.sample_rate_hz / spec.hop_length)

    def _new_model(self) -> WindowModel:
        return WindowModel(self._window, self.config.front_end.n_mels, len(self.labels))

    def _objective_of(self, model: WindowModel, taught: Tensor | None) -> WindowObjective:
        head = None if taught is None else WindowHead(model, taught)
        return WindowObjective(model, head, self.config, self._clips, self._hops)

    def export(self, model: WindowModel) -> dict[str, float]:
        """Write the bundle of ``model``; what it is worth.

        Raises:
            BundleError: The exported graph does not score as the model does.
        """
        model = model.cpu()
        step = onnx_window_model(model).SerializeToString()
        self._compare(step, model)
        accuracy = self._objective_of(model, None).dev_accuracy(model)
        figures = {"clip_accuracy": round(accuracy, 4)}
        spec = self._spec().model_copy(update={"quality": figures})
        out = self.config.out
        write_bundle(out, spec, step)
        write_credits(out, credits_of(self._bank.recordings))
        (out / CARD_FILE).write_text(self._card(spec, model, accuracy, len(step)), encoding="utf-8")
        _log.info("exported", bundle=spec.name, **figures)
        return figures

    def _compare(self, step: bytes, model: WindowModel) -> None:
        windows: NDArray[np.float32] = self._clips.features[:16, : self._window_hops]
        with torch.inference_mode():
            expected = torch.sigmoid(model(torch.from_numpy(windows))).numpy()
        found = StreamedModel(step, ()).scores(windows, self._window_hops)[:, 0]
        if (difference := float(np.abs(found - expected).max())) > _MAX_DIFFERENCE:
            raise BundleError(
                f"expected the exported graph's scores within {_MAX_DIFFERENCE} of torch's, got {difference:.2g}; "
                "this is a bug, please report it"
            )

    def _spec(self) -> BundleSpec:
        config = self.config
        return BundleSpec(
            format=BUNDLE_FORMAT,
            name=config.name,
            version=config.version,
            description=config.description,
            front_end=config.front_end,
            hops_per_score=self._window_hops,
            labels=self.labels,
            states=(),
            receptive_field_s=self._window.window_s,
            smoothing=Smoothing(onset_threshold=PRESENT, offset_threshold=PRESENT, median_frames=1),
            training=training_of(self._bank.recordings, config),
        )

    def _card(self, spec: BundleSpec, model: WindowModel, accuracy: float, size: int) -> str:
        cost = window_cost(model, self._window_hops)
        return _CARD.format(
            name=spec.name,
            version=spec.version,
            description=spec.description,
            window_s=self._window.window_s,
            answer_s=self._window.answer_s,
            classes=", ".join(f"`{label}`" for label in spec.labels),
            accuracy=accuracy,
            parameters=cost.parameters,
            mflop=cost.mflop,
            size_mb=size / 1e6,
            data=spec.training.data,
            licences=", ".join(f"{licence} {count}" for licence, count in spec.training.licences.items()),
        )
