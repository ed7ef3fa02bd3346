"""Builds an engine from a bundle."""

import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import BundleError, GpuError
from engine.config import Precision
from engine.runtimes.tensorrt.flavours import Flavour
from engine.runtimes.tensorrt.graph import GRAPH_VERSION, row_length, step_graph
from engine.runtimes.tensorrt.sidecar import PORTABLE, SIDECAR_FORMAT, Profile, Sidecar, Tensor, digest, profiles_for


@dataclass(frozen=True)
class Engine:
    """A built engine.

    Attributes:
        plan: What TensorRT loads.
        sidecar: What it is.
        timing: Its timing cache, empty where it has none.
        is_new: Whether it was built just now.
    """

    plan: bytes
    sidecar: Sidecar
    timing: bytes = b""
    is_new: bool = False


def build_engine(
    bundle: Bundle,
    flavour: Flavour,
    *,
    precision: Precision,
    max_batch: int,
    gpu: str | None = None,
    timing: bytes = b"",
) -> Engine:
    """Build an engine; seconds with tensorrt_rtx, longer where tactics are measured.

    Networks are strongly typed and TF32 is off: the precision is what the graph says, and nothing else.

    Args:
        bundle: What to build.
        flavour: What builds it.
        precision: See `step_graph`.
        max_batch: Rows of the largest step.
        gpu: Compute capability of the GPU that is here; only tensorrt_rtx builds without.
        timing: An earlier build's timing cache.

    Raises:
        BundleError: The model is not one, or TensorRT cannot build it.
        GpuError: The flavour needs a GPU to build and there is none.
    """
    if gpu is None and not flavour.builds_anywhere:
        raise GpuError("tensorrt builds only on the GPU that will run the engine, and finds none; take tensorrt_rtx")
    began_s = time.monotonic()
    profiles = profiles_for(max_batch)
    builder: Any = flavour.api.Builder(flavour.logger)
    network = _parse(bundle, flavour, builder, precision)
    config = _configure(flavour, builder, timing)
    for profile in profiles:
        config.add_optimization_profile(_shapes(bundle, builder, profile))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleError(f"{bundle.model_path}: TensorRT cannot build it: {flavour.logger.last_error}")
    plan = bytes(plan)
    sidecar = Sidecar(
        format=SIDECAR_FORMAT,
        graph=GRAPH_VERSION,
        bundle=bundle.identity,
        flavour=flavour.name,
        version=flavour.version,
        precision=precision,
        gpu=PORTABLE if flavour.builds_anywhere else str(gpu),
        inputs=_tensors(network.get_input(index) for index in range(network.num_inputs)),
        outputs=_tensors(network.get_output(index) for index in range(network.num_outputs)),
        profiles=profiles,
        timing_cache=not flavour.builds_anywhere,
        engine_bytes=len(plan),
        engine_blake2b=digest(plan),
        created_at=datetime.now(UTC),
        build_s=round(time.monotonic() - began_s, 3),
    )
    return Engine(plan, sidecar, _timing_of(flavour, config), is_new=True)


def _parse(bundle: Bundle, flavour: Flavour, builder: Any, precision: Precision) -> Any:
    strongly_typed = 1 << int(flavour.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer ones know no other networks
        network = builder.create_network(strongly_typed)
    parser: Any = flavour.api.OnnxParser(network, flavour.logger)
    if not parser.parse(step_graph(bundle, precision)):
        problem = parser.get_error(0).desc() if parser.num_errors else flavour.logger.last_error
        raise BundleError(f"{bundle.model_path}: TensorRT cannot read it: {problem}")
    return network


def _configure(flavour: Flavour, builder: Any, timing: bytes) -> Any:
    config = builder.create_builder_config()
    config.clear_flag(flavour.api.BuilderFlag.TF32)
    config.profiling_verbosity = flavour.api.ProfilingVerbosity.DETAILED
    if not flavour.builds_anywhere:
        config.set_timing_cache(config.create_timing_cache(timing), False)  # noqa: FBT003 -- its own API
    return config


def _shapes(bundle: Bundle, builder: Any, profile: Profile) -> Any:
    shapes = builder.create_optimization_profile()
    hop, length = bundle.spec.output_hop, row_length(bundle.spec)
    shapes.set_shape("audio", *((rows, hops * hop) for rows, hops in zip(profile.batch, profile.hops, strict=True)))
    shapes.set_shape("state", *((rows, length) for rows in profile.batch))
    return shapes


def _timing_of(flavour: Flavour, config: Any) -> bytes:
    return b"" if flavour.builds_anywhere else bytes(config.get_timing_cache().serialize())


def _tensors(tensors: Any) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=tensor.name, shape=tuple(tensor.shape)) for tensor in tensors)
