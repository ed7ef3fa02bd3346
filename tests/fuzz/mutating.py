"""Mutations of JSON that stay JSON: what checks it is compiled, tells no coverage, and refuses the rest at once."""

import contextlib
import json
import random
from typing import Any

import atheris

MARK = b"\n--\n"
"""Between the parts of a message; JSON may be any of them."""
_VALUES: list[Any] = [
    None, True, 0, 1, -1, 7, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**400, 0.5, -0.0, 1e-320, 1e308,
    float("inf"), float("-inf"), float("nan"), "", "gate", "0", "\0", "\ud800", "é" * 40, "9" * 400, [], {}, [[]],
    [0] * 70, "2026-11-21T00:00:00Z", "0001-01-01T00:00:00+23:59", "-1",
]  # fmt: skip


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one value of the JSON in ``data``, or now and then its bytes; libFuzzer's ``custom_mutator``."""
    chance = random.Random(seed)  # noqa: S311 -- no secret
    parts = data.split(MARK)
    index = chance.randrange(len(parts))
    mutated = b""
    with contextlib.suppress(ArithmeticError, RecursionError, ValueError):  # it is no JSON, or none any more
        document = [json.loads(parts[index])]
        _change(document, chance)
        parts[index] = json.dumps(document[0]).encode()
        mutated = MARK.join(parts)
    is_taken = 0 < len(mutated) <= max_size and chance.random() < 0.8
    return mutated if is_taken else atheris.Mutate(data, max_size)


def _change(node: list[Any] | dict[str, Any], chance: random.Random) -> None:
    """Go down at random, then set, drop, repeat or add something there."""
    places = list(range(len(node))) if isinstance(node, list) else list(node)
    place = chance.choice(places) if places else None
    if place is not None and isinstance(node[place], list | dict) and chance.random() < 0.8:
        _change(node[place], chance)
    elif place is None or chance.random() < 0.1:
        value = chance.choice(_VALUES)
        node.append(value) if isinstance(node, list) else node.update({"more": value})
    elif chance.random() < 0.15 and len(node) > 1:
        del node[place]
    else:
        node[place] = _near(node[place], chance)


def _near(value: Any, chance: random.Random) -> Any:
    if isinstance(value, int | float) and chance.random() < 0.5:
        return chance.choice([value + 1, value - 1, -value, value * 2, value * 10**6, value * 1000 // 999])
    return chance.choice(_VALUES)
