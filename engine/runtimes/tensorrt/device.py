"""What the bank needs of a GPU. `engine.runtimes.tensorrt.cuda` is one; the tests' lives in host memory.

Commands run in the order in which they were given; `Device.wait` waits for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Address: TypeAlias = int
"""Of a byte in the device's memory."""
Staging: TypeAlias = NDArray[np.uint8]
"""Host memory ``[n]`` that the device copies from and to without help."""
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class StepBuffers:
    """Where one run of the engine finds and leaves what.

    Attributes:
        n_rows: Rows of all four.
        n_hops: Output hops of ``audio``.
        audio: float32 ``[n_rows, n_hops * output_hop]``.
        state: float32 ``[n_rows, row_length]``.
        scores: float32 ``[n_rows, n_hops, C]``, written.
        new_state: As ``state``, written.
    """

    n_rows: int
    n_hops: int
    audio: Address
    state: Address
    scores: Address
    new_state: Address


class Device(Protocol):
    """A GPU that has loaded an engine."""

    def allocate(self, n_bytes: int) -> Address:
        """Memory of its own, at a multiple of 256; its content is arbitrary.

        Raises:
            GpuError: There is not so much.
        """
        ...

    def free(self, address: Address) -> None:
        """Give memory back, once everything that was commanded is done."""
        ...

    def staging(self, n_bytes: int) -> Staging:
        """Host memory to copy from and to; lives as long as the device."""
        ...

    def clear(self, address: Address, n_bytes: int) -> None:
        """Fill with zeros."""
        ...

    def move(self, to: Address, source: Address, n_bytes: int) -> None:
        """Copy inside the device."""
        ...

    def upload(self, to: Address, staged: Array) -> None:
        """Copy a part of `staging` to the device."""
        ...

    def download(self, staged: Array, source: Address) -> None:
        """Copy from the device to a part of `staging`."""
        ...

    def gather(self, to: Address, bank: Address, rows: Address, *, n_rows: int, row_bytes: int) -> None:
        """Copy the bank's rows, whose int32 numbers stand at ``rows``, to one place, one behind the other."""
        ...

    def scatter(self, bank: Address, source: Address, rows: Address, *, n_rows: int, row_bytes: int) -> None:
        """The way back. A number may come twice, and then either's content stays."""
        ...

    def infer(self, buffers: StepBuffers) -> None:
        """Run the engine."""
        ...

    def record(self, commands: Callable[[], None]) -> Callable[[], None]:
        """Give commands once and keep them.

        Returns:
            Gives all of them again, with whatever then is in the memory that they name; for a fraction of the time.
        """
        ...

    def wait(self) -> None:
        """Until everything that was commanded is done.

        Raises:
            GpuError: Something failed.
        """
        ...
