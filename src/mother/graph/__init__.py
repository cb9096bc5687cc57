"""`ModelGraph`, its versioned JSON, and what is read off it. Knows nothing of how it was found."""

from mother.graph.model_graph import (
    SCHEMA,
    Edge,
    Evidence,
    HiddenAncestor,
    Hint,
    Inference,
    ModelGraph,
    Node,
    Refused,
    Statement,
    Tree,
    WeightFile,
    parsed,
    plain,
    rounded,
)

__all__ = [
    "SCHEMA",
    "Edge",
    "Evidence",
    "HiddenAncestor",
    "Hint",
    "Inference",
    "ModelGraph",
    "Node",
    "Refused",
    "Statement",
    "Tree",
    "WeightFile",
    "parsed",
    "plain",
    "rounded",
]
