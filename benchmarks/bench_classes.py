"""What classes cost: smoothing 512 streams with 1 to 300 of them, and the network's last layer. Scores are random.

Most scores are low, as those of a street are: a stream in 50 has an event in any second. The rest of a hop does not
depend on how many classes there are.
"""

import os
import time
from statistics import median

import numpy as np

from benchmarks.measuring import print_table
from earmark.contracts.bundle import load_bundle
from engine.smoothing import Smoother

N_STREAMS, N_ROUNDS, REPEATS = 512, 100, 5
HIDDEN = 192
SCORES_PER_S = 25


def main() -> None:
    """Measure and print."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows: list[list[object]] = []
    for n_classes in (1, 10, 51, 100, 300):
        costs_us = [_smooth_us(n_classes) for _ in range(REPEATS)]
        mflop = 2 * HIDDEN * n_classes * SCORES_PER_S / 1e6
        rows.append(
            [n_classes, f"{median(costs_us):.2f}", f"{min(costs_us):.2f} to {max(costs_us):.2f}", f"{mflop:.2f}"]
        )
    print_table(["classes", "smoothing, us a stream-hop", "least and most", "last layer, MFLOP/s"], rows)


def _smooth_us(n_classes: int) -> float:
    spec = load_bundle("urban").spec
    labels = tuple(f"class{i}" for i in range(n_classes))
    smoother = Smoother(spec.model_copy(update={"labels": labels, "smoothing_by_label": {}}))
    smoother.grow(N_STREAMS)
    for slot in range(N_STREAMS):
        smoother.configure(slot, {})
    rng, slots = np.random.default_rng(0), np.arange(N_STREAMS)
    powers = np.full((N_STREAMS, 1), 1e-4)
    scores = rng.uniform(0, 0.2, (N_ROUNDS, N_STREAMS, 1, n_classes)).astype(np.float32)
    for begin in range(0, N_ROUNDS, SCORES_PER_S):
        for stream in rng.choice(N_STREAMS, N_STREAMS // 50, replace=False):
            scores[begin : begin + 10, stream, 0, rng.integers(n_classes)] = 0.9
    began_s = time.process_time()
    for i in range(N_ROUNDS):
        smoother.update(slots, np.full(N_STREAMS, i * spec.output_hop), scores[i], powers)
    return 1e6 * (time.process_time() - began_s) / (N_ROUNDS * N_STREAMS)


if __name__ == "__main__":
    main()
