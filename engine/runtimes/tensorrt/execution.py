"""A loaded engine, with one execution context for each size of step.

NVIDIA's advice for recorded steps: a context remembers shapes, so none serves two of them. All share one workspace, as
steps run one after the other.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from earmark.contracts.bundle import BundleSpec
from earmark.contracts.errors import GpuError
from engine.runtimes.tensorrt.build import Engine
from engine.runtimes.tensorrt.device import Address, StepBuffers
from engine.runtimes.tensorrt.flavours import Flavour
from engine.runtimes.tensorrt.graph import row_length

_log = structlog.get_logger()


class Execution:
    """What TensorRT does on the GPU, whose context must be the thread's.

    Args:
        flavour: Loads the engine; the one that built it.
        engine: What to run.
        spec: Of the bundle that it was built from.
        stream: Handle of the CUDA stream that everything goes to.
        allocate: Gives memory on the GPU.
        kernels: File in which tensorrt_rtx keeps what it compiles for this GPU, so that the next start need not.

    Raises:
        GpuError: TensorRT cannot load the engine here.
    """

    def __init__(
        self,
        flavour: Flavour,
        engine: Engine,
        spec: BundleSpec,
        *,
        stream: int,
        allocate: Callable[[int], Address],
        kernels: Path,
    ) -> None:
        self._flavour = flavour
        self._hop, self._row_length = spec.output_hop, row_length(spec)
        self._stream = stream
        self._kernels = kernels
        self._profiles = engine.sidecar.profiles
        self._runtime: Any = flavour.api.Runtime(flavour.logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(engine.plan)
        if self._engine is None:
            raise GpuError(f"TensorRT cannot load the engine here: {flavour.logger.last_error}")
        self._config, self._cache = self._configure()
        self._workspace_bytes = max(1, int(self._engine.device_memory_size_v2))
        self._workspace = allocate(self._workspace_bytes)
        self._contexts: dict[tuple[int, int], Any] = {}

    def _configure(self) -> tuple[Any, Any]:
        """How contexts are made, and where tensorrt_rtx collects its kernels."""
        api = self._flavour.api
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(api.ExecutionContextAllocationStrategy.USER_MANAGED)
        if not self._flavour.builds_anywhere:
            return config, None
        # Kernels for a shape are compiled before its first step: a recorded step keeps those that it began with.
        config.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
        config.cuda_graph_strategy = api.CudaGraphStrategy.DISABLED  # we record the whole step
        cache = config.create_runtime_cache()
        if self._kernels.is_file() and not cache.deserialize(self._kernels.read_bytes()):
            _log.info("kernels of an earlier run are of no use here; they are compiled again", path=str(self._kernels))
        config.set_runtime_cache(cache)
        return config, cache

    def enqueue(self, buffers: StepBuffers) -> None:
        """Give the stream one run of the engine.

        Raises:
            GpuError: TensorRT does not take it.
        """
        size = buffers.n_rows, buffers.n_hops
        if size not in self._contexts:
            self._contexts[size] = self._make_context(buffers)
        if not self._contexts[size].execute_async_v3(self._stream):
            raise GpuError(f"TensorRT cannot run a step: {self._flavour.logger.last_error}")

    def _make_context(self, buffers: StepBuffers) -> Any:
        """A context for steps of this size, which all have their buffers at the same places."""
        context = self._engine.create_execution_context(self._config)
        if context is None:
            raise GpuError(f"TensorRT cannot run the engine here: {self._flavour.logger.last_error}")
        is_good = context.set_optimization_profile_async(self._profile_for(buffers), self._stream)
        context.set_device_memory(self._workspace, self._workspace_bytes)
        is_good &= context.set_input_shape("audio", (buffers.n_rows, buffers.n_hops * self._hop))
        is_good &= context.set_input_shape("state", (buffers.n_rows, self._row_length))
        for name in ("audio", "state", "scores", "new_state"):
            is_good &= context.set_tensor_address(name, getattr(buffers, name))
        if not is_good:
            raise GpuError(f"TensorRT cannot prepare a step: {self._flavour.logger.last_error}")
        return context

    def _profile_for(self, buffers: StepBuffers) -> int:
        for index, profile in enumerate(self._profiles):
            if profile.hops[0] <= buffers.n_hops <= profile.hops[2] and buffers.n_rows <= profile.batch[2]:
                return index
        raise GpuError(f"expected a step that the engine was built for, got {buffers.n_rows} x {buffers.n_hops} hops")

    def keep_kernels(self) -> None:
        """Write what was compiled so far to its file, where there is such a thing."""
        if self._cache is None:
            return
        try:
            self._kernels.write_bytes(bytes(self._cache.serialize()))
        except OSError as error:
            _log.debug("compiled kernels cannot be kept", path=str(self._kernels), reason=error.strerror)
