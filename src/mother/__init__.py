"""Recover which neural network was trained from which, from the weights alone.

>>> import mother
>>> mother.recover("no/such/folder")
Traceback (most recent call last):
    ...
mother.errors.InputError: no/such/folder: no such file or folder
"""

from mother.attributes import Cell, Inferred, infer
from mother.comparison import Comparison, compare
from mother.errors import InputError, MotherError, UsageError
from mother.gate import Policy, check
from mother.graph import Edge, HiddenAncestor, Hint, ModelGraph, Node, Tree
from mother.graph.evaluation import Evaluation, evaluate
from mother.recovery import recover

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "Comparison",
    "Edge",
    "Evaluation",
    "HiddenAncestor",
    "Hint",
    "Inferred",
    "InputError",
    "ModelGraph",
    "MotherError",
    "Node",
    "Policy",
    "Tree",
    "UsageError",
    "check",
    "compare",
    "evaluate",
    "infer",
    "recover",
]
