"""Recover which neural network was trained from which, from the weights alone.

>>> import mother
>>> mother.recover("no/such/folder")
Traceback (most recent call last):
    ...
mother.InputError: no/such/folder: no such file or folder
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mother.attributes import Cell, Inferred, infer
    from mother.comparison import compare
    from mother.errors import InputError, MotherError, UsageError
    from mother.gate import Policy, check
    from mother.graph import Edge, HiddenAncestor, Hint, ModelGraph, Node, Tree
    from mother.graph.comparison import Comparison
    from mother.graph.evaluation import Evaluation, Truth, evaluate, read_truth
    from mother.index import Index
    from mother.measurements import Measurements, measure, sketch
    from mother.recovery import recover

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "Comparison",
    "Edge",
    "Evaluation",
    "HiddenAncestor",
    "Hint",
    "Index",
    "Inferred",
    "InputError",
    "Measurements",
    "ModelGraph",
    "MotherError",
    "Node",
    "Policy",
    "Tree",
    "Truth",
    "UsageError",
    "check",
    "compare",
    "evaluate",
    "infer",
    "measure",
    "read_truth",
    "recover",
    "sketch",
]

#: where each is, for it is imported when it is first used; as type checkers see it above
_WHERE = {
    "mother.attributes": ("Cell", "Inferred", "infer"),
    "mother.comparison": ("compare",),
    "mother.errors": ("InputError", "MotherError", "UsageError"),
    "mother.gate": ("Policy", "check"),
    "mother.graph": ("Edge", "HiddenAncestor", "Hint", "ModelGraph", "Node", "Tree"),
    "mother.graph.comparison": ("Comparison",),
    "mother.graph.evaluation": ("Evaluation", "Truth", "evaluate", "read_truth"),
    "mother.index": ("Index",),
    "mother.measurements": ("Measurements", "measure", "sketch"),
    "mother.recovery": ("recover",),
}


def __getattr__(name: str) -> object:
    for module, names in _WHERE.items():
        if name in names:
            found = globals()[name] = getattr(import_module(module), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
