"""From a bundle to a runtime on this machine's GPU."""

import structlog

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import GpuError
from engine.config import EngineConfig
from engine.runtimes.tensorrt.build import Engine
from engine.runtimes.tensorrt.cuda import CudaDevice, Gpu
from engine.runtimes.tensorrt.flavours import installed_flavour
from engine.runtimes.tensorrt.runtime import TensorRtRuntime
from engine.runtimes.tensorrt.store import EngineStore, engine_folder

_log = structlog.get_logger()


def open_tensorrt(bundle: Bundle, config: EngineConfig) -> TensorRtRuntime:
    """A runtime with the engine that is kept, or with a new one.

    Raises:
        BundleError: TensorRT cannot build the bundle.
        GpuError: There is no GPU, no TensorRT, or the engine does not run on it.
    """
    gpu = Gpu()  # first, because TensorRT takes longer to import
    flavour = installed_flavour()
    store = EngineStore(engine_folder(config.tensorrt.folder), flavour, gpu.capability)
    precision = config.tensorrt.precision
    kernels = store.path(bundle, precision).with_suffix(".kernels")

    def load(engine: Engine) -> TensorRtRuntime:
        return TensorRtRuntime(bundle, engine.sidecar, CudaDevice(gpu, flavour, engine, bundle.spec, kernels))

    engine = store.get(bundle, precision, config.tensorrt.max_batch)
    try:
        runtime = load(engine)
    except GpuError as error:
        if engine.is_new:
            raise
        _log.warning("the engine is compiled again, as it does not load", reason=str(error))
        runtime = load(store.renew(bundle, precision, config.tensorrt.max_batch))
    _log.info("the model runs on the GPU, by TensorRT", capability=gpu.capability, precision=precision)
    return runtime
