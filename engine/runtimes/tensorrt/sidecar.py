"""What stands beside an engine: what it was built from, by what, and for what."""

import hashlib
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from engine.config import Precision
from engine.runtimes.tensorrt.flavours import FlavourName

SIDECAR_FORMAT = 1
LONGEST_STEP = 25
"""Output hops of the longest step, as the analyser takes them to catch up."""
PORTABLE = "8.0 and above"
"""What tensorrt_rtx builds for unless told otherwise: Ampere and later."""

_Positive = Annotated[int, Field(gt=0)]
Range = tuple[_Positive, _Positive, _Positive]
"""Least, best and most."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Strict):
    """Shapes that an engine was built for."""

    name: Literal["live", "catch_up"]
    batch: Range
    hops: Range
    """Output hops of a step."""


class Tensor(_Strict):
    """An input or an output, -1 where the shape is dynamic."""

    name: str
    shape: tuple[int, ...]


class Sidecar(_Strict):
    """The JSON file."""

    format: Literal[1]
    graph: int
    """`GRAPH_VERSION` of the step that it runs."""
    bundle: str
    """Identity of the bundle, its fingerprint included."""
    flavour: FlavourName
    version: str
    """Of TensorRT; an engine runs on this very version alone."""
    precision: Precision
    gpu: str
    """The compute capability that it runs on, or `PORTABLE`."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: tuple[Profile, ...]
    timing_cache: bool
    """Whether measured tactics are kept beside it; tensorrt_rtx measures nothing when it builds."""
    engine_bytes: int
    engine_blake2b: str
    created_at: AwareDatetime
    build_s: float

    @property
    def max_batch(self) -> int:
        """Rows of the largest step."""
        return max(profile.batch[2] for profile in self.profiles)


def profiles_for(max_batch: int) -> tuple[Profile, ...]:
    """What an engine is built for: one hop of many streams, and many hops of few.

    Two profiles, because the memory of one goes with its largest batch times its longest step. No batch is fixed at
    one: the builder of tensorrt_rtx 1.7 then never came to an end with a small recurrent model.
    """
    many, few = max(2, max_batch), max(2, max_batch // LONGEST_STEP)
    return (
        Profile(name="live", batch=(1, many // 2, many), hops=(1, 1, 1)),
        Profile(name="catch_up", batch=(1, few, few), hops=(2, LONGEST_STEP, LONGEST_STEP)),
    )


def digest(engine: bytes) -> str:
    """What `Sidecar.engine_blake2b` holds."""
    return hashlib.blake2b(engine, digest_size=16).hexdigest()
