"""How many steps an optimizer had made, where a file keeps its state beside the weights.

The state is no part of the model and is not read, but for these counts. Who trains on from a file
may go on with its optimizer, which goes on counting, or begin with a new one, which counts from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mother.checkpoints.tensor import Tensor

MAX_COUNTS = 64  # of one file
MAX_NAME = 200  # characters of a key
_DEPTH = 4  # containers within containers that a script keeps its optimizers in


def counts_among(left_out: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a training's arrays that count: integers of one number.

    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> held = {"m": np.zeros(3), "iter": np.array([7]), "rate": np.array([0.1])}
    >>> list(counts_among({name: constant(name, x) for name, x in held.items()}))
    ['iter']
    """
    found = (n for n, t in left_out.items() if t.size == 1 and t.dtype.kind in "iu")
    return {name: left_out[name] for name, _ in zip(found, range(MAX_COUNTS), strict=False)}


def torch_counts(root: Any) -> dict[str, Any]:
    """What torch's optimizers counted for the first of their weights, by where they lie in what a
    script saved: a view of a tensor, or an integer, as older versions kept it.

    >>> adam = {"state": {0: {"step": 12, "exp_avg": None}}, "param_groups": []}
    >>> torch_counts({"model": {}, "optimizers": [adam, {"state": {}, "param_groups": []}]})
    {'optimizers.0': 12}
    """
    found = dict[str, Any]()
    seen = set[int]()  # a container that is reached twice is looked into once
    ahead: list[tuple[str, Any, int]] = [("", root, 0)]
    while ahead and len(found) < MAX_COUNTS:
        name, value, depth = ahead.pop()
        if not isinstance(value, dict | list | tuple) or id(value) in seen or depth > _DEPTH:
            continue
        seen.add(id(value))
        state = value.get("state") if isinstance(value, dict) else None
        if isinstance(state, dict) and "param_groups" in value:
            of_first = next(iter(state.values()), None)
            if isinstance(of_first, dict) and "step" in of_first:
                found[name] = of_first["step"]
        else:
            ahead += [(f"{name}.{k}".lstrip("."), x, depth + 1) for k, x in _containers(value)]
    return found


def _containers(value: Any) -> Iterator[tuple[str, Any]]:
    """What lies in a container and is one itself."""
    held = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in held:
        if isinstance(key, str | int) and isinstance(child, dict | list | tuple):
            yield str(key)[:MAX_NAME], child
