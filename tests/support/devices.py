"""Devices for the bank of a GPU's runtime: one in host memory, which runs the same graph by ONNX Runtime, and a GPU."""

from collections import Counter

import numpy as np
import onnxruntime

from earmark.contracts.bundle import Bundle
from earmark.contracts.errors import GpuError
from engine.runtimes.tensorrt.build import build_engine
from engine.runtimes.tensorrt.cuda import CudaDevice, Gpu
from engine.runtimes.tensorrt.device import StepBuffers
from engine.runtimes.tensorrt.flavours import installed_flavour
from engine.runtimes.tensorrt.graph import row_length, step_graph
from engine.runtimes.tensorrt.sidecar import Sidecar, profiles_for

ALIGNMENT = 256
NOISE = 0xFF
"""Fresh memory is full of it; as float32 it is NaN."""


def gpu_kinds() -> list[str]:
    """``cuda`` where tests can use a GPU."""
    try:
        Gpu()
    except GpuError:
        return []
    return ["cuda"]


class HostDevice:
    """See `engine.runtimes.tensorrt.device.Device`. Every access outside of what was allocated fails.

    Attributes:
        calls: How often each command was given.
    """

    def __init__(self, bundle: Bundle, precision="fp32"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            step_graph(bundle, precision), options, providers=["CPUExecutionProvider"]
        )
        self._spec = bundle.spec
        self._memory = {}
        self.calls = Counter()

    def allocate(self, n_bytes):
        self.calls["allocate"] += 1
        block = np.full(n_bytes + ALIGNMENT, NOISE, np.uint8)
        offset = -block.ctypes.data % ALIGNMENT
        block = block[offset : offset + n_bytes]
        self._memory[block.ctypes.data] = block
        return block.ctypes.data

    def free(self, address):
        del self._memory[address]

    def staging(self, n_bytes):
        self.calls["staging"] += 1
        return np.full(n_bytes, NOISE, np.uint8)

    def _at(self, address, n_bytes):
        for start, block in self._memory.items():
            if start <= address and address + n_bytes <= start + len(block):
                return block[address - start : address - start + n_bytes]
        raise AssertionError(f"{n_bytes} bytes at {address:x} were never allocated")

    def _floats(self, address, *shape):
        return self._at(address, 4 * int(np.prod(shape))).view(np.float32).reshape(shape)

    def clear(self, address, n_bytes):
        self._at(address, n_bytes)[:] = 0

    def move(self, to, source, n_bytes):
        self._at(to, n_bytes)[:] = self._at(source, n_bytes)

    def upload(self, to, staged):
        self.calls["upload"] += 1
        self._at(to, staged.nbytes)[:] = staged.view(np.uint8)

    def download(self, staged, source):
        self.calls["download"] += 1
        staged.view(np.uint8)[:] = self._at(source, staged.nbytes)

    def gather(self, to, bank, rows, *, n_rows, row_bytes):
        for index, row in enumerate(self._at(rows, 4 * n_rows).view(np.int32)):
            self.move(to + index * row_bytes, bank + int(row) * row_bytes, row_bytes)

    def scatter(self, bank, source, rows, *, n_rows, row_bytes):
        for index, row in enumerate(self._at(rows, 4 * n_rows).view(np.int32)):
            self.move(bank + int(row) * row_bytes, source + index * row_bytes, row_bytes)

    def infer(self, buffers: StepBuffers):
        self.calls["infer"] += 1
        n, hops = buffers.n_rows, buffers.n_hops
        audio = self._floats(buffers.audio, n, hops * self._spec.output_hop)
        state = self._floats(buffers.state, n, row_length(self._spec))
        scores, new_state = self._session.run(["scores", "new_state"], {"audio": audio, "state": state})
        self._floats(buffers.scores, n, hops, len(self._spec.labels))[:] = scores
        self._floats(buffers.new_state, *state.shape)[:] = new_state

    def record(self, commands):
        self.calls["record"] += 1
        commands()  # as the GPU does before it captures

        def play():
            self.calls["play"] += 1
            commands()

        return play

    def wait(self):
        pass


def made_sidecar(bundle: Bundle, max_batch: int) -> Sidecar:
    """As far as the bank reads it."""
    return Sidecar.model_construct(profiles=profiles_for(max_batch), bundle=bundle.identity)


def make_device(kind: str, bundle: Bundle, max_batch: int, folder, precision="fp32"):
    """A device of a kind; on a GPU with an engine that is built for it here."""
    if kind == "host":
        return HostDevice(bundle, precision)
    gpu, flavour = Gpu(), installed_flavour()
    engine = build_engine(bundle, flavour, precision=precision, max_batch=max_batch, gpu=gpu.capability)
    return CudaDevice(gpu, flavour, engine, bundle.spec, folder / "kernels")
