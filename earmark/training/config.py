"""One training run, in YAML. Paths count from the working directory."""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from earmark.contracts.bundle import FrontEnd, Smoothing
from earmark.contracts.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Naming(_Strict):
    """What recordings beyond the labelled clips are good for, by the beginning of their label."""

    extra: dict[str, str] = {}
    """A short sound's class. The longest beginning that fits counts."""
    distractors: tuple[str, ...] = ()
    """Short sounds of no class; an `extra` sound that fits neither is left out, for it may be either."""
    backgrounds: dict[str, str] = {}
    """An ambience that is an event of a class all the time."""
    neutral: tuple[str, ...] = ()
    """Ambiences with no event of any class."""


class SceneConfig(_Strict):
    """How scenes are mixed."""

    duration_s: Annotated[float, Field(gt=0)] = 8.0
    plain_share: Share = 0.42
    """Scenes of whole clips one after the other, as they are."""
    empty_share: Share = 0.1
    """Scenes with nothing to detect."""
    max_events: Annotated[int, Field(ge=1)] = 4
    snr_db: Range = (-5.0, 25.0)
    peak_db: Range = (-45.0, 0.0)
    quiet_background_share: Share = 0.35
    synthetic_share: Share = 0.15
    speech_share: Share = 0.06
    distractor_share: Share = 0.25
    speed: Range = (0.87, 1.15)
    speed_share: Share = 0.5
    reverb_share: Share = 0.33


class ModelConfig(_Strict):
    """Widths of the CRNN."""

    channels: tuple[int, ...] = (24, 48, 64, 96, 128)
    hidden: Annotated[int, Field(gt=0)] = 160
    dropout: Share = 0.2


class LossConfig(_Strict):
    """Weights of the parts of the loss."""

    frame: float = 1.0
    event: float = 1.0
    clip: float = 0.5
    peak: float = 0.5


class OptimConfig(_Strict):
    """The loop."""

    steps: Annotated[int, Field(gt=0)] = 6000
    batch: Annotated[int, Field(gt=1)] = 32
    reuse: Annotated[float, Field(ge=1)] = 4.0
    """How often a scene is trained on, each time with another augmentation."""
    pool: Annotated[int, Field(gt=0)] = 2048
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup_steps: int = 300
    clip_norm: float = 2.0
    ema: Share = 0.999
    carry_share: Share = 0.5
    """Rows that begin with the state in which the previous batch ended, as in a stream that never stops."""
    evaluate_every: int = 400
    bf16: bool = True
    threads: int = 1


class TrainConfig(_Strict):
    """A run: its data, scenes, model, loss, loop and the bundle that it makes."""

    name: str
    version: str = "0.1.0"
    description: str
    data: Path
    cache: Path = Path(".cache/training")
    out: Path
    seed: int = 0
    front_end: FrontEnd = FrontEnd()
    naming: Naming = Naming()
    scenes: SceneConfig = SceneConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    groups: dict[str, tuple[str, ...]] = {}
    smoothing: Smoothing = Smoothing()
    smoothing_by_label: dict[str, Smoothing] = {}

    @classmethod
    def load(cls, path: Path) -> Self:
        """The config in ``path``.

        Raises:
            ConfigError: It cannot be read, or a key or value is wrong.
        """
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"expected a training config in {path}: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}: {where}: {first['msg']}") from error
