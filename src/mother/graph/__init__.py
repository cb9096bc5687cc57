"""`ModelGraph`, its versioned JSON, and what is read off it. Knows nothing of how it was found."""

from mother.graph.model_graph import SCHEMA, ModelGraph
from mother.graph.parts import (
    Block,
    Edge,
    Evidence,
    HiddenAncestor,
    Hint,
    Inference,
    Node,
    Probabilities,
    Recipe,
    Refused,
    Statement,
    Tree,
    WeightFile,
)
from mother.graph.plain import parsed, plain, rounded

__all__ = [
    "SCHEMA",
    "Block",
    "Edge",
    "Evidence",
    "HiddenAncestor",
    "Hint",
    "Inference",
    "ModelGraph",
    "Node",
    "Probabilities",
    "Recipe",
    "Refused",
    "Statement",
    "Tree",
    "WeightFile",
    "parsed",
    "plain",
    "rounded",
]
