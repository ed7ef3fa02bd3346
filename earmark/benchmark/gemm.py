"""The yardstick: how many fp32 multiplications and additions this core does at best."""

import time

import numpy as np

_SIZE, _PRODUCTS = 768, 30


def gemm_gflops() -> float:
    """The best of several fp32 matrix products by numpy, for one thread. 1 MAC is 2 FLOP."""
    left, right = np.random.default_rng(0).random((2, _SIZE, _SIZE), np.float32)
    times_s: list[float] = []
    for _ in range(_PRODUCTS):
        began_s = time.process_time()
        _ = left @ right
        times_s.append(time.process_time() - began_s)
    return 2 * _SIZE**3 / min(times_s) / 1e9
