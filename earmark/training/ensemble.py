"""Several networks in one step, whose logits are the mean of theirs: surer than each alone, at the cost of all.

Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017.
"""

from collections.abc import Sequence

import numpy as np

from earmark.contracts.bundle import StateSpec
from earmark.training.onnx_graph import HIDDEN, Graph, Step, add_head, head_of


def ensemble(members: Sequence[Step]) -> Step:
    """One step of several that hear the same features and tell of the same classes, in float32 or in int8.

    What their GRUs heard is side by side in its `HIDDEN`, and so are their last layers, each divided by how many there
    are: classes are added to it as to one network. One member alone stays as it is.
    """
    if len(members) == 1:
        return members[0]
    graph, states, heads = Graph(), list[StateSpec](), list[str]()
    for number, (step, of_step) in enumerate(members, start=1):
        suffix = suffix_of(number)
        graph.take(step, suffix)
        heads.append(f"{HIDDEN}{suffix}")
        states += [state.model_copy(update={"name": f"{state.name}{suffix}"}) for state in of_step]
    graph.add("Concat", heads, [HIDDEN], axis=2)
    weights, biases = zip(*(head_of(step) for step, _ in members), strict=True)
    bias = np.mean(biases, axis=0)
    add_head(graph, np.concatenate(weights, axis=1) / len(members), bias)
    first = members[0][0]
    n_mels = first.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    domains = [(each.domain, each.version) for each in first.opset_import if each.domain]
    return graph.finish(n_mels, len(bias), states, domains), tuple(states)


def n_networks(states: Sequence[StateSpec]) -> int:
    """How many networks a step is of, by its states."""
    return sum(state.name.startswith("gru") for state in states)


def suffix_of(number: int) -> str:
    """What stands behind the names of a network of several, counted from 1."""
    return f"_net{number}"
