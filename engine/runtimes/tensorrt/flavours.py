"""The two TensorRTs: the same API under two names.

``tensorrt`` builds on the GPU that it will run on. ``tensorrt_rtx`` also builds where there is none, for any GPU from
Ampere on, and makes its kernels on the spot when the engine is loaded.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, TypeAlias

import structlog

from earmark.contracts.errors import GpuError

FlavourName: TypeAlias = Literal["tensorrt", "tensorrt_rtx"]
RTX: Final = "tensorrt_rtx"
_MODULES: dict[str, FlavourName] = {
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt_rtx",
    "tensorrt_rtx_bindings": "tensorrt_rtx",
}
"""Where each may be found, the preferred one first."""
_INSTALL = "install 'earmark[tensorrt]', or 'earmark[tensorrt-rtx]' for a GeForce, an RTX, or to compile without a GPU"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Flavour:
    """One that is installed.

    Attributes:
        name: Which of the two.
        version: Its own, whole.
        api: The module.
        logger: What it wants first of all; `last_error` is why the last call failed.
    """

    name: FlavourName
    version: str
    api: Any
    logger: Any

    @property
    def builds_anywhere(self) -> bool:
        """Whether it builds without a GPU, for a whole family of them."""
        return self.name == RTX


def installed_module() -> str:
    """The module of the TensorRT that is installed, without importing it.

    Raises:
        GpuError: There is none.
    """
    found = next((module for module in _MODULES if find_spec(module) is not None), None)
    if found is None:
        raise GpuError(f"expected the package tensorrt or tensorrt_rtx, found none; {_INSTALL}")
    return found


@cache
def installed_flavour() -> Flavour:
    """The TensorRT that is installed, imported.

    Raises:
        GpuError: There is none, or it does not load.
    """
    module = installed_module()
    try:
        api: Any = import_module(module)
    except (ImportError, OSError) as error:  # its libraries come in a package of their own
        raise GpuError(f"expected the package {module}, which is installed, to load, got: {error}") from error
    return Flavour(_MODULES[module], str(api.__version__), api, _make_logger(api))


def _make_logger(api: Any) -> Any:
    """Sends what TensorRT tells to our log, and keeps its last error for our own message."""

    class Logger(api.ILogger):
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.last_error = "it does not say why"

        def log(self, severity: Any, message: str) -> None:
            if severity in (api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR):
                self.last_error = message.strip()
            if severity != api.ILogger.VERBOSE:
                _log.debug("TensorRT says", severity=str(severity), text=message.strip())

    return Logger()
