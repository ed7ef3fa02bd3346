"""Which runtime runs a bundle: the GPU where there is one, ONNX Runtime everywhere else."""

import structlog

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import BundleError, GpuError
from engine.config import EngineConfig
from engine.runtimes import Runtime
from engine.runtimes.onnxruntime import OnnxRuntime
from engine.runtimes.tensorrt.flavours import installed_module

_log = structlog.get_logger()


def open_runtime(bundle: Bundle, config: EngineConfig) -> Runtime:
    """The runtime that the configuration asks for.

    Nothing of a GPU is imported where no TensorRT is installed.

    Raises:
        BundleError: The bundle cannot be used.
        GpuError: ``runtime: tensorrt``, and that cannot be.
    """
    if config.runtime != "onnxruntime":
        try:
            return _open_tensorrt(bundle, config)
        except (BundleError, GpuError) as error:
            if config.runtime == "tensorrt":
                raise GpuError(f"engine.runtime: expected tensorrt to work, got: {error}") from error
            _log.info("the model runs on the CPU, by ONNX Runtime", reason=str(error))
    return OnnxRuntime(bundle, config.threads, config.max_batch)


def _open_tensorrt(bundle: Bundle, config: EngineConfig) -> Runtime:
    installed_module()
    from engine.runtimes.tensorrt.opening import open_tensorrt  # noqa: PLC0415 -- who has none waits for no import

    return open_tensorrt(bundle, config)
