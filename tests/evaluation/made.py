"""Random annotations and what a detector might make of them."""

import numpy as np

from earmark.evaluation.annotations import Annotations, LabelledEvent

LABELS = ("bell", "cat", "dog", "siren")


def make_truth(rng: np.random.Generator, n_files: int = 5, duration_s: float = 10.0) -> Annotations:
    """Up to five events a file, of three of the labels; some files have none, some events touch or overlap."""
    truth: Annotations = {}
    for index in range(n_files):
        events = []
        for label in rng.choice(LABELS[:3], rng.integers(0, 6)):
            onset_s = float(np.round(rng.uniform(0, duration_s - 1), 2))
            events.append(LabelledEvent(onset_s, min(duration_s, onset_s + round(rng.uniform(0.1, 3), 2)), str(label)))
        if events and rng.random() < 0.5 and events[0].offset_s < duration_s:
            events.append(LabelledEvent(events[0].offset_s, duration_s, events[0].label))
        truth[f"{index}.wav"] = sorted(events)
    return truth


def make_found(rng: np.random.Generator, truth: Annotations, duration_s: float = 10.0) -> Annotations:
    """Most events a little off, some missed, some twice, some of nothing or of another class."""
    found: Annotations = {}
    for name, events in truth.items():
        heard = []
        for event in events:
            for _ in range(rng.choice(3, p=(0.2, 0.6, 0.2))):
                onset_s = max(0.0, event.onset_s + rng.normal(0, 0.2))
                offset_s = min(duration_s, max(event.offset_s + rng.normal(0, 0.3), onset_s + 0.04))
                heard.append(LabelledEvent(onset_s, offset_s, event.label))
        for label in rng.choice(LABELS, rng.integers(0, 3)):
            onset_s = rng.uniform(0, duration_s - 1)
            heard.append(LabelledEvent(onset_s, onset_s + rng.uniform(0.1, 1), str(label)))
        found[name] = sorted(heard)
    return found
