"""The GPU itself, through NVIDIA's own bindings of the CUDA driver (``cuda-python``).

One stream, one thread: the one that made the device.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from earmark.contracts.bundle import BundleSpec
from earmark.contracts.errors import GpuError
from engine.runtimes.tensorrt.build import Engine
from engine.runtimes.tensorrt.device import Address, Array, Staging, StepBuffers
from engine.runtimes.tensorrt.execution import Execution
from engine.runtimes.tensorrt.flavours import Flavour
from engine.runtimes.tensorrt.rows import GATHER, SCATTER, THREADS, compile_rows

_log = structlog.get_logger()


class Gpu:
    """The first GPU that CUDA shows, with its primary context; ``CUDA_VISIBLE_DEVICES`` chooses another.

    Raises:
        GpuError: There is none, or no driver, or cuda-python is not installed.
    """

    def __init__(self) -> None:
        try:
            import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cuda")  # quick, where the bindings are not
            self.driver: Any = import_module("cuda.bindings.driver")
            (status,) = self.driver.cuInit(0)
        except ImportError as error:
            raise GpuError(
                f"expected the package cuda-bindings, got: {error}; install 'earmark[tensorrt]' or "
                "'earmark[tensorrt-rtx]'"
            ) from error
        except RuntimeError as error:  # cuda.pathfinder's, where there is no libcuda
            raise GpuError("expected an NVIDIA driver, found none; install it, or run without a GPU") from error
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise GpuError(f"expected a GPU that CUDA can use, got: {status.name}; nvidia-smi tells more")
        self.number = self.call("cuDeviceGet", 0)
        self.capability = ".".join(str(self._attribute(part)) for part in ("MAJOR", "MINOR"))

    def _attribute(self, part: str) -> int:
        name = f"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{part}"
        return int(self.call("cuDeviceGetAttribute", getattr(self.driver.CUdevice_attribute, name), self.number))

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the driver; what it returns beside its status.

        Raises:
            GpuError: It failed.
        """
        status, *values = getattr(self.driver, name)(*arguments)
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise GpuError(f"the GPU failed: {name} says {status.name}")
        return values[0] if values else None


class CudaDevice:
    """See `engine.runtimes.tensorrt.device.Device`.

    Args:
        gpu: Where.
        flavour: Loads the engine.
        engine: What to run.
        spec: Of the bundle that it was built from.
        kernels: File in which tensorrt_rtx keeps what it compiles while it runs.

    Raises:
        GpuError: TensorRT cannot load the engine here.
    """

    def __init__(self, gpu: Gpu, flavour: Flavour, engine: Engine, spec: BundleSpec, kernels: Path) -> None:
        self._gpu = gpu
        gpu.call("cuCtxSetCurrent", gpu.call("cuDevicePrimaryCtxRetain", gpu.number))
        self._stream: Any = gpu.call("cuStreamCreate", gpu.driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
        self._module: Any = gpu.call("cuModuleLoadData", compile_rows(gpu.capability))
        self._gather: Any = gpu.call("cuModuleGetFunction", self._module, GATHER)
        self._scatter: Any = gpu.call("cuModuleGetFunction", self._module, SCATTER)
        self._execution = Execution(
            flavour, engine, spec, stream=int(self._stream), allocate=self.allocate, kernels=kernels
        )

    def allocate(self, n_bytes: int) -> Address:
        """Memory of its own."""
        return int(self._gpu.call("cuMemAlloc", n_bytes))

    def free(self, address: Address) -> None:
        """Give memory back, once everything that was commanded is done."""
        self.wait()
        self._gpu.call("cuMemFree", address)

    def staging(self, n_bytes: int) -> Staging:
        """Host memory that stays where it is, so that the GPU copies by itself."""
        return np.asarray(_Pinned(int(self._gpu.call("cuMemHostAlloc", n_bytes, 0)), n_bytes))

    def clear(self, address: Address, n_bytes: int) -> None:
        """Fill with zeros."""
        self._gpu.call("cuMemsetD8Async", address, 0, n_bytes, self._stream)

    def move(self, to: Address, source: Address, n_bytes: int) -> None:
        """Copy inside the GPU."""
        self._gpu.call("cuMemcpyDtoDAsync", to, source, n_bytes, self._stream)

    def upload(self, to: Address, staged: Array) -> None:
        """Copy to the GPU."""
        self._gpu.call("cuMemcpyHtoDAsync", to, staged.ctypes.data, staged.nbytes, self._stream)

    def download(self, staged: Array, source: Address) -> None:
        """Copy from the GPU."""
        self._gpu.call("cuMemcpyDtoHAsync", staged.ctypes.data, source, staged.nbytes, self._stream)

    def gather(self, to: Address, bank: Address, rows: Address, *, n_rows: int, row_bytes: int) -> None:
        """Copy rows of the bank to one place."""
        self._launch(self._gather, n_rows, to, bank, rows, row_bytes // 4)

    def scatter(self, bank: Address, source: Address, rows: Address, *, n_rows: int, row_bytes: int) -> None:
        """Copy them back."""
        self._launch(self._scatter, n_rows, bank, source, rows, row_bytes // 4)

    def _launch(self, kernel: Any, n_blocks: int, *arguments: int) -> None:
        values = [np.array([value], np.uint64) for value in arguments]  # three addresses and a length, 8 bytes each
        pointers = np.array([value.ctypes.data for value in values], np.uint64)
        self._gpu.call(
            "cuLaunchKernel", kernel, n_blocks, 1, 1, THREADS, 1, 1, 0, self._stream, pointers.ctypes.data, 0
        )

    def infer(self, buffers: StepBuffers) -> None:
        """Run the engine."""
        self._execution.enqueue(buffers)

    def record(self, commands: Callable[[], None]) -> Callable[[], None]:
        """Run commands once, then capture them as a CUDA graph.

        The first run is for TensorRT, which settles shapes and kernels in it and may not do so in a capture.
        """
        commands()
        self.wait()
        self._execution.keep_kernels()
        gpu, mode = self._gpu, self._gpu.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        try:
            gpu.call("cuStreamBeginCapture", self._stream, mode)
            commands()
            graph = gpu.call("cuStreamEndCapture", self._stream)
            executable = gpu.call("cuGraphInstantiate", graph, 0)
        except GpuError as error:
            gpu.driver.cuStreamEndCapture(self._stream)  # says that nothing is captured where it has ended
            _log.warning("steps go to the GPU piece by piece, as it cannot record them", reason=str(error))
            return commands
        gpu.call("cuGraphDestroy", graph)
        return _Graph(gpu, executable, self._stream)

    def wait(self) -> None:
        """Until everything that was commanded is done."""
        self._gpu.call("cuStreamSynchronize", self._stream)


class _Pinned:
    """Memory that numpy looks into. It is never given back: staging lives as long as the process."""

    def __init__(self, address: int, n_bytes: int) -> None:
        self.__array_interface__ = {"version": 3, "data": (address, False), "shape": (n_bytes,), "typestr": "|u1"}


class _Graph:
    """A captured step; its memory on the GPU goes with it."""

    def __init__(self, gpu: Gpu, executable: Any, stream: Any) -> None:
        self._gpu = gpu
        self._executable = executable
        self._stream = stream

    def __call__(self) -> None:
        self._gpu.call("cuGraphLaunch", self._executable, self._stream)

    def __del__(self) -> None:
        self._gpu.driver.cuGraphExecDestroy(self._executable)
