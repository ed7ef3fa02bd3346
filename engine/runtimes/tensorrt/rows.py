"""The only kernels that are our own: rows of the bank to one place and back.

TensorRT could gather inside the graph, but its scatter writes a whole new bank. NVRTC compiles them when an engine is
loaded, in 0.2 s, for the very GPU, and needs no GPU itself; so CI compiles them for real.
"""

from importlib import import_module
from typing import Any

from earmark.contracts.errors import GpuError

THREADS = 256
"""Of the block that copies one row, word by word."""
GATHER, SCATTER = b"gather_rows", b"scatter_rows"
_SOURCE = b"""
extern "C" __global__ void gather_rows(
    unsigned int* to, const unsigned int* bank, const int* rows, unsigned long long n_words)
{
    const unsigned int* source = bank + rows[blockIdx.x] * n_words;
    unsigned int* target = to + blockIdx.x * n_words;
    for (unsigned long long i = threadIdx.x; i < n_words; i += blockDim.x) target[i] = source[i];
}

extern "C" __global__ void scatter_rows(
    unsigned int* bank, const unsigned int* from, const int* rows, unsigned long long n_words)
{
    const unsigned int* source = from + blockIdx.x * n_words;
    unsigned int* target = bank + rows[blockIdx.x] * n_words;
    for (unsigned long long i = threadIdx.x; i < n_words; i += blockDim.x) target[i] = source[i];
}
"""


def compile_rows(gpu: str) -> bytes:
    """Machine code of both kernels.

    Args:
        gpu: A compute capability, ``9.0`` for instance.

    Raises:
        GpuError: NVRTC is not installed, or does not know such a GPU.
    """
    try:
        nvrtc: Any = import_module("cuda.bindings.nvrtc")
        _, program = nvrtc.nvrtcCreateProgram(_SOURCE, b"rows.cu", 0, [], [])
    except (ImportError, RuntimeError) as error:
        raise GpuError(f"expected the packages cuda-bindings and nvidia-cuda-nvrtc, got: {error}") from error
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, 1, [f"--gpu-architecture=sm_{gpu.replace('.', '')}".encode()])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise GpuError(f"expected NVRTC to compile for a GPU of compute capability {gpu}, got: {status.name}")
        _, n_bytes = nvrtc.nvrtcGetCUBINSize(program)
        code = b"\0" * n_bytes
        nvrtc.nvrtcGetCUBIN(program, code)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return code
