"""The configuration's section ``engine``."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from earmark.contracts.addresses import ack_address, check_bind
from earmark.contracts.config import Section
from earmark.contracts.curve import CurveServer
from earmark.contracts.presets import Preset
from earmark.outbox.zones import MOST_FUSION_MS
from engine.groups import GroupConfig
from engine.judging import ConfirmConfig

GroupName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
Precision: TypeAlias = Literal["fp32", "fp16"]


class TensorRtConfig(Section):
    """What a GPU runs."""

    precision: Precision = "fp32"
    """Of convolutions, recurrences and matrix products; features, states and scores are always fp32."""
    max_batch: Annotated[int, Field(ge=1)] = 1024
    """Rows of one step on the GPU; the analyser's larger batches are cut. A stream that warms a row up has two."""
    folder: Path | None = None
    """Where compiled engines are kept; by default in the user's cache."""


class EngineConfig(Section):
    """Where the engine listens and how it decides."""

    insecure: bool = False
    """Allow addresses that other machines can reach without authentication."""
    curve: CurveServer | None = None
    """Encrypts blocks and acknowledgements, and takes streams only from keys that may send them."""
    bind: Annotated[tuple[str, ...], Field(min_length=1)] = ("tcp://127.0.0.1:7701",)
    """Where blocks arrive; acknowledgements go out at the port behind each."""
    shards: bool = False
    """Whether every address of ``bind`` has an engine process of its own, for a machine with many cores. Then
    ``streamer.engines`` names them in the same order, and streams are spread over them."""
    bundle: str = "urban"
    """Name of a bundle that ships, or the path of one."""
    preset: Preset | None = None
    """Which of the bundle's presets decides: ``quiet`` has few wrong events, ``keen`` finds more sounds, ``balanced``
    lies between them. By default the bundle's own choice, ``balanced`` in those that ship."""
    groups: dict[GroupName, GroupConfig] = Field(default_factory=dict[str, GroupConfig])
    """Groups of labels that have events of their own beside the labels', by name, e.g. ``emergency: {}``."""
    confirm: ConfirmConfig | None = None
    """A second network that must agree before an onset is published: fewer false alarms, later events."""
    runtime: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    """``auto`` is TensorRT where that and a GPU are there, else ONNX Runtime, as it says in its log; ``tensorrt``
    refuses to start without."""
    tensorrt: TensorRtConfig = TensorRtConfig()
    """How TensorRT runs the bundle."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads of one model step by ONNX Runtime."""
    max_batch: Annotated[int, Field(ge=1)] = 128
    """Rows of one model step by ONNX Runtime; a stream that warms a row up has two. More are cut."""
    max_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """How long audio that has come waits for that of other streams, to be analysed with it: less work, later events.
    A busy engine finds many streams waiting anyway."""
    checkpoint_s: Annotated[float, Field(gt=0)] = 5.0
    """Audio between two checkpoints of a stream without events."""
    max_fill_s: Annotated[float, Field(ge=0)] = 0.5
    """Gaps up to this length are filled with silence; longer ones end events and start the model afresh."""
    fusion_ms: Annotated[float, Field(ge=0, le=MOST_FUSION_MS)] = 1000.0
    """How far apart streams of a zone may hear a sound that is one event of the zone. Sound takes 0.3 s for 100 m, and
    the rest is for onsets that are decided a little apart and for cameras whose audio comes late."""
    max_lag_s: Annotated[float, Field(gt=0)] | None = None
    """How far a stream may fall behind before audio is skipped; by default what the ring leaves room for."""

    max_streams: Annotated[int, Field(ge=1)] = 4096
    """Names of streams that are taken until a restart, beside those of the configuration; further ones are refused."""
    max_client_streams: Annotated[int, Field(ge=1)] = 256
    """With ``curve``: of these, by one key."""
    max_client_mb_s: Annotated[float, Field(gt=0)] = 16.0
    """With ``curve``: what one key may send, in MB/s; a stream takes 0.04. More is dropped, and asked for again."""

    @field_validator("bind")
    @classmethod
    def _may_be_bound(cls, bind: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for address in bind:
            for bound in (address, ack_address(address)):
                is_open = info.data.get("insecure", False) or info.data.get("curve") is not None
                check_bind(bound, insecure=is_open, where="engine.bind", curve="engine.curve")
        return bind
