"""One training run, in YAML. Paths count from the working directory.

A run may build on another: ``extends: urban.yaml``, a file beside it, gives all keys that it lacks.
"""

import re
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from earmark.contracts.bundle import BUNDLE_NAME, FrontEnd, Smoothing
from earmark.contracts.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Naming(_Strict):
    """What recordings beyond the labelled clips are good for, by the beginning of their label."""

    extra: dict[str, str] = {}
    """The class of an `extra` or `unlabelled` sound. The longest beginning that fits counts."""
    distractors: tuple[str, ...] = ()
    """How `extra` sounds of no class begin. One that fits neither is left out unless a teacher says what it may be."""
    kinds: dict[str, str] = {}
    """The class of every recording of a kind, such as `music`; without it they are sounds of no class."""
    backgrounds: dict[str, str] = {}
    """An ambience that is an event of a class all the time."""
    neutral: tuple[str, ...] = ()
    """Ambiences with no event of any class."""


class SceneConfig(_Strict):
    """How scenes are mixed."""

    duration_s: Annotated[float, Field(ge=2)] = 8.0
    plain_share: Share = 0.32
    """Scenes of whole clips one after the other, as they are."""
    empty_share: Share = 0.1
    """Scenes with nothing to detect."""
    max_events: Annotated[int, Field(ge=1)] = 6
    snr_db: Range = (-5.0, 25.0)
    peak_db: Range = (-45.0, 0.0)
    audible_db: float | None = None
    """A sound's label ends where its level falls this far below all else that sounds; None labels all of it."""
    quiet_background_share: Share = 0.35
    bed_share: Share = 0.0
    """Of the other backgrounds: those that are a long sound of a class that `naming.kinds` names, such as music."""
    synthetic_share: Share = 0.15
    speech_share: Share = 0.06
    distractor_share: Share = 0.25
    """Mixed scenes with a sound of no class."""
    plain_distractor_share: Share = 0.0
    """Of the clips in plain scenes: those of no class."""
    few_events: bool = False
    """Whether fewer events are likelier: n as 1 / n. Else all numbers up to `max_events` are as likely."""
    speed: Range = (0.8, 1.25)
    speed_share: Share = 0.7
    colour_db: Annotated[float, Field(ge=0)] = 8.0
    """The largest gain or loss of a sound's own random equaliser."""
    colour_share: Share = 0.5
    reverb_share: Share = 0.33
    microphone_share: Share = 0.3
    """Scenes that a cheap microphone captured."""


class ModelConfig(_Strict):
    """The CRNN."""

    channels: tuple[int, ...] = (24, 48, 64, 96, 128)
    hidden: Annotated[int, Field(gt=0)] = 160
    dropout: Share = 0.15
    delay_frames: Annotated[int, Field(ge=0)] = 4
    """Scores by which the model may answer later, having heard more; the engine stamps its answers back."""


class WindowConfig(_Strict):
    """A network that hears whole windows, to confirm the events of another."""

    window_s: Annotated[float, Field(gt=0, le=8)] = 2.56
    answer_s: Annotated[float, Field(gt=0)] = 1.6
    """The end of a window, of whose sounds it tells."""
    channels: Annotated[tuple[Annotated[int, Field(gt=0, multiple_of=8)], ...], Field(min_length=2)] = (
        24, 32, 64, 96, 160,
    )  # fmt: skip
    """Of the stem and of each stage of residual blocks, which halve time and frequency. Multiples of 8: PyTorch 2.13
    crashes on some other numbers."""
    blocks: tuple[int, ...] = (1, 2, 2, 2)
    """Of each stage."""
    dropout: Share = 0.15
    per_scene: Annotated[int, Field(ge=1)] = 2
    """Windows of each scene of a batch."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if len(self.blocks) != len(self.channels) - 1:
            raise ValueError(f"expected blocks for {len(self.channels) - 1} stages, got {len(self.blocks)}")
        if self.answer_s > self.window_s:
            raise ValueError(f"expected answer_s up to window_s, {self.window_s}, got {self.answer_s}")
        return self


Weight = Annotated[float, Field(ge=0)]


class LossConfig(_Strict):
    """Weights of the parts of the loss."""

    frame: Weight = 1.0
    edge: Weight = 1.0
    """How much more the frames around an onset or offset count in the frame's part."""
    event: Weight = 1.0
    clip: Weight = 0.5
    peak: Weight = 0.5
    teacher: Weight = 15.0


class OptimConfig(_Strict):
    """The loop."""

    steps: Annotated[int, Field(gt=0)] = 10_000
    batch: Annotated[int, Field(gt=1)] = 16
    mixup_share: Share = 0.0
    """Rows that get another row mixed in, labels and all."""
    reuse: Annotated[float, Field(ge=1)] = 2.0
    """How often a scene is trained on, each time with another augmentation."""
    pool: Annotated[int, Field(gt=0)] = 8192
    learning_rate: float = 2.8e-3
    weight_decay: float = 0.02
    warmup_steps: int = 400
    clip_norm: float = 2.0
    ema: Share = 0.9995
    carry_share: Share = 0.5
    """Rows that begin with the state in which the previous batch ended, as in a stream that never stops."""
    evaluate_every: int = 1000
    checkpoint_every: int = 250
    cooldown_steps: Annotated[int, Field(ge=0)] = 0
    """The last steps, in which the learning rate falls to 0 while it is constant before; 0 lets it fall all the time,
    as a cosine."""
    bf16: bool | None = None
    """Whether arithmetic has 16 bits where it may; None measures which is faster at the start."""
    threads: int | None = None
    """Of the training process, where there is no GPU; None measures at the start."""


class TrainConfig(_Strict):
    """A run: its data, scenes, model, loss, loop and the bundle that it makes."""

    name: Annotated[str, Field(pattern=f"^{BUNDLE_NAME}$")]
    version: str = "0.1.0"
    description: str
    data: tuple[Path, ...]
    """Lists of labelled audio, or folders with one; one alone may stand without brackets."""
    teacher: Path | None = None
    """The checkpoint of mn04_as, whose features and logits the model learns to predict, and which says what unlabelled
    recordings may hold; None learns from the labels alone."""
    cache: Path = Path(".cache/training")
    out: Path
    seed: int = 0
    real: Path | None = None
    """A list of real recordings of the dev split, on which smoothing is tuned too."""
    calibrate: bool = False
    """Whether scores become probabilities on the recordings of ``real``. Those of rare classes are low even where they
    are right."""
    members: Annotated[int, Field(gt=0)] = 1
    """Networks in the bundle, of the seeds from ``seed`` on, whose logits are averaged; it costs as much as all."""
    front_end: FrontEnd = FrontEnd()
    naming: Naming = Naming()
    scenes: SceneConfig = SceneConfig()
    model: ModelConfig = ModelConfig()
    window: WindowConfig | None = None
    """Train a network that hears whole windows instead of `model`; None trains `model`."""
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    groups: dict[str, tuple[str, ...]] = {}
    smoothing: Smoothing = Smoothing()
    smoothing_by_label: dict[str, Smoothing] = {}
    int8: bool = False
    """Also write a bundle whose convolutions are in int8, for hundreds of streams on a core, into ``out_int8``."""

    @field_validator("data", mode="before")
    @classmethod
    def _one_or_several(cls, data: object) -> object:
        return (data,) if isinstance(data, str | Path) else data

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.data:
            raise ValueError("data names no list")
        if self.optim.reuse > self.optim.batch:
            raise ValueError(f"optim.reuse at most optim.batch, {self.optim.batch}, got {self.optim.reuse}")
        if self.int8 and not re.fullmatch(BUNDLE_NAME, f"{self.name}-int8"):
            raise ValueError(f"a name that is a bundle's with -int8 behind it too, got {self.name!r}; shorten it")
        return self

    @property
    def seeds(self) -> range:
        """Of the networks."""
        return range(self.seed, self.seed + self.members)

    @property
    def out_int8(self) -> Path:
        """Beside ``out``."""
        return self.out.with_name(f"{self.out.name}-int8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The config in ``path``.

        Raises:
            ConfigError: It cannot be read, or a key or value is wrong.
        """
        try:
            return cls.model_validate(_read(path))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"expected a training config in {path}: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}: {where}: {first['msg']}") from error

    def changed(self, *, steps: int | None = None, seed: int | None = None) -> Self:
        """A copy with other steps or seed, where they are given."""
        optim = self.optim if steps is None else self.optim.model_copy(update={"steps": steps})
        return self.model_copy(update={"optim": optim, "seed": self.seed if seed is None else seed})


def _read(path: Path) -> object:
    """What a file says, above what the one that it extends says."""
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or "extends" not in said:
        return said
    base = yaml.safe_load((path.parent / str(said.pop("extends"))).read_text(encoding="utf-8"))
    return {**base, **said} if isinstance(base, dict) else base
