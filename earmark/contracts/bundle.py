"""The bundle: a folder with one model and everything that its users must know.

``model.onnx`` is one streaming step: ``features [B, T, n_mels]`` and every state go in,
``scores [B, T / hops_per_score, C]`` and every state, named ``new_<state>``, come out.
``bundle.json`` is a `BundleSpec`. ``CARD.md`` is for people.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from earmark.contracts.errors import BundleError, ConfigError
from earmark.contracts.presets import PRESETS, Preset

BUNDLE_FORMAT = 1
BUNDLE_NAME = "[a-z0-9_-]{1,32}"
"""Pattern of a bundle's name."""
SPEC_FILE, MODEL_FILE = "bundle.json", "model.onnx"
_MOST_STATE_BYTES = 64 << 20
"""Of one row: five hundred times what the largest bundle that ships takes."""


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"expected printable characters without spaces around them, got {text[:80]!r}")
    return text


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
"""What events carry: a label, or a version."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FrontEnd(_Strict):
    """Log-mel features: ``ln(mel @ |rfft(hann * frame)|^2 + log_offset)``; mel bands as librosa's (Slaney)."""

    sample_rate_hz: Annotated[int, Field(gt=0, le=1_000_000)] = 16_000
    n_fft: Annotated[int, Field(gt=0, le=65_536)] = 512
    win_length: Annotated[int, Field(gt=0)] = 512
    hop_length: Annotated[int, Field(gt=0)] = 320
    n_mels: Annotated[int, Field(gt=0, le=1_024)] = 64
    fmin_hz: Annotated[float, Field(ge=0)] = 40.0
    fmax_hz: Annotated[float, Field(gt=0)] = 8_000.0
    log_offset: Annotated[float, Field(gt=0)] = 1e-6

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if not self.hop_length <= self.win_length <= self.n_fft:
            raise ValueError(
                f"hop_length <= win_length <= n_fft, got {self.hop_length}, {self.win_length}, {self.n_fft}"
            )
        if not self.fmin_hz < self.fmax_hz <= self.sample_rate_hz / 2:
            raise ValueError(f"fmin_hz < fmax_hz <= {self.sample_rate_hz / 2}, got {self.fmin_hz}, {self.fmax_hz}")
        return self


Probability = Annotated[float, Field(gt=0, le=1)]


class Smoothing(_Strict):
    """How one class's scores become events; see `engine.smoothing`."""

    onset_threshold: Probability = 0.5
    offset_threshold: Probability = 0.3
    median_frames: Annotated[int, Field(ge=1, le=25)] = 3
    """Odd; half of it is how many frames later the class is told of."""
    min_duration_s: Annotated[float, Field(ge=0)] = 0.0
    min_gap_s: Annotated[float, Field(ge=0)] = 0.4
    max_unproven_s: Annotated[float, Field(ge=0)] | None = None
    """How long an event goes on after its score last reached ``onset_threshold``; None sets no limit."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omits a limit that is not set, so that older bundles keep their fingerprints."""
        return {name: value for name, value in serialise(self).items() if (name, value) != ("max_unproven_s", None)}

    @field_validator("median_frames")
    @classmethod
    def _has_a_middle(cls, median_frames: int) -> int:
        if median_frames % 2 == 0:
            raise ValueError(f"an odd number of frames, got {median_frames}")
        return median_frames

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.offset_threshold > self.onset_threshold:
            raise ValueError(
                f"offset_threshold <= onset_threshold, got {self.offset_threshold} and {self.onset_threshold}"
            )
        return self


class StateSpec(_Strict):
    """One state of the model: ONNX input ``name``, output ``new_name``, ``[B, *shape]``, zeros when fresh."""

    name: Name
    shape: Annotated[tuple[Annotated[int, Field(gt=0, le=1_000_000)], ...], Field(max_length=8)]
    dtype: Literal["float32", "uint8"] = "float32"

    @model_serializer(mode="wrap")
    def _as_ever(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Says nothing of float32, so that bundles of before are what they were."""
        return {name: value for name, value in serialise(self).items() if (name, value) != ("dtype", "float32")}

    @property
    def n_bytes(self) -> int:
        """Of one row."""
        return math.prod(self.shape) * (4 if self.dtype == "float32" else 1)


class Training(_Strict):
    """Where the weights come from."""

    data: str
    licences: dict[str, int]
    recipe: str


class BundleSpec(_Strict):
    """``bundle.json``. A score covers ``hops_per_score`` hops: the output hop."""

    format: Literal[1]
    name: Annotated[str, Field(pattern=f"^{BUNDLE_NAME}$")]
    version: Name
    description: str
    front_end: FrontEnd
    hops_per_score: Annotated[int, Field(gt=0, le=1_000)]
    labels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=10_000)]
    groups: dict[Name, tuple[str, ...]] = {}
    """Labels that belong together, for a configuration to ask for; nothing is decided on them unless it does."""
    decided_groups: tuple[str, ...] = ()
    """Those that have events of their own; never in a bundle on disk."""
    states: Annotated[tuple[StateSpec, ...], Field(max_length=1_000)]
    receptive_field_s: Annotated[float, Field(gt=0)] | None
    """What one score can see; None for a recurrent model, which sees its whole window."""
    delay_frames: Annotated[int, Field(ge=0, le=25)] = 0
    """Scores tell of what sounded so many scores before: the model was trained to answer later, having heard more."""
    window_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    warmup_s: Annotated[float, Field(gt=0, le=3_600)] = 5.0
    smoothing: Smoothing = Smoothing()
    smoothing_by_label: dict[str, Smoothing] = {}
    presets: dict[Preset, dict[str, Smoothing]] = {}
    """Other choices of ``smoothing_by_label``, which decides; the three presets or none."""
    training: Training
    quality: dict[str, float] = {}

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels name a class twice")
        if self.state_bytes > _MOST_STATE_BYTES:
            raise ValueError(f"expected states of {_MOST_STATE_BYTES} bytes a row at most, got {self.state_bytes}")
        if both := set(self.groups) & set(self.labels):
            raise ValueError(f"groups have the names of labels: {sorted(both)}")
        if unknown := set(self.decided_groups) - set(self.groups):
            raise ValueError(f"decided_groups names {sorted(unknown)}, which groups does not")
        known = {*self.labels, *self.decided_groups}
        by_preset = {f"presets.{preset}": by_label for preset, by_label in self.presets.items()}
        for where, names in {"smoothing_by_label": self.smoothing_by_label, **by_preset, **self.groups}.items():
            if unknown := set(names) - known:
                raise ValueError(f"{where} names {sorted(unknown)}, which labels does not")
        if self.presets and set(self.presets) != set(PRESETS):
            raise ValueError(f"presets: expected {', '.join(PRESETS)} or none, got {', '.join(self.presets)}")
        return self

    @property
    def event_labels(self) -> tuple[str, ...]:
        """What events are decided on: the labels, then groups of them."""
        return (*self.labels, *self.decided_groups)

    def smoothing_of(self, label: str) -> Smoothing:
        """How the scores of a label or a decided group become events."""
        return self.smoothing_by_label.get(label, self.smoothing)

    def with_preset(self, preset: Preset) -> Self:
        """The same with the smoothing of one of its presets."""
        return self.model_copy(update={"smoothing_by_label": self.presets[preset]})

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the audio that the model hears."""
        return self.front_end.sample_rate_hz

    @property
    def output_hop(self) -> int:
        """Samples from one score to the next."""
        return self.front_end.hop_length * self.hops_per_score

    @property
    def window_samples(self) -> int:
        """`window_s` in whole output hops."""
        return self._whole_hops(self.window_s)

    @property
    def warmup_samples(self) -> int:
        """`warmup_s` in whole output hops, `window_samples` at most.

        A row that scores has heard so much at least, unless its stream is younger. So does a row that is rebuilt.
        """
        return min(self._whole_hops(self.warmup_s), self.window_samples)

    def _whole_hops(self, seconds: float) -> int:
        return max(1, round(seconds * self.sample_rate_hz / self.output_hop)) * self.output_hop

    @property
    def state_bytes(self) -> int:
        """What the states of one row take."""
        return sum(state.n_bytes for state in self.states)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    folder: Path
    spec: BundleSpec

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over everything that decides a score or an event."""
        digest = hashlib.blake2b(self.model_path.read_bytes(), digest_size=8)
        unsaid = {"description", "training", "quality", "presets"}
        unsaid |= set() if self.spec.decided_groups else {"decided_groups"}
        digest.update(self.spec.model_dump_json(exclude=unsaid).encode())
        return digest.hexdigest()

    def deciding(self, groups: Mapping[str, tuple[str, ...]], smoothing: Mapping[str, Smoothing]) -> Self:
        """This bundle with events for groups too, which become part of its identity.

        Args:
            groups: Labels by the group's name.
            smoothing: By the group's name.
        """
        spec = self.spec
        decided = spec.model_copy(
            update={
                "groups": {**spec.groups, **groups},
                "decided_groups": tuple(groups),
                "smoothing_by_label": {**spec.smoothing_by_label, **smoothing},
            }
        )
        return replace(self, spec=BundleSpec.model_validate(decided.model_dump()))

    def with_preset(self, preset: Preset | None) -> Self:
        """This bundle with the smoothing of a preset, which becomes part of its identity; None changes nothing.

        Raises:
            BundleError: It has no presets.
        """
        if preset is None:
            return self
        if not self.spec.presets:
            raise BundleError(
                f"expected a bundle with presets, got {self.spec.name!r} without any; leave the preset out, "
                "or make presets with `earmark tune`"
            )
        return replace(self, spec=self.spec.with_preset(preset))

    def with_threshold(self, onset_threshold: float | None) -> Self:
        """This bundle with one onset threshold for all labels, as part of its identity; None changes nothing.

        Raises:
            ConfigError: It is not above 0 and up to 1.
        """
        if onset_threshold is None:
            return self
        if not 0 < onset_threshold <= 1:
            raise ConfigError(f"expected a threshold above 0 and up to 1, got {onset_threshold:g}")

        def changed(smoothing: Smoothing) -> Smoothing:
            lower = min(onset_threshold, smoothing.offset_threshold)
            return smoothing.model_copy(update={"onset_threshold": onset_threshold, "offset_threshold": lower})

        by_label = {label: changed(smoothing) for label, smoothing in self.spec.smoothing_by_label.items()}
        update = {"smoothing": changed(self.spec.smoothing), "smoothing_by_label": by_label}
        return replace(self, spec=self.spec.model_copy(update=update))

    @property
    def identity(self) -> str:
        """What events carry as ``model``."""
        return f"{self.spec.name}@{self.spec.version}+{self.fingerprint}"


def load_bundle(name_or_path: str | os.PathLike[str], preset: Preset | None = None) -> Bundle:
    """A bundle that ships, by its name, or one in a folder, by its path.

    Args:
        name_or_path: Which one.
        preset: Its smoothing, which becomes part of its identity; None takes the one that ``bundle.json`` sets.

    Raises:
        BundleError: There is none, its ``bundle.json`` does not hold together, or it has no presets.
    """
    return _load(name_or_path).with_preset(preset)


def _load(name_or_path: str | os.PathLike[str]) -> Bundle:
    folder = Path(name_or_path)
    if not folder.is_dir():
        folder = shipped("models") / str(name_or_path)
    if not (folder / SPEC_FILE).is_file() or not (folder / MODEL_FILE).is_file():
        names = ", ".join(bundle.spec.name for bundle in shipped_bundles()) or "none"
        raise BundleError(
            f"expected the name of a bundle that ships ({names}) or a folder with {SPEC_FILE} and {MODEL_FILE}, "
            f"got {str(name_or_path)!r}"
        )
    try:
        spec = BundleSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format",) and first["type"] != "missing":
            raise BundleError(
                f"{folder / SPEC_FILE}: expected bundle format {BUNDLE_FORMAT}, got {first['input']}; "
                "run the release that it was made for, or export it with this one"
            ) from error
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BundleError(
            f"{folder / SPEC_FILE}: {where}: {first['msg']} ({error.error_count()} in all); export the bundle again"
        ) from error
    return Bundle(folder, spec)


def shipped_bundles() -> Iterator[Bundle]:
    """The bundles that ship, by name."""
    for spec in sorted(shipped("models").glob(f"*/{SPEC_FILE}")):
        yield load_bundle(spec.parent)


def shipped(folder: Literal["models", "configs"]) -> Path:
    """A folder of data that ships: inside the installed package, or at the root of a checkout."""
    package = Path(str(resources.files("earmark")))
    installed = package / folder
    return installed if installed.is_dir() else package.parent / folder
